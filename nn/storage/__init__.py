"""What is written and read: weights, checkpoints, arrays of other libraries. A file is whole or is not there; reading runs nothing."""
