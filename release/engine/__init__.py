"""The engine: one pass over the ingredients, every variant written on the way.

plan: what will be written, to the byte, before anything is read.
kernel: the arithmetic of one tensor, in chunks.
stream: the pass itself, on all threads.
seal: digests of the finished file, its header, and the proof that it reads back.
"""
