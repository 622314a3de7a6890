"""What the engine can do without and the packages on it share: libraries that are not required, files that are whole, and names."""
