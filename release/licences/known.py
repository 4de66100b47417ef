"""The licences that are known: `licences.toml`, and names as they are written.

An engineering reading of public texts, not legal advice; the text of a licence decides.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from release.errors import CardError, visible

NOT_LEGAL_ADVICE: Final = (
    "Not legal advice: an engineering reading of public texts; the text of a licence "
    "decides."
)
_SD1_LICENCE: Final = "creativeml-openrail-m"


@dataclass(frozen=True, slots=True)
class LicenceNote:
    """One point of a licence in our own words: what it is about, and what to know."""

    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence, as far as a tool can know it.

    Attributes:
        name: Canonical name, as in the `license_name` of a card.
        title: What its authors call it.
        link: Where its text is published.
        hub_id: The Hub's id for it; "" where the Hub has none, and `license: other`
            with a name and a link stands for it.
        aliases: Other spellings, lower case.
        aliases_without_version: Spellings that leave the version to be guessed.
        flags: What it grants and asks for, one word each, such as "share-alike".
        outputs: Canonical names that something made of the model may have.
        doubtful_outputs: The same where the reading is uncertain.
        asks: Its duties, one line each.
        notes: What a reader of a card should know; where it is empty, `asks` is all.
        text: File name of its text in this package; "" if it is not shipped.
    """

    name: str
    title: str
    link: str
    hub_id: str
    aliases: tuple[str, ...]
    aliases_without_version: tuple[str, ...]
    flags: frozenset[str]
    outputs: tuple[str, ...]
    doubtful_outputs: tuple[str, ...]
    asks: tuple[str, ...]
    notes: tuple[LicenceNote, ...]
    text: str


@cache
def licences() -> Mapping[str, Licence]:
    """Return every known licence by canonical name, in the order they are offered."""
    path = resources.files("release.licences") / "licences.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8")).values()
    return {table["name"]: _licence(table) for table in tables}


def find_licence(name: str) -> Licence | None:
    """Return the licence of a canonical name or an alias, None if it is not known."""
    return licences().get(canonical_licence(name))


def canonical_licence(name: str) -> str:
    """Return the canonical form of a licence name; an unknown name as it was given."""
    word = " ".join(name.split())
    return spellings().get(word.lower(), word)


@cache
def spellings() -> Mapping[str, str]:
    """Return every spelling of every licence, lower case -> its canonical name."""
    return {
        spelling: licence.name
        for licence in licences().values()
        for spelling in (
            licence.name,
            *licence.aliases,
            *licence.aliases_without_version,
        )
    }


def licence_text(name: str) -> bytes:
    """Return the text of a licence, byte for byte as its authors publish it.

    Args:
        name: Canonical name or an alias.

    Raises:
        CardError: krelease has no text under this name.
    """
    licence = find_licence(name)
    if licence is None or not licence.text:
        raise _no_text(name)
    return (resources.files("release.licences") / "texts" / licence.text).read_bytes()


def licence_notes(name: str) -> tuple[LicenceNote, ...]:
    """Return what a reader of the card should know about a licence.

    For a licence without notes of its own these are its duties.

    Raises:
        CardError: The licence is not known.
    """
    licence = find_licence(name)
    if licence is None:
        raise _no_text(name)
    duties = tuple(LicenceNote("It asks", f"{duty}.") for duty in licence.asks)
    return licence.notes or duties


def licence_remark(declared: str) -> str:
    """Return what is doubtful about the licence an SDXL ingredient declares, or ""."""
    licence = find_licence(declared)
    if licence is None:
        return ""
    if " ".join(declared.lower().split()) in licence.aliases_without_version:
        return f"named without a version; read as {licence.name}"
    if licence.name == _SD1_LICENCE:
        return "the licence of Stable Diffusion 1, doubtful for an SDXL model"
    return ""


@cache
def _texts() -> Mapping[str, str]:
    """Return normalised text -> canonical name, for the texts that are shipped."""
    return {
        _normalised(licence_text(name)): name
        for name, licence in licences().items()
        if licence.text
    }


def licence_of_text(text: bytes) -> str:
    """Return the canonical name of the licence whose text this is, "" if not known.

    Line ends, blanks at the ends of lines and blank lines at the end do not count.
    """
    return _texts().get(_normalised(text), "")


def is_same_text(one: bytes, other: bytes) -> bool:
    """Return whether two texts are the same, as `licence_of_text` compares them."""
    return _normalised(one) == _normalised(other)


def _normalised(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").splitlines()
    return "\n".join(line.rstrip() for line in lines).rstrip("\n")


def _licence(table: Mapping[str, Any]) -> Licence:
    notes = tuple(LicenceNote(**note) for note in table.get("notes", ()))
    return Licence(
        name=table["name"],
        title=table["title"],
        link=table["link"],
        hub_id=table.get("hub_id", ""),
        aliases=(table["title"].lower(), *table["aliases"]),
        aliases_without_version=tuple(table.get("aliases_without_version", ())),
        flags=frozenset(table["flags"]),
        outputs=tuple(table["outputs"]),
        doubtful_outputs=tuple(table.get("doubtful_outputs", ())),
        asks=tuple(table.get("asks", ())),
        notes=notes,
        text=table.get("text", ""),
    )


def _no_text(name: str) -> CardError:
    shipped = [each.name for each in licences().values() if each.text]
    known = [spelling for spelling, of in spellings().items() if of in shipped]
    near = difflib.get_close_matches(name.lower(), known, n=3)
    nearest = list(dict.fromkeys(canonical_licence(spelling) for spelling in near))
    advice = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return CardError(
        f"licence {visible(name)}: no text is known under this name",
        code="licence-unknown",
        hint=f"{advice}known: {', '.join(sorted(shipped))}; of others give the text: "
        'licence.file = "PATH"',
    )
