"""Zip archives, read strictly: where every member lies, told before any of it is used.

Two readers that find different members see two archives. So what is told twice must
agree, and nothing may lie over anything else.
"""
