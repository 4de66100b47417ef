"""What the recipes that webuis embed in a header have in common."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from release.architecture.sdxl import sdxl_tensors
from release.errors import RecipeError, visible
from release.recipe.imports.foreign import Fields, Value
from release.recipe.imports.imported import (
    IngredientNames,
    file_name,
    hash_facts,
    last_part,
)
from release.recipe.imports.terms import scalar_weights
from release.recipe.text import MERGED_VAE

RECIPE_KEY: Final = "sd_merge_recipe"
MODELS_KEY: Final = "sd_merge_models"
BAKED_VAE: Final = "baked_vae"
"""Name of the ingredient whose VAE replaced the merged one."""

_NO_VAE: Final = frozenset({"", "None", "none"})
_HARMLESS_PATTERN: Final = re.compile(r"[\w.|]{1,200}", re.ASCII)
"""Regular expressions that take no time to search with."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Block weights of one list, brought to the 20 of SDXL.

    Attributes:
        listed: 20 numbers, in the order of `release.recipe.weights.WEIGHT_BLOCKS`.
        clip_g: Weight of the second text encoder where it differs from BASE.
        parts: Weights of parts of the U-Net that differ from their block's.
    """

    listed: tuple[Fraction, ...]
    clip_g: Fraction | None = None
    parts: tuple[tuple[str, Fraction], ...] = ()

    @classmethod
    def of_scalar(cls, value: Fraction) -> "Weights":
        """Return the same weight in every block."""
        return cls(scalar_weights(value))


class Models:
    """The models that a recipe names by hash, with what `sd_merge_models` says.

    Args:
        known: SHA-256 -> name and short hash; foreign.
        recipe: The recipe.
    """

    def __init__(self, known: Mapping[str, Value], recipe: Fields) -> None:
        self._known = {key.lower(): value for key, value in known.items()}
        self._recipe = recipe
        self.names = IngredientNames()
        self.warnings: list[str] = []

    def ingredient(self, key: str, letter: str) -> str:
        """Return the name of the ingredient that the member `key` is the hash of.

        Args:
            key: Member of the recipe.
            letter: "a", "b" or "c": names a model that has no title.

        Raises:
            RecipeError: Code "import-hash" or "import-field".
        """
        place = self._recipe.where(key)
        digest = self._recipe.text(key).strip().lower()
        if not digest:
            self._warn(f"{place}: no hash was recorded: which model it was is unknown")
            return self.names.add(key, f"model_{letter}")
        facts = hash_facts(digest, place=place)
        known = self._known.get(digest)
        title, short = _described(known)
        if not title:
            self._warn(
                f"{place}: {digest[:10]} is not in {MODELS_KEY}; it may be the hash of"
                " a merge that was never saved"
            )
        if short and "sha256" in facts:
            facts["autov1"] = short
        return self.names.add(
            digest, title or f"model_{letter}", file=_file_hint(title), **facts
        )

    def vae(self) -> tuple[str, str]:
        """Return where the VAE comes from, and the file's name if it was replaced.

        The first is `MERGED_VAE` or an ingredient; both are as `Imported` has them.

        Raises:
            RecipeError: Code "import-field".
        """
        text = self._recipe.text("bake_in_vae")
        if text in _NO_VAE:
            return MERGED_VAE, ""
        file = file_name(text)
        self._warn(
            f"the VAE was replaced by that of '{visible(text, 80)}', whose hash was not"
            f" recorded: the ingredient {BAKED_VAE} is a checkpoint that has it"
        )
        name = self.names.add(f"vae {text}", BAKED_VAE, file=file)
        return name, visible(text, 80)

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _described(known: Value) -> tuple[str, str]:
    """Return title and AutoV1 of an entry of `sd_merge_models`, "" where unknown."""
    if not isinstance(known, dict):
        return "", ""
    title, short = known.get("name"), known.get("legacy_hash")
    is_short = isinstance(short, str) and re.fullmatch(r"[0-9a-f]{8}", short)
    return (
        last_part(title) if isinstance(title, str) else "",
        short if isinstance(short, str) and is_short else "",
    )


def _file_hint(title: str) -> str:
    name = file_name(title)
    return name if re.search(r"\.(safetensors|ckpt|pth?)$", name) else ""


def check_discarded(pattern: str, *, place: str) -> str:
    """Return a note about tensors that were removed, "" if none were.

    Args:
        pattern: The regular expression of their names; foreign.
        place: Its key path.

    Raises:
        RecipeError: Code "import-discard-weights": it removes tensors of SDXL, or is
            too complicated to tell.
    """
    if not pattern:
        return ""
    harmless = _HARMLESS_PATTERN.fullmatch(pattern) is not None
    search = re.compile(pattern).search if harmless else None
    if search and not any(search(tensor.name) for tensor in sdxl_tensors()):
        return f"{place}: '{visible(pattern, 60)}' removed no tensor that SDXL has"
    raise RecipeError(
        f"{place}: removes the tensors that '{visible(pattern, 80)}' matches, which a"
        " recipe cannot say",
        code="import-discard-weights",
        hint="write the recipe by hand, and remove the tensors afterwards",
    )
