"""krelease: merge, convert, verify and publish image-model checkpoints."""

from typing import Final

__version__: Final = "0.1.0"
