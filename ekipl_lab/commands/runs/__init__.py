"""`ekipl runs ...`: what the store holds."""
