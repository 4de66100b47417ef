"""What a recipe does, in numbers: its rows, their sums, and all that it settles."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from release.recipe.conventions import KEEP
from release.recipe.decimals import decimal_text
from release.recipe.expression import parse
from release.recipe.fold import fold
from release.recipe.labels import grouped
from release.recipe.rows import CellRows, FoldedRecipe, MethodNode, labelled
from release.recipe.text import ACCUMULATE, MISSING_ERROR, NONFINITE, RecipeText
from release.recipe.tree import BlockMerge, walk

_COPIED: Final = "position ids, markers, noise schedules and logit_scale"


@dataclass(frozen=True, slots=True)
class BlockList:
    """The weights of one block merge, by the names of their blocks and parts."""

    step: str
    weights: Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A recipe and what follows from it.

    Attributes:
        recipe: As it was written.
        folded: What it comes to.
        block_lists: Every list of block weights in it, in the order of the steps.
    """

    recipe: RecipeText
    folded: FoldedRecipe
    block_lists: tuple[BlockList, ...]

    @property
    def settings(self) -> dict[str, str]:
        """All that the recipe settles beside the rows, by key; defaults included."""
        return {
            "convention": self.folded.convention.name,
            "copy_from": self.folded.copy_from,
            "vae": self.folded.vae,
            "missing": self.folded.missing,
            "nonfinite": NONFINITE,
            "accumulate": ACCUMULATE,
        }

    @property
    def rules(self) -> list[tuple[str, str]]:
        """The same for people: (key, sentence)."""
        folded = self.folded
        chosen = "" if self.recipe.copy_from else " (the first model named)"
        kept = f"tensors that an ingredient lacks are those of {folded.keep}"
        refused = "an ingredient that lacks a tensor is refused"
        return [
            ("convention", folded.convention.name),
            ("copied", f"{_COPIED}, from {folded.copy_from}{chosen}"),
            ("vae", self._vae_rule()),
            ("missing", refused if folded.missing == MISSING_ERROR else kept),
            ("nonfinite", "NaN or infinity in an ingredient is refused"),
            *self._kept_rule(),
            ("accumulate", "float64, products and sums apart, one rounding at the end"),
        ]

    def _vae_rule(self) -> str:
        copied = self.folded.vae in self.recipe.ingredients
        return f"that of {self.folded.vae}" if copied else "merged like the rest"

    def _kept_rule(self) -> list[tuple[str, str]]:
        kept = "tensors that a block merge leaves as its first model has them"
        return [(KEEP, kept)] if KEEP in self.folded.convention.blocks else []

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """Return tables of coefficients: (title, rows), the first row the heading.

        The first table is the result; then one for each model of each method.
        """
        found = [("the result", self._table(self.folded.rows))]
        for node in self.folded.methods:
            for at, rows in enumerate(node.models, 1):
                title = f"{_called(node)}, model {at}"
                found.append((title, self._table(rows)))
        return found

    def _table(self, rows: CellRows) -> list[list[str]]:
        used = {leaf for row in rows.values() for leaf in row}
        leaves = [leaf for leaf in self.folded.leaves if leaf in used]
        shown = [
            [
                label,
                *(decimal_text(row.get(leaf, Fraction(0))) for leaf in leaves),
                decimal_text(self.folded.weight_sum(row)),
            ]
            for label, row in grouped(rows)
        ]
        heading = [self._titled(leaf) for leaf in leaves]
        return [["blocks", *heading, "sum"], *shown]

    def _titled(self, leaf: str) -> str:
        return f"lora({leaf})" if leaf in self.folded.loras else leaf

    def document(self) -> dict[str, Any]:
        """Return everything as plain data, coefficients as exact decimals."""
        folded = self.folded
        sums = {
            label: decimal_text(folded.weight_sum(row))
            for label, row in labelled(folded.rows).items()
        }
        return {
            "sha256": folded.sha256(),
            "canonical": folded.canonical(),
            **self.settings,
            "steps": dict(self.recipe.steps),
            "output": self.recipe.output,
            "ingredients": list(folded.ingredients),
            "needed": list(folded.needed),
            "loras": list(folded.loras),
            "block_weights": [
                {
                    "step": each.step,
                    "weights": {k: decimal_text(v) for k, v in each.weights.items()},
                }
                for each in self.block_lists
            ],
            "rows": folded.decimal_rows(),
            "sums": sums,
            "methods": folded.method_documents(),
            "warnings": list(folded.warnings),
        }


def explain(recipe: RecipeText) -> Explanation:
    """Return what a recipe does.

    Raises:
        RecipeError: As `release.recipe.fold.fold`.
    """
    folded = fold(recipe)
    lists = tuple(
        BlockList(name, tree.weights.by_name())
        for name, text in recipe.steps.items()
        for tree in walk(parse(text, label=recipe.keys.step(name)))
        if isinstance(tree, BlockMerge)
    )
    return Explanation(recipe, folded, lists)


def _called(node: MethodNode) -> str:
    numbers = (f"{k}={decimal_text(v)}" for k, v in node.parameters.items())
    return f"{node.name} ({', '.join(numbers)})"
