"""Whether two checkpoints hold the same values, and if not, how far apart they are."""
