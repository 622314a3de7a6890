"""The table of derivatives, by family; reading order: elementwise, shape, reduction, linalg."""
