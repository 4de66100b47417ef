"""Stable Diffusion in the layout of diffusers folders, and the same in one file.

Both layouts hold the same values under other names. The names follow from a few counts
per architecture (`forms`), component by component (`unet`, `vae`, `text`);
`single_file` puts the rules together.
"""
