"""Functions as straight-line code: recorded once, written out as Python, compared with the function, and run in its place."""
