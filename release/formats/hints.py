"""Next steps that several checks of a file share."""

from typing import Final

DAMAGED: Final = (
    "download it again; krelease verify on the release folder names the damaged parts"
)
"""For a file that probably was right before it travelled."""

FAULTY_WRITER: Final = (
    "do not trust the file; have its author save it again with the safetensors library"
)
"""For a file that was wrong from the start, by mistake or by intent."""
