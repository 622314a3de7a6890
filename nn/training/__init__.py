"""Training: batches go in, `fit` runs forward, loss, backward and update over them, and a history of what was measured comes out."""
