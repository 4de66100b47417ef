"""Verify: is this file, or this release folder, what it says it is?"""
