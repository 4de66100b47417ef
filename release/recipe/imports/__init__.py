"""Recipes of other programs, read into the recipe language."""
