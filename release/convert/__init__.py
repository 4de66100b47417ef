"""Convert: one checkpoint to other dtypes, through the engine with one ingredient.

source: what the user named, brought to one form.
plan: which tensor gets which dtype in which file.
run: the pass, and the files beside the checkpoints.
losses: what it cost, by component and for the worst tensors.
"""
