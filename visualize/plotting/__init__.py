"""Plots: curves of training, checks, weights, and the landscape of a loss."""
