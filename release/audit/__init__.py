"""Audit: does a checkpoint follow its recipe, and if not, what was done instead?"""
