"""krelease: merge, convert, verify and publish image-model checkpoints."""

__version__ = "0.1.0"
