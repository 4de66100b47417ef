"""Recipes: from an expression to one row of exact coefficients per block."""
