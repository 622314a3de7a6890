"""Libraries that are used but not required: imported when they are needed, with a clear word where they are missing."""
