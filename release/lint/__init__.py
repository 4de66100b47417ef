"""Lint: rules that a model card must keep, and the files that it speaks of."""
