"""The formulas of two or three models that block-merging programs share."""

from collections.abc import Sequence
from enum import Enum

from release.recipe.decimals import decimal_text
from release.recipe.imports.embedded import Models, Weights
from release.recipe.imports.imported import OUTPUT, PART
from release.recipe.imports.terms import block_merge


class Formula(Enum):
    """A formula of the models A, B and C and the weights alpha and beta."""

    WEIGHTED_SUM = "A * (1 - alpha) + B * alpha"
    ADD_DIFFERENCE = "A + (B - C) * alpha"
    TRIPLE_SUM = "A * (1 - alpha - beta) + B * alpha + C * beta"
    SUM_TWICE = "(A * (1 - alpha) + B * alpha) * (1 - beta) + C * beta"

    @property
    def takes_c(self) -> bool:
        """Whether C is in it; files name one even where it is not."""
        return self is not Formula.WEIGHTED_SUM

    @property
    def takes_beta(self) -> bool:
        """Whether beta is in it."""
        return self in {Formula.TRIPLE_SUM, Formula.SUM_TWICE}

    def ingredients(self, models: Models, keys: tuple[str, str, str]) -> list[str]:
        """Return the names of A, B and, where it `takes_c`, C.

        Args:
            models: What the recipe knows of them.
            keys: The members of the recipe that hold their hashes.

        Raises:
            RecipeError: Code "import-hash" or "import-field".
        """
        letters = "abc" if self.takes_c else "ab"
        return [
            models.ingredient(key, letter)
            for key, letter in zip(keys, letters, strict=False)
        ]

    def steps(
        self, names: Sequence[str], alpha: Weights, beta: Weights
    ) -> tuple[tuple[str, str], ...]:
        """Return the steps that say it, the last one `OUTPUT`.

        Args:
            names: A, B and, where it `takes_c`, C.
            alpha: Weights of the first merge.
            beta: Weights of the second; not used without one.
        """
        a, b = names[:2]
        first = f"{PART}_1"
        match self:
            case Formula.WEIGHTED_SUM:
                return ((OUTPUT, _blend(a, b, alpha)),)
            case Formula.ADD_DIFFERENCE:
                return ((OUTPUT, _blend(a, f"{a} + {b} - {names[2]}", alpha)),)
            case Formula.TRIPLE_SUM:
                second = f"{first} + {_blend(a, names[2], beta)} - {a}"
                return ((first, _blend(a, b, alpha)), (OUTPUT, second))
            case Formula.SUM_TWICE:
                second = _blend(first, names[2], beta)
                return ((first, _blend(a, b, alpha)), (OUTPUT, second))


def _blend(base: str, other: str, weights: Weights) -> str:
    """Return base and other merged with one weight for each block.

    A weight of a text encoder reaches tensors that the origin leaves alone; those are
    the ones outside of BASE.
    """
    text = block_merge(base, other, weights.listed, parts=dict(weights.parts))
    if weights.clip_g is None:
        return text
    more = decimal_text(abs(weights.clip_g - weights.listed[0]))
    sign = "+" if weights.clip_g > weights.listed[0] else "-"
    only = f"only(only({other} - ({base}), clip_g), BASE)"
    return f"{text} {sign} {more} * {only}"
