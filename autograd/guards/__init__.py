"""What keeps a wrong number from getting through: arrays that were written into, and what was not chosen."""
