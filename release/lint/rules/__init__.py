"""The rules: one small function each, by what they look at."""
