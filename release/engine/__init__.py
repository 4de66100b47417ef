"""The engine: one pass over the ingredients, every variant written on the way.

plan: what will be written, to the byte, before anything is read; jobs: the same for one
    tensor, as plain data.
kernel: one tensor, in chunks. read brings them in, combine adds them up, writer takes
    them to each output, measure says what that lost; copying is for what is no number.
stream: the pass itself, on all threads.
seal: digests of the finished file, its header, and the proof that it reads back.
execute: all of it in order, or nothing.
parity: the same tensors of two checkpoints, compared; value_parity does it chunk by
    chunk, likeness says what was found.
"""
