"""What keeps a wrong number from getting through: arrays that were written into, what was not chosen, what underflows, blocks
that are left on, traces that checks would leave."""
