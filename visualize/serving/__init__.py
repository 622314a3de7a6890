"""Training that is watched: what is seen of it, and the server on this machine that shows it."""
