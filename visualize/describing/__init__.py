"""A drawing as plain data: what stands in each box and on each arrow, names and verdicts included; nothing knows how it looks."""
