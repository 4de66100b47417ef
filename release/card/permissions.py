"""What a licence lets people do, in the words of the forms of sites.

Not legal advice: derived from the flags of `release.licences.known`.
"""

from dataclasses import dataclass
from typing import Final

from release.licences.known import find_licence

COMMERCIAL_USES: Final = ("Image", "RentCivit", "Rent", "Sell")
"""Civitai's words: sell images, generate there, generate elsewhere, sell the model."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """The boxes of a form.

    Attributes:
        uncredited: Use without naming the maker.
        merges: Pass on merges and other changed versions.
        other_licence: Give these another licence.
        commercial: Sell images, offer generation, sell the model.
    """

    uncredited: bool
    merges: bool
    other_licence: bool
    commercial: bool


def permissions_of(name: str) -> Permissions:
    """Return what a licence permits; nothing, where it is not known."""
    licence = find_licence(name)
    if licence is None:
        return Permissions(
            uncredited=False, merges=False, other_licence=False, commercial=False
        )
    return Permissions(
        uncredited="requires-credit" not in licence.flags,
        merges="derivatives" in licence.flags,
        other_licence="derivatives" in licence.flags
        and "share-alike" not in licence.flags,
        commercial="commercial-use" in licence.flags,
    )
