"""Backpropagation one node at a time: as plain data, as a page that plays it, and as moving pictures."""
