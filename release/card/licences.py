"""Licences: names as they are written in the wild, the text, what it asks for.

An engineering reading of public texts, not legal advice; the text of a licence decides.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.errors import CardError, visible

_TEXT_ROOT: Final = Path(__file__).parent / "licences"
_TEXT_FILES: Final = {"faipl-1.0-sd": "faipl-1.0-sd.md"}

# "faipl-1.0" is absent on purpose: it lacks the prohibited uses, so it is a licence of
# its own and never an alias of the -sd one.
_ALIASES: Final = {
    "fair-ai-public-license-1.0-sd": "faipl-1.0-sd",
    "fair ai public license 1.0-sd": "faipl-1.0-sd",
    "licenseref-scancode-fair-ai-public-1.0-sd": "faipl-1.0-sd",
    "fair-ai-public-license": "faipl-1.0-sd",
    "faipl": "faipl-1.0-sd",
    "fair-ai-public-license-1.0": "faipl-1.0",
    "fair ai public license 1.0": "faipl-1.0",
    "licenseref-scancode-fair-ai-public-1.0": "faipl-1.0",
    "creativeml open rail++-m": "openrail++",
    "sdxl-license": "openrail++",
    "licenseref-scancode-bigscience-open-rail-m2": "openrail++",
    "creativeml open rail-m": "creativeml-openrail-m",
}
_CANONICAL: Final = frozenset({*_ALIASES.values(), *_TEXT_FILES})
_WITHOUT_VERSION: Final = frozenset({"fair-ai-public-license", "faipl"})


@dataclass(frozen=True, slots=True)
class LicenceNote:
    """One point of a licence in our own words: what it is about, and what to know."""

    topic: str
    text: str


_NOTES: Final = {
    "faipl-1.0-sd": (
        LicenceNote(
            "Images",
            "What you generate is not covered by the licence; no rights in it are "
            "claimed.",
        ),
        LicenceNote(
            "Passing the model on",
            "Whoever gets a copy from you, changed or not, must also get the licence "
            "text and the source. Both are here: the file LICENSE, and the recipe, "
            "ingredients and full-precision weights named on this page.",
        ),
        LicenceNote(
            "Changing it",
            "Training further and merging count as changes. The result stays under "
            "this licence, or one that allows everything it allows, without added "
            "restrictions.",
        ),
        LicenceNote(
            "Hosting it",
            "If you offer a changed version over a network, give its users a "
            "reasonable way to the source: a link, or a prominent written offer.",
        ),
        LicenceNote(
            "Prohibited uses",
            "The licence lists uses that are not permitted. The list also applies to "
            "every model derived from this one.",
        ),
        LicenceNote(
            "If something was missed",
            "After a written notice there are 30 days to comply.",
        ),
    ),
}


def canonical_licence(name: str) -> str:
    """Return the canonical form of a licence name; an unknown name as it was given."""
    word = " ".join(name.split())
    folded = word.lower()
    if folded in _CANONICAL:
        return folded
    return _ALIASES.get(folded, word)


def licence_text(name: str) -> bytes:
    """Return the text of a licence, byte for byte as its authors publish it.

    Args:
        name: Canonical name or an alias.

    Raises:
        CardError: krelease has no text under this name.
    """
    canonical = canonical_licence(name)
    if canonical not in _TEXT_FILES:
        raise _unknown(name)
    return (_TEXT_ROOT / _TEXT_FILES[canonical]).read_bytes()


def licence_notes(name: str) -> tuple[LicenceNote, ...]:
    """Return what a reader of the card should know about a licence.

    Raises:
        CardError: krelease has no text under this name.
    """
    canonical = canonical_licence(name)
    if canonical not in _NOTES:
        raise _unknown(name)
    return _NOTES[canonical]


def licence_remark(declared: str) -> str:
    """Return what is doubtful about the licence an SDXL ingredient declares, or ""."""
    if " ".join(declared.lower().split()) in _WITHOUT_VERSION:
        return "named without a version; read as faipl-1.0-sd"
    if canonical_licence(declared) == "creativeml-openrail-m":
        return "the licence of Stable Diffusion 1, doubtful for an SDXL model"
    return ""


def _unknown(name: str) -> CardError:
    known = sorted(_TEXT_FILES)
    spellings = [*known, *(a for a, name in _ALIASES.items() if name in _TEXT_FILES)]
    near = difflib.get_close_matches(name.lower(), spellings, n=3)
    nearest = list(dict.fromkeys(canonical_licence(spelling) for spelling in near))
    advice = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return CardError(
        f"licence {visible(name)}: no text is known under this name",
        code="licence-unknown",
        hint=f"{advice}known: {', '.join(known)}",
    )
