"""A recipe as it was written, whatever it was written in.

Release definitions, recipe files and expressions of the command line are all brought
into this one shape, and only this shape is folded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.conventions import DEFAULT_CONVENTION

MERGED_VAE: Final = "merge"
"""What `vae` says when the VAE is merged like the rest."""
MISSING_ERROR: Final = "error"
"""What `missing` says when every ingredient must have every tensor."""
KEEP_PREFIX: Final = "keep:"
"""What `missing` starts with when tensors that some ingredient lacks are one's own."""

ACCUMULATE: Final = "fp64"
"""What sums are computed in: float64, and one rounding at the end."""
NONFINITE: Final = "error"
"""What NaN and infinity in an ingredient are."""

EXPRESSION_STEP: Final = "the expression"
"""The only step of a recipe that is one expression; no ingredient has such a name."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an ingredient is found, and what it must be; all of it may be unknown.

    Attributes:
        title: Its name for people.
        file: Path, relative to the recipe's folder.
        hub: `OWNER/REPO` on the Hub.
        revision: Branch, tag or commit there.
        hub_file: Path inside that repository.
        sha256: Digest of the whole file, 64 hex digits.
        xxh3: xxh3-128 of the whole file, 32 hex digits.
        autov2: First 10 hex digits of the SHA-256.
    """

    title: str = ""
    file: str | None = None
    hub: str | None = None
    revision: str = "main"
    hub_file: str | None = None
    sha256: str | None = None
    xxh3: str | None = None
    autov2: str | None = None


@dataclass(frozen=True, slots=True)
class KeyPaths:
    """What errors call the places of a recipe.

    `steps` and `output` are key paths; a step's own follows after a dot. With `steps`
    empty there is one expression only, and it is called that.
    """

    steps: str = ""
    output: str = "expression"

    def step(self, name: str) -> str:
        """Return what errors call a step."""
        return f"{self.steps}.{name}" if self.steps else "expression"


@dataclass(frozen=True, slots=True)
class RecipeText:
    """A recipe, not yet folded.

    Attributes:
        steps: Step name -> expression over ingredients and other steps, in any order.
        output: The step or ingredient that is the result.
        ingredients: Every declared ingredient.
        convention: Name of the block-weight convention.
        copy_from: The ingredient that copied tensors are taken from; "" for the first
            model that the output names.
        vae: `MERGED_VAE`, or the ingredient whose VAE is copied.
        missing: `MISSING_ERROR`, or `KEEP_PREFIX` and an ingredient: tensors that some
            ingredient lacks are taken from it.
        keys: What errors call its places.
    """

    steps: Mapping[str, str]
    output: str
    ingredients: Mapping[str, Origin]
    convention: str = DEFAULT_CONVENTION
    copy_from: str = ""
    vae: str = MERGED_VAE
    missing: str = MISSING_ERROR
    keys: KeyPaths = field(default_factory=KeyPaths)

    @property
    def keep(self) -> str:
        """The ingredient that missing tensors are taken from, "" if they are refused.

        Raises:
            RecipeError: Code "recipe-missing": `missing` is neither form.
        """
        name = self.missing.removeprefix(KEEP_PREFIX)
        if self.missing == MISSING_ERROR:
            return ""
        if name == self.missing or not name:
            raise RecipeError(
                f"recipe.missing: got '{visible(self.missing, 64)}', expected error or"
                " keep:INGREDIENT",
                code="recipe-missing",
                hint="error refuses an ingredient that lacks a tensor",
            )
        return name

    @property
    def copied_from(self) -> frozenset[str]:
        """Ingredients that are used without being in an expression."""
        named = {self.copy_from, self.keep}
        if self.vae != MERGED_VAE:
            named.add(self.vae)
        return frozenset(named - {""})


def recipe_of_expression(
    text: str,
    ingredients: Mapping[str, Origin],
    *,
    convention: str = DEFAULT_CONVENTION,
    copy_from: str = "",
    vae: str = MERGED_VAE,
    missing: str = MISSING_ERROR,
) -> RecipeText:
    """Return the recipe that one expression over ingredients is.

    Args:
        text: The expression.
        ingredients: Every ingredient there is.
        convention: As in `RecipeText`.
        copy_from: As in `RecipeText`.
        vae: As in `RecipeText`.
        missing: As in `RecipeText`.
    """
    return RecipeText(
        {EXPRESSION_STEP: text},
        EXPRESSION_STEP,
        ingredients,
        convention=convention,
        copy_from=copy_from,
        vae=vae,
        missing=missing,
    )
