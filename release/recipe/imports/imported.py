"""What an import yields: a recipe in our language, and what could not be known."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.functions import FUNCTIONS
from release.recipe.text import MERGED_VAE, MISSING_ERROR

OUTPUT: Final = "merged"
"""The step that is the result of every import."""
PART: Final = "part"
"""Other steps are called `part_1`, `part_2` and so on."""

MAX_INGREDIENTS: Final = 64
_NAME_LENGTH_MAX: Final = 40
_TITLE_LENGTH_MAX: Final = 200
_FILE_LENGTH_MAX: Final = 255
_RESERVED: Final = frozenset({*FUNCTIONS, MERGED_VAE, OUTPUT, PART})
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9]+")
_HEX: Final = re.compile(r"[0-9a-f]+")
_SUFFIX: Final = re.compile(r"\.(safetensors|ckpt|pth?|bin)$", re.IGNORECASE)

SHA256_LENGTH: Final = 64
AUTOV2_LENGTH: Final = 10
AUTOV1_LENGTH: Final = 8


@dataclass(frozen=True, slots=True)
class ImportedIngredient:
    """A model that an imported recipe uses.

    Attributes:
        name: What the steps call it.
        title: What its origin calls it, safe to print; "" if it does not say.
        file: Name of its file, without a folder; "" if unknown.
        sha256: Of the whole file, 64 hex digits; "" if unknown.
        autov2: First 10 hex digits of the SHA-256; "" if `sha256` or nothing is known.
        autov1: 8 hex digits of the old short hash, of which nothing follows; "" if
            unknown.
        hub: `OWNER/REPO`, with `@REVISION` where one is named; "" if unknown.
    """

    name: str
    title: str = ""
    file: str = ""
    sha256: str = ""
    autov2: str = ""
    autov1: str = ""
    hub: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """A recipe of another program, complete, in our language.

    Attributes:
        origin: The program, such as "SuperMerger".
        ingredients: Those that the steps use, and those that something is copied from.
        steps: (name, expression), each after those it uses; the last is `OUTPUT`.
        convention: Name of the block-weight convention.
        vae: "merge", or the ingredient whose VAE is copied.
        missing: "error", or "keep:" and the ingredient of the tensors others lack.
        dtype_hint: Dtype code that the origin stored its result as, "" if unknown.
        vae_hint: Name of the file whose VAE replaced the merged one, or "".
        notes: What is good to know, one line each.
        warnings: What may make the result another than the origin's, one line each.
    """

    origin: str
    ingredients: tuple[ImportedIngredient, ...]
    steps: tuple[tuple[str, str], ...]
    convention: str
    vae: str = MERGED_VAE
    missing: str = MISSING_ERROR
    dtype_hint: str = ""
    vae_hint: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class IngredientNames:
    """Gives every model of a foreign recipe a name of our language, once.

    Names come from titles; a model met again by the same identity keeps its name.
    """

    def __init__(self) -> None:
        self._found: dict[str, ImportedIngredient] = {}
        self._names: set[str] = set()

    def add(self, identity: str, title: str, **facts: str) -> str:
        """Return the name of a model.

        Args:
            identity: What tells models apart: a hash, or a path as written.
            title: Foreign text; the beginning of the name is made of it.
            facts: Further attributes of `ImportedIngredient`.

        Raises:
            RecipeError: Code "import-too-large" beyond `MAX_INGREDIENTS`.
        """
        known = self._found.get(identity)
        if known is not None:
            return known.name
        if len(self._found) == MAX_INGREDIENTS:
            raise RecipeError(
                f"the recipe has more than {MAX_INGREDIENTS} models",
                code="import-too-large",
                hint="merge in several recipes, one after the other",
            )
        ingredient = ImportedIngredient(
            self._unused(name_of(title)), visible(title, _TITLE_LENGTH_MAX)
        )
        self._found[identity] = replace(ingredient, **facts)
        self._names.add(ingredient.name)
        return ingredient.name

    def chosen(self, names: Iterable[str]) -> tuple[ImportedIngredient, ...]:
        """Return the ingredients with these names, in the order they were added."""
        wanted = set(names)
        return tuple(each for each in self._found.values() if each.name in wanted)

    def _unused(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._names or name in _RESERVED:
            count += 1
            name = f"{wanted}_{count}"
        return name


def name_of(title: str) -> str:
    """Return a name of the recipe language made of a model's title."""
    stem = _SUFFIX.sub("", title[: 4 * _NAME_LENGTH_MAX])
    name = _NOT_IN_NAME.sub("_", stem).strip("_")[:_NAME_LENGTH_MAX].strip("_")
    if not name:
        return "model"
    if not name[0].isalpha() or name.startswith(f"{PART}_"):
        return f"model_{name}"
    return name


def last_part(path: str) -> str:
    """Return a foreign path or title without its folders."""
    return re.split(r"[/\\]", path)[-1].strip()


def file_name(path: str) -> str:
    """Return the last part of a foreign path, "" where it is no usable file name.

    Folders of a stranger's machine lead nowhere and are nobody's business.
    """
    name = last_part(path)
    if len(name) > _FILE_LENGTH_MAX or visible(name, _FILE_LENGTH_MAX) != name:
        return ""
    return "" if name in {".", ".."} else name


def hash_facts(text: str, *, place: str) -> dict[str, str]:
    """Return a foreign hash as the attribute of `ImportedIngredient` that it is.

    Raises:
        RecipeError: Code "import-hash": neither 64, 10 nor 8 hex digits.
    """
    digest = text.strip().lower()
    kinds = {
        SHA256_LENGTH: "sha256",
        AUTOV2_LENGTH: "autov2",
        AUTOV1_LENGTH: "autov1",
    }
    kind = kinds.get(len(digest))
    if kind is None or not _HEX.fullmatch(digest):
        raise RecipeError(
            f"{place}: got '{visible(text, 80)}', expected a hash of 64, 10 or 8 hex"
            " digits",
            code="import-hash",
            hint="the metadata was edited or damaged; write the recipe by hand",
        )
    return {kind: digest}
