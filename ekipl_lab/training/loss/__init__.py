"""What teacher rows change in TRL's loss: rows of a rank, token weights, imitation."""
