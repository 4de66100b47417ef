"""LoRA and LyCORIS files: a change of a model, read as the tensors of a checkpoint.

A file holds factors. `modules` finds what they are by their names, `families` checks
that they fit together, `product` and `rows` compute, and `checkpoint` gives the change
of any tensor, byte by byte, to whoever reads checkpoints. What the modules of a file
are called in a model is not known here: it is given as `places.Names`.
"""
