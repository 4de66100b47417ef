"""Folding a recipe: every expression is evaluated once for each kind of cell."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from release.errors import RecipeError, visible
from release.recipe.cells import Cell, Part
from release.recipe.conventions import Convention, find_convention
from release.recipe.decimals import decimal_text
from release.recipe.form import ONE, Form, Scope, model, site
from release.recipe.graph import Graph, read_graph
from release.recipe.leaves import Call, name_methods
from release.recipe.names import suggestion
from release.recipe.rows import FoldedRecipe
from release.recipe.text import MERGED_VAE, RecipeText
from release.recipe.tokens import Place
from release.recipe.tree import BlockMerge, MethodCall, Only, walk
from release.recipe.weights import SD1_LENGTH, SD1_ONLY, length_hint


@dataclass(frozen=True, slots=True)
class _Node:
    """A node whose value depends on the cell, and where it was written."""

    place: Place
    tree: BlockMerge | Only


def fold(recipe: RecipeText) -> FoldedRecipe:
    """Return the recipe as one row of coefficients per cell.

    Raises:
        RecipeError: A wrong step (`release.recipe.graph.read_graph`), something not
            linear (`release.recipe.form.model`), or code "unknown-convention",
            "unknown-name", "unknown-target", "block-weights", "method-argument",
            "lora-use", "recipe-missing" or "recipe-empty".
    """
    convention = find_convention(recipe.convention)
    graph = read_graph(recipe)
    nodes = list(_nodes(graph))
    for node in nodes:
        _check_node(node, convention)
    copy_from = _copy_from(recipe, graph)
    rows, calls = _evaluated(recipe, graph, convention, nodes)
    if recipe.vae != MERGED_VAE:
        rows |= {cell: {recipe.vae: ONE} for cell in rows if cell.part is Part.VAE}
    folded_rows, methods = name_methods(rows, calls, loras=graph.loras)
    every_row = [
        *folded_rows.values(),
        *(row for each in methods for cells in each.models for row in cells.values()),
    ]
    alive = {leaf for row in every_row for leaf in row} & recipe.ingredients.keys()
    if not alive:
        raise RecipeError(
            f"{recipe.keys.output}: every coefficient is 0",
            code="recipe-empty",
            hint="the models of the recipe cancel out; check its signs",
        )
    kept = {copy_from, *recipe.copied_from}
    return FoldedRecipe(
        ingredients=tuple(sorted(alive)),
        loras=tuple(name for name in graph.loras if name in alive),
        convention=convention,
        rows=folded_rows,
        methods=methods,
        copy_from=copy_from,
        vae=recipe.vae,
        missing=recipe.missing,
        cancelled=tuple(name for name in graph.ingredients if name not in alive | kept),
        notes=tuple(_notes(nodes)),
    )


def _nodes(graph: Graph) -> Iterator[_Node]:
    for step in graph.steps:
        for tree in walk(step.tree):
            if isinstance(tree, BlockMerge | Only):
                yield _Node(step.place, tree)


def _check_node(node: _Node, convention: Convention) -> None:
    tree = node.tree
    if isinstance(tree, Only):
        for target in tree.targets:
            if target.name not in convention.targets:
                raise node.place.error(
                    target.column,
                    f"unknown part or block '{visible(target.name, 40)}'",
                    code="unknown-target",
                    hint=suggestion(target.name, convention.targets),
                )
        return
    wrong = convention.refusal(tree.weights)
    if wrong:
        raise node.place.error(
            tree.column,
            wrong,
            code="block-weights",
            hint=length_hint(tree.weights.n_listed),
        )


def _copy_from(recipe: RecipeText, graph: Graph) -> str:
    """Return the ingredient of copied tensors, after checking every name of a copy."""
    names = {*recipe.ingredients}
    for key, name, others in (
        ("recipe.copy_from", recipe.copy_from, {""}),
        ("recipe.vae", recipe.vae, {MERGED_VAE}),
        ("recipe.missing", recipe.keep, {""}),
    ):
        if name not in names | others:
            hint = suggestion(name, names | others - {""})
            raise RecipeError(
                f"{key}: unknown ingredient '{visible(name)}'; {hint}",
                code="unknown-name",
                hint="it is the name of an ingredient, not of a step",
            )
        if name in graph.loras:
            raise RecipeError(
                f"{key}: {visible(name)} is a LoRA, expected a model",
                code="lora-use",
                hint="name an ingredient that has every tensor",
            )
    chosen = recipe.copy_from or graph.base
    if not chosen:
        raise RecipeError(
            f"{recipe.keys.output}: names no model, only LoRAs",
            code="recipe-empty",
            hint="add the model that the LoRAs are for: base + 0.6 * lora(style)",
        )
    return chosen


def _evaluated(
    recipe: RecipeText, graph: Graph, convention: Convention, nodes: list[_Node]
) -> tuple[dict[Cell, Form], dict[str, Call]]:
    """Return the result's form in every cell, and every method call by its site."""
    known: dict[Hashable, tuple[Form, Mapping[str, tuple[Form, ...]]]] = {}
    rows: dict[Cell, Form] = {}
    forms: dict[str, dict[Cell, tuple[Form, ...]]] = {}
    for cell in convention.cells:
        kind = tuple(_response(node.tree, convention, cell) for node in nodes)
        if kind not in known:
            known[kind] = _evaluated_in(cell, recipe, graph, convention)
        rows[cell], called = known[kind]
        for name, models in called.items():
            forms.setdefault(name, {})[cell] = models
    calls = {
        name: Call(place, tree, forms[name]) for name, place, tree in _calls(graph)
    }
    return rows, calls


def _response(tree: BlockMerge | Only, convention: Convention, cell: Cell) -> Hashable:
    """Return all that the value of a node takes from the cell."""
    if isinstance(tree, BlockMerge):
        return tree.weights.of(cell)
    return any(convention.is_in(cell, target.name) for target in tree.targets)


def _calls(graph: Graph) -> Iterator[tuple[str, Place, MethodCall]]:
    """Yield every method call and its site, each after those inside it."""
    for step in graph.steps:
        for tree in walk(step.tree):
            if isinstance(tree, MethodCall):
                yield site(step.name, tree), step.place, tree


def _evaluated_in(
    cell: Cell, recipe: RecipeText, graph: Graph, convention: Convention
) -> tuple[Form, Mapping[str, tuple[Form, ...]]]:
    """Return the result's form in one cell, and those of the models of every call."""
    models: dict[str, Form] = {name: {name: ONE} for name in recipe.ingredients}
    calls: dict[str, tuple[Form, ...]] = {}
    for step in graph.steps:
        scope = Scope(step.name, step.place, models, convention, cell, calls)
        models[step.name] = model(step.tree, scope)
    return models[recipe.output], calls


def _notes(nodes: list[_Node]) -> Iterator[str]:
    """Yield what was done with block weights that their writer should know."""
    for node in nodes:
        tree = node.tree
        if not isinstance(tree, BlockMerge) or tree.weights.n_listed != SD1_LENGTH:
            continue
        left_out = ", ".join(
            f"{block}={decimal_text(weight)}"
            for block, weight in zip(SD1_ONLY, tree.weights.left_out, strict=True)
        )
        yield (
            f"{node.place.label}: the list of 26 block weights is one for SD1; left"
            f" out are the blocks that SDXL does not have: {left_out}"
        )
