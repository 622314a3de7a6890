"""Gradients compared with numeric ones: each operation alone, then the whole, so that a wrong rule is named.

A numeric derivative comes with an estimate of its own error. A verdict says that a gradient is right or wrong only where
that error allows to tell the two apart.
"""
