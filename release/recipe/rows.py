"""Folding a recipe into one row of exact coefficients per block.

Everything in the recipe language is linear, so the steps of a recipe vanish: what is
left says, for each block, how much of each ingredient goes into the result. That is
what is merged in one pass, what is audited, and what identifies the recipe.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from release.errors import RecipeError
from release.numeric.digest import sha256
from release.recipe.conventions import Convention, find_convention
from release.recipe.form import ONE, ZERO, Form, Scope, decimal_text, model
from release.recipe.graph import ordered_steps
from release.recipe.weights import WEIGHT_BLOCKS

CANONICAL_SCHEMA: Final = "krelease.recipe/1"


@dataclass(frozen=True, slots=True)
class LinearRecipe:
    """A recipe as coefficients.

    Attributes:
        ingredients: Sorted; those with a coefficient other than 0 in some block.
        convention: Which block each tensor is in.
        rows: For every block of the convention, one exact coefficient per ingredient.
        cancelled: Ingredients that the recipe names and that cancel out everywhere, so
            that no file of theirs is needed.
    """

    ingredients: tuple[str, ...]
    convention: Convention
    rows: Mapping[str, tuple[Fraction, ...]]
    cancelled: tuple[str, ...] = ()

    def coefficients(self, tensor_name: str) -> tuple[Fraction, ...]:
        """Return the coefficients of a tensor, in the order of `ingredients`."""
        return self.rows[self.convention.block_of(tensor_name)]

    def decimal_rows(self) -> dict[str, dict[str, str]]:
        """Return block -> ingredient -> exact decimal; zeros are written as "0"."""
        return {
            block: dict(zip(self.ingredients, map(decimal_text, row), strict=True))
            for block, row in self.rows.items()
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is legal but seldom meant, one line each.

        A row that does not sum to 1 changes the scale of the weights; usually a
        difference lacks its subtrahend.
        """
        blocks: dict[Fraction, list[str]] = {}
        for block, row in self.rows.items():
            blocks.setdefault(sum(row, ZERO), []).append(block)
        found = [
            f"coefficients sum to {decimal_text(total)}, not 1, in"
            f" {self._named(names)}: is a subtrahend missing?"
            for total, names in blocks.items()
            if total != 1
        ]
        return (*found, *(f"{name} cancels out" for name in self.cancelled))

    def _named(self, blocks: list[str]) -> str:
        return "every block" if len(blocks) == len(self.rows) else ", ".join(blocks)

    def canonical(self, *, copy_from: str, vae: str) -> str:
        """Return the text that identifies the recipe: compact JSON, sorted keys, ASCII.

        It has no spelling of the steps in it, so recipes that mean the same are equal.

        Args:
            copy_from: The ingredient that copied tensors are taken from.
            vae: "merge", or the ingredient whose VAE is copied.
        """
        document = {
            "schema": CANONICAL_SCHEMA,
            "convention": self.convention.name,
            "copy_from": copy_from,
            "rows": self.decimal_rows(),
            "vae": vae,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    def sha256(self, *, copy_from: str, vae: str) -> str:
        """Return the recipe's identity: SHA-256 of `canonical`, 64 hex digits."""
        text = self.canonical(copy_from=copy_from, vae=vae)
        return sha256(text.encode("ascii"))


def fold(
    steps: Mapping[str, str],
    output: str,
    *,
    convention: str,
    ingredient_names: Collection[str],
    copied_from: Collection[str] = (),
) -> LinearRecipe:
    """Return the recipe as one row of coefficients per block.

    Args:
        steps: Step name -> expression over ingredients and other steps, in any order.
        output: The step or ingredient that is the result.
        convention: Name of the block-weight convention.
        ingredient_names: Every declared ingredient.
        copied_from: Ingredients that tensors are copied from; they count as used.

    Raises:
        RecipeError: A wrong step (`release.recipe.graph.ordered_steps`), something not
            linear (`release.recipe.form.model`), or code "unknown-convention" or
            "recipe-empty".
    """
    chosen = find_convention(convention)
    ordered = ordered_steps(
        steps, output, ingredient_names=ingredient_names, copied_from=copied_from
    )
    forms: dict[str, Form] = {}
    for index, block in enumerate(chosen.blocks):
        models: dict[str, Form] = {name: {name: ONE} for name in ingredient_names}
        weight_index = index if block in WEIGHT_BLOCKS else None
        for step in ordered:
            scope = Scope(step.place, models, weight_index)
            models[step.name] = model(step.tree, scope)
        forms[block] = models[output]
    return _linear(forms, chosen)


def _linear(forms: Mapping[str, Form], convention: Convention) -> LinearRecipe:
    named = {name for form in forms.values() for name in form}
    alive = {name for form in forms.values() for name, value in form.items() if value}
    if not alive:
        raise RecipeError(
            "recipe.output: every coefficient is 0",
            code="recipe-empty",
            hint="the models of the recipe cancel out; check its signs",
        )
    ingredients = tuple(sorted(alive))
    rows = {
        block: tuple(form.get(name, ZERO) for name in ingredients)
        for block, form in forms.items()
    }
    return LinearRecipe(ingredients, convention, rows, tuple(sorted(named - alive)))
