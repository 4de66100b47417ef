"""Model architectures: which tensors a checkpoint holds and which part each is of.

Only names and shapes live here; no tensor is ever read.
"""
