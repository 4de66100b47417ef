"""Merge methods that no row of coefficients can say, one module each.

prepare: the way in: `prepare` a tensor, then `apply` chunk by chunk.
seam: what a method is given and gives back.
slerp, add_cosine, dare, ties: the methods, with their formulas and sources.
angle, select, sums: what they are made of.
"""
