"""Files: reading checkpoints strictly, writing outputs durably."""
