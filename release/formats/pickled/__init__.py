"""PyTorch's `.ckpt`, `.pt`, `.pth` and `.bin` files, read without running them.

Such a file is a zip archive of raw storages and one pickle, and a pickle is a program.
Here it is not run: a child process walks its opcodes with a machine of our own, which
knows the few values a weight file needs and no functions at all. The answer is a plan:
which bytes of the file are which tensor. The parent checks the plan again and copies
the bytes.
"""
