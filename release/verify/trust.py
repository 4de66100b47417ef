"""How far a comparison may be trusted, in words: size < xxh3 < SHA-256."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from release.claims.claim import Source

Compared = Literal["size", "crc32", "xxh3", "autov2", "git", "data", "sha256"]
"""What was compared, the weakest first."""

_BY: Final[dict[Compared, str]] = {
    "size": "by its size alone, which finds cut downloads and nothing else",
    "crc32": "by CRC-32, which finds accidental damage",
    "xxh3": "by xxh3, which finds accidental damage and not deliberate change: anyone "
    "can make another file with the same value",
    "autov2": "by the first 10 digits of its SHA-256, which finds accidental damage",
    "git": "by git's SHA-1, which finds accidental damage and most deliberate change",
    "data": "by the SHA-256 of its data section, which finds any change there",
    "sha256": "by SHA-256, which finds any change",
}
NOBODY: Final = (
    "nobody says what it should be: no manifest and no sums beside it name it, its "
    "header carries no digests, and the catalog does not know it"
)


@dataclass(frozen=True, slots=True)
class Reached:
    """Who vouched for a file, and by what it was compared."""

    source: Source
    compared: Compared

    @property
    def sentence(self) -> str:
        """Both, and what they are worth, as one plain sentence without a full stop."""
        return _sentence(self.source.label, self)


def common_sentence(group: Sequence[Reached]) -> str:
    """Return one sentence for files that sources of one kind vouched for alike."""
    labels = {reached.source.label for reached in group}
    label = labels.pop() if len(labels) == 1 else "what lies beside each"
    return _sentence(label, group[0])


def _sentence(label: str, reached: Reached) -> str:
    return f"compared with {label} {_BY[reached.compared]}; {reached.source.trust}"
