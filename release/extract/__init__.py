"""Extract: the difference of two models as a LoRA.

models   what is opened, and which layers both have
plan     which of them differ, and the file that follows from it
run      the factors, layer by layer, and the finished file
"""
