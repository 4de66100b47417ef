"""Variants: which tensor is published in which dtype, as files of rules."""
