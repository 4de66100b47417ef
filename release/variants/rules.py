"""Rules: which tensors, which dtype, and why; the first rule that fits wins."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from release.architecture.sdxl import Component
from release.errors import visible
from release.numeric.dtype import Dtype
from release.variants.kind import Kind

_ALL: Final = "every tensor"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; it fits a tensor that all its selectors fit.

    Attributes:
        key: Its place in its file, such as "rule[0]".
        dtype: What the tensors become; None keeps each one's own.
        reason: Why, for people; never empty.
        scaled: Whether a weight is stored divided by one scale, as ComfyUI reads it;
            then `dtype` is fp8 and `kinds` has matrices alone.
        patterns: Globs, of which one must cover the tensor's whole name; none for any
            name. `*` crosses dots.
        components: Parts of a checkpoint that it is for.
        kinds: Kinds of tensors that it is for.
    """

    key: str
    dtype: Dtype | None
    reason: str
    scaled: bool = False
    patterns: tuple[str, ...] = ()
    components: frozenset[Component] = frozenset(Component)
    kinds: frozenset[Kind] = frozenset(Kind)

    @property
    def is_selective(self) -> bool:
        """Whether there are tensors that it is not for."""
        return self.subject != _ALL

    @property
    def subject(self) -> str:
        """What it is for, in a few words: "unet: matrix, conv"."""
        parts = [", ".join(f"'{visible(pattern)}'" for pattern in self.patterns)]
        if len(self.components) < len(Component):
            parts.append(", ".join(part.value for part in self.listed_components))
        if len(self.kinds) < len(Kind):
            parts.append(", ".join(kind.value for kind in self.listed_kinds))
        return ": ".join(filter(None, parts)) or _ALL

    @property
    def listed_components(self) -> tuple[Component, ...]:
        """`components` in the order of their class."""
        return tuple(part for part in Component if part in self.components)

    @property
    def listed_kinds(self) -> tuple[Kind, ...]:
        """`kinds` in the order of their class."""
        return tuple(kind for kind in Kind if kind in self.kinds)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file of rules says.

    Attributes:
        origin: What errors name it by, such as its path.
        known: For SDXL and the older layouts, whose parts are known.
        unknown: For other architectures; the same where the file makes no difference.
        summary: One line about the whole, or empty.
        suffix: What the names of the results end in, or empty.
    """

    origin: str
    known: tuple[Rule, ...]
    unknown: tuple[Rule, ...]
    summary: str = ""
    suffix: str = ""

    def of(self, architecture: str) -> tuple[Rule, ...]:
        """Return the rules for what `release.architecture.sdxl.detect` found."""
        return self.unknown if architecture == "unknown" else self.known


def covered(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return those of `names` that one of the globs covers from end to end."""
    covers = re.compile("|".join(map(translate, patterns))).match
    return [name for name in names if covers(name)]
