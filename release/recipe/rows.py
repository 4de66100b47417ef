"""The folded recipe: rows of exact coefficients per cell, and nodes of methods.

Steps vanish when a recipe is folded. What is left says, for each cell, how much of each
leaf goes into the result; a leaf is an ingredient, or the result of a method whose
models are such rows again. That is what is merged in one pass, what is audited, and
what identifies the recipe.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from release.numeric.digest import sha256
from release.recipe.cells import Cell
from release.recipe.conventions import Convention
from release.recipe.decimals import decimal_text
from release.recipe.text import KEEP_PREFIX

CANONICAL_SCHEMA: Final = "krelease.recipe/1"

Row = Mapping[str, Fraction]
"""Leaf -> coefficient, none of them 0, sorted by leaf."""

CellRows = Mapping[Cell, Row]


@dataclass(frozen=True, slots=True)
class MethodNode:
    """A method's result, as a leaf of the rows that use it.

    Attributes:
        name: The leaf: the method and its number, such as "slerp#1".
        method: One of `release.recipe.functions.METHODS`.
        parameters: Its numbers, exact, in the method's order.
        models: For each of its models, one row per cell. All have the same cells, those
            in which the result is used; leaves are ingredients and earlier methods.
    """

    name: str
    method: str
    parameters: Mapping[str, Fraction]
    models: tuple[CellRows, ...]


@dataclass(frozen=True, slots=True)
class FoldedRecipe:
    """A recipe as coefficients.

    Attributes:
        ingredients: Sorted; those with a coefficient other than 0 in some cell, in
            `rows` or in a model of a method.
        loras: Those of them that are LoRAs: 0 for a tensor they say nothing of.
        convention: Which block each tensor is in.
        rows: A row for every cell of the convention. Where the VAE is copied, its cells
            have that ingredient alone.
        methods: Each after those its models use.
        copy_from: The ingredient that copied tensors are taken from.
        vae: "merge", or the ingredient whose VAE is copied.
        missing: "error", or "keep:" and the ingredient that tensors are taken from
            which some ingredient lacks.
        cancelled: Ingredients that the recipe names and that cancel out everywhere, so
            that no file of theirs is needed.
        notes: What was done with the recipe as written that its maker should know.
    """

    ingredients: tuple[str, ...]
    loras: tuple[str, ...]
    convention: Convention
    rows: CellRows
    methods: tuple[MethodNode, ...]
    copy_from: str
    vae: str
    missing: str
    cancelled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def leaves(self) -> tuple[str, ...]:
        """The ingredients, then the methods: the order in which rows are summed."""
        return (*self.ingredients, *(node.name for node in self.methods))

    @property
    def keep(self) -> str:
        """The ingredient that missing tensors are taken from, "" if they are errors."""
        name = self.missing.removeprefix(KEEP_PREFIX)
        return "" if name == self.missing else name

    @property
    def needed(self) -> tuple[str, ...]:
        """Every ingredient that is read, sorted."""
        return tuple(sorted({*self.ingredients, self.copy_from, self.keep} - {""}))

    def row(self, tensor_name: str) -> Row:
        """Return the coefficients of a tensor."""
        return self.rows[self.convention.cell_of(tensor_name)]

    def decimal_rows(self) -> dict[str, dict[str, str]]:
        """Return label -> leaf -> exact decimal; see `labelled` for the labels."""
        return decimals(self.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is legal but seldom meant, one line each.

        A row that does not sum to 1 changes the scale of the weights; usually a
        difference lacks its subtrahend. LoRAs are differences already and do not count.
        """
        labels: dict[Fraction, list[str]] = {}
        for label, row in labelled(self.rows).items():
            if not row or any(leaf not in self.loras for leaf in row):
                labels.setdefault(self.weight_sum(row), []).append(label)
        found = [
            f"coefficients sum to {decimal_text(total)}, not 1, in"
            f" {self._named(names)}: is a subtrahend missing?"
            for total, names in labels.items()
            if total != 1
        ]
        return (
            *self.notes,
            *found,
            *(f"{name} cancels out" for name in self.cancelled),
        )

    def weight_sum(self, row: Row) -> Fraction:
        """Return the sum of a row's coefficients without those of LoRAs."""
        kept = (value for leaf, value in row.items() if leaf not in self.loras)
        return sum(kept, Fraction(0))

    def _named(self, labels: Sequence[str]) -> str:
        n_labels = len(labelled(self.rows))
        return "every block" if len(labels) == n_labels else ", ".join(labels)

    def canonical(self) -> str:
        """Return the text that identifies the recipe: compact JSON, sorted keys, ASCII.

        It has no spelling of the steps in it, so recipes that mean the same are equal,
        and no paths; what the ingredients are is not part of it either.
        """
        document = {
            "schema": CANONICAL_SCHEMA,
            "convention": self.convention.name,
            "copy_from": self.copy_from,
            "loras": list(self.loras),
            "methods": self.method_documents(),
            "missing": self.missing,
            "rows": self.decimal_rows(),
            "vae": self.vae,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    def method_documents(self) -> list[dict[str, Any]]:
        """Return the methods as plain data, numbers as exact decimals."""
        return [
            {
                "name": node.name,
                "method": node.method,
                "parameters": {k: decimal_text(v) for k, v in node.parameters.items()},
                "models": [decimals(rows) for rows in node.models],
            }
            for node in self.methods
        ]

    def sha256(self) -> str:
        """Return the recipe's identity: SHA-256 of `canonical`, 64 hex digits."""
        return sha256(self.canonical().encode("ascii"))


def is_method(leaf: str) -> bool:
    """Return whether a leaf is the result of a method, not an ingredient."""
    return "#" in leaf


def labelled(rows: CellRows) -> dict[str, Row]:
    """Return label -> row in the order of the cells.

    A block whose cells have equal rows is one label, its name; of another, every cell
    has its own: "BASE/vae".
    """
    blocks: dict[str, list[Cell]] = {}
    for cell in rows:
        blocks.setdefault(cell.block, []).append(cell)
    found: dict[str, Row] = {}
    for block, cells in blocks.items():
        first = rows[cells[0]]
        if all(rows[cell] == first for cell in cells):
            found[block] = first
        else:
            found |= {cell.label: rows[cell] for cell in cells}
    return found


def decimals(rows: CellRows) -> dict[str, dict[str, str]]:
    """Return label -> leaf -> exact decimal of every coefficient that is not 0."""
    return {
        label: {leaf: decimal_text(value) for leaf, value in row.items()}
        for label, row in labelled(rows).items()
    }
