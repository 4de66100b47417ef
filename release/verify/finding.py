"""What is odd about a file, whether or not its bytes are what they should be."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""error: wrong images, or a statement of the file that its own data refutes; warning:
probably not what was meant, or a trap for others; note: legal, and worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One oddity of one file.

    Attributes:
        code: Stable kebab-case word for scripts.
        severity: How bad it is.
        text: One line for people, safe for a terminal.
        tensors: The tensors that it is about, all of them; foreign text.
    """

    code: str
    severity: Severity
    text: str
    tensors: tuple[str, ...] = ()
