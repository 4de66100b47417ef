"""Recipes: from expressions to exact coefficients per block, and nodes of methods."""
