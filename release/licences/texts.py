"""The licence texts that go with a release: its own, and those of its ingredients."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release.definition import Definition, IngredientSource, folded_recipe
from release.errors import CardError, visible
from release.formats.input import InputFile
from release.licences.known import (
    canonical_licence,
    find_licence,
    is_same_text,
    licence_of_text,
    licence_text,
)
from release.metadata import LICENCE_NAME

LICENCE_NBYTES_MAX: Final = 256 * 1024
"""Bytes of one licence text; the longest in use have a fifth of that."""
_SLUG_LENGTH: Final = 64
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class FoundText:
    """A licence text, and where it was read: a path, or a file of a Hub."""

    text: bytes
    origin: str


@dataclass(frozen=True, slots=True)
class InheritedText:
    """A licence text of the ingredients, as a file of the release.

    `ingredients` are the names of those that came with this text.
    """

    name: str
    text: bytes
    ingredients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LicenceTexts:
    """The licence texts that go with a release.

    Attributes:
        own: The text of the release's licence, byte for byte.
        inherited: The texts of the ingredients that differ from it; equal ones once.
        warnings: What is missing or doubtful, one line each.
    """

    own: bytes
    inherited: tuple[InheritedText, ...] = ()
    warnings: tuple[str, ...] = ()

    def files(self) -> dict[str, bytes]:
        """Return every text by its name in the release folder, the own one first."""
        return {LICENCE_NAME: self.own} | {
            each.name: each.text for each in self.inherited
        }

    def file_of(self, ingredient: str) -> str | None:
        """Return the file with an ingredient's licence; None if it is the own one."""
        names = (each.name for each in self.inherited if ingredient in each.ingredients)
        return next(names, None)


def licence_files(
    definition: Definition, texts: LicenceTexts | None
) -> Mapping[str, bytes]:
    """Return the licence texts of a release by name; without `texts` the known one.

    Raises:
        CardError: Code "licence-unknown": there is none.
    """
    if texts is None:
        texts = LicenceTexts(licence_text(definition.licence.name))
    return texts.files()


def own_texts(definition: Definition, base: Path) -> LicenceTexts:
    """Return the text of a release's own licence, and no others.

    Args:
        definition: The release.
        base: Folder that its relative paths start from.

    Raises:
        InputError: `licence.file` cannot be read.
        CardError: Code "licence-unknown": there is no such file, and no text is known
            under the name. Code "licence-text": the file is no text, or one of another
            licence than the name says.
    """
    name, file = definition.licence.name, definition.licence.file
    if file is None:
        return LicenceTexts(licence_text(name))
    found = _read(base / file)
    key = "licence.file"
    _check_text(found, key)
    known = find_licence(name)
    held = licence_of_text(found.text)
    if held and held != canonical_licence(name):
        raise _other_text(f"licence.name is {visible(name)}", held, found, key)
    if known is not None and known.text and not held:
        raise CardError(
            f"{key}: {visible(found.origin, 1024)} does not hold the known text of "
            f"{known.name}",
            code="licence-text",
            hint=f"remove {key}: krelease has the text",
        )
    return LicenceTexts(found.text)


def release_texts(
    definition: Definition, base: Path, *, on_hub: Mapping[str, FoundText]
) -> LicenceTexts:
    """Return every licence text that goes with a release.

    An ingredient's text is read from its `licence_file`, else it is the one of its own
    repository, else the known one of its licence.

    Args:
        definition: The release.
        base: Folder that its relative paths start from.
        on_hub: Ingredient -> the text in its repository, where that has one.

    Raises:
        InputError: A text cannot be read.
        CardError: As `own_texts`; code "licence-text" for the ingredients' texts too.
    """
    own = own_texts(definition, base).own
    needed = folded_recipe(definition).needed
    found: dict[str, FoundText] = {}
    warnings: list[str] = []
    for name in definition.ingredients:
        if name not in needed:
            continue
        source = definition.ingredients[name]
        text = _text_of(definition, name, base, on_hub.get(name))
        if text is not None:
            found[name] = text
            warnings += _doubt(name, source, text)
        elif _lacks_text(source, definition.licence.name):
            warnings.append(_missing(name, source))
    others = {
        name: text for name, text in found.items() if not is_same_text(text.text, own)
    }
    return LicenceTexts(
        own, _as_files(others, definition.ingredients), warnings=tuple(warnings)
    )


def _text_of(
    definition: Definition, name: str, base: Path, on_hub: FoundText | None
) -> FoundText | None:
    """Return an ingredient's licence text after comparing it with what is declared."""
    source = definition.ingredients[name]
    key = f"ingredients.{name}.licence_file"
    found = _read(base / source.licence_file) if source.licence_file else on_hub
    licence = find_licence(source.licence or "")
    if found is None:
        if licence is None or not licence.text or _is_own(source, definition):
            return None
        return FoundText(licence_text(licence.name), licence.name)
    _check_text(found, key)
    held = licence_of_text(found.text)
    if held and source.licence and held != canonical_licence(source.licence):
        declares = (
            f"ingredient {name} ({visible(source.title)}) declares "
            f"{visible(source.licence)}"
        )
        raise _other_text(declares, held, found, key)
    return found


def _read(path: Path) -> FoundText:
    """Return a file's beginning: one byte more than a licence may have, at most."""
    with InputFile(path) as file:
        return FoundText(
            file.read(0, min(file.nbytes, LICENCE_NBYTES_MAX + 1)), str(path)
        )


def _check_text(found: FoundText, key: str) -> None:
    """Refuse what is too large for a licence, or no text."""
    try:
        text = found.text.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if len(found.text) > LICENCE_NBYTES_MAX:
        reason = f"is over {LICENCE_NBYTES_MAX:,} bytes"
    elif not text.strip():
        reason = "is empty"
    elif _CONTROL.search(text):
        reason = "is no UTF-8 text"
    else:
        return
    raise CardError(
        f"{visible(found.origin, 1024)}: {reason}; expected the text of a licence",
        code="licence-text",
        hint=f'name the text in {key} = "PATH"',
    )


def _other_text(declared: str, held: str, found: FoundText, key: str) -> CardError:
    return CardError(
        f"{declared}, but {visible(found.origin, 1024)} holds the text of {held}",
        code="licence-text",
        hint=f'put the declared licence right, or name another text in {key} = "PATH"',
    )


def _doubt(name: str, source: IngredientSource, found: FoundText) -> list[str]:
    """Return a warning if a text is not the one known under the declared name."""
    licence = find_licence(source.licence or "")
    if licence is None or not licence.text or licence_of_text(found.text):
        return []
    warning = (
        f"ingredient {name}: {visible(found.origin, 1024)} is not the known text of "
        f"{licence.name}; it may hold other terms: read it"
    )
    return [warning]


def _is_own(source: IngredientSource, definition: Definition) -> bool:
    """Whether an ingredient declares the licence that the release has."""
    declared = canonical_licence(source.licence or "")
    return declared == canonical_licence(definition.licence.name)


def _lacks_text(source: IngredientSource, own: str) -> bool:
    """Whether a text should go along with an ingredient of which none was found."""
    declared = source.licence or ""
    if not declared or canonical_licence(declared) == canonical_licence(own):
        return False
    licence = find_licence(declared)
    return licence is None or "requires-text" in licence.flags


def _missing(name: str, source: IngredientSource) -> str:
    return (
        f"ingredient {name} ({visible(source.title)}): no text of its licence "
        f"{visible(source.licence or '')} goes with the release; name one in "
        f'ingredients.{name}.licence_file = "PATH"'
    )


def _as_files(
    found: Mapping[str, FoundText], sources: Mapping[str, IngredientSource]
) -> tuple[InheritedText, ...]:
    """Return the texts as files; one for all ingredients with the same text."""
    files: list[InheritedText] = []
    for name, text in found.items():
        same = next((f for f in files if is_same_text(f.text, text.text)), None)
        if same is not None:
            at = files.index(same)
            holders = (*same.ingredients, name)
            files[at] = InheritedText(same.name, same.text, holders)
            continue
        taken = {file.name for file in files}
        file = _file_name(sources[name].title, name, taken)
        files.append(InheritedText(file, text.text, (name,)))
    return tuple(files)


def _file_name(title: str, ingredient: str, taken: Iterable[str]) -> str:
    """Return LICENSE-TITLE.md: ASCII, lower case, no folder, not yet taken."""
    slug = re.sub(r"[^a-z0-9.]+", "-", title.lower())
    slug = re.sub(r"\.{2,}", ".", slug)[:_SLUG_LENGTH].strip("-.") or ingredient.lower()
    count = 1
    name = f"LICENSE-{slug}.md"
    while name in taken:
        count += 1
        name = f"LICENSE-{slug}-{count}.md"
    return name
