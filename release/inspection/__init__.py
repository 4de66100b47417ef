"""What a file is, told from its header and a few hundred bytes of its data."""
