"""What the engine can do without and the packages on it share: libraries that are not required, and files that are whole."""
