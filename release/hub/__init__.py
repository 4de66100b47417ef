"""Talking to a Hub, and the embedded Hub that a release is rehearsed against."""
