"""What a release was made of, step by step: as a graph, and as text.

The share of a model in a step is its coefficient there, alike in the text and in the
picture that `release.card.svg` draws.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from release.definition import Definition, recipe_text
from release.recipe.decimals import decimal_text
from release.recipe.fold import fold
from release.recipe.graph import names_in
from release.recipe.rows import FoldedRecipe, labelled
from release.recipe.text import Origin, RecipeText

LINEAGE_NAME: Final = "lineage.svg"
"""What the picture is called in a release folder."""

TIMES: Final = "\N{MULTIPLICATION SIGN}"
"""Between a model and its share."""
_LINES_MAX: Final = 200
_UNKNOWN: Final = Origin()


@dataclass(frozen=True, slots=True)
class Node:
    """A model of the recipe.

    Attributes:
        name: What the recipe calls it.
        title: What people call it.
        detail: Its licence; "" for a step.
        rank: 0 for an ingredient; for a step one more than the highest of its models.
    """

    name: str
    title: str
    detail: str
    rank: int


@dataclass(frozen=True, slots=True)
class Link:
    """A model that goes into a step, and its share there, such as "0 to 0.1"."""

    source: str
    target: str
    share: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """The models of a recipe, sources before what is made of them, and the result."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    output: str


def lineage_of(definition: Definition) -> Lineage:
    """Return the models that lead to a release.

    Raises:
        RecipeError: As `release.recipe.fold.fold`.
    """
    recipe = recipe_text(definition)
    models = {name: names_in(text) for name, text in recipe.steps.items()}
    order = list(_order(recipe.output, models, seen=set()))
    links = [
        Link(source, step, share)
        for step in order
        if step in models
        for source, share in _shares(recipe, step, models[step]).items()
    ]
    ranks: dict[str, int] = {}
    for name in order:
        ranks[name] = 1 + max(
            (ranks[each] for each in models.get(name, ())), default=-1
        )
    nodes = tuple(_node(definition, name, ranks[name]) for name in order)
    return Lineage(nodes, tuple(links), recipe.output)


def lineage_text(lineage: Lineage) -> str:
    """Return the graph as a tree of text, the result first.

    What is made of several models is only spelt out the first time it is met.
    """
    titles = {node.name: node.title for node in lineage.nodes}
    lines = [_described(lineage.output, titles)]
    lines += _branches(lineage, lineage.output, titles, indent="", seen=set())
    rest = len(lines) - _LINES_MAX
    return "\n".join([*lines[:_LINES_MAX], *([f"… ({rest} more)"] if rest > 0 else [])])


def _branches(
    lineage: Lineage,
    step: str,
    titles: Mapping[str, str],
    *,
    indent: str,
    seen: set[str],
) -> Iterator[str]:
    seen.add(step)
    links = [link for link in lineage.links if link.target == step]
    for link in links:
        mark, bar = ("└─", "   ") if link is links[-1] else ("├─", "│  ")
        share = f"{link.share} {TIMES} " if link.share else ""
        yield f"{indent}{mark} {share}{_described(link.source, titles)}"
        if link.source not in seen:
            yield from _branches(
                lineage, link.source, titles, indent=indent + bar, seen=seen
            )


def _described(name: str, titles: Mapping[str, str]) -> str:
    return f"{name} ({titles[name]})" if titles[name] else name


def _order(
    name: str, models: Mapping[str, tuple[str, ...]], *, seen: set[str]
) -> Iterator[str]:
    """Yield a model after all those it is made of, each once."""
    if name in seen:
        return
    seen.add(name)
    for source in models.get(name, ()):
        yield from _order(source, models, seen=seen)
    yield name


def _node(definition: Definition, name: str, rank: int) -> Node:
    if name == definition.recipe.output and rank:
        return Node(name, definition.release.title, definition.licence.name, rank)
    source = definition.ingredients.get(name)
    if source is None:
        return Node(name, "", "", rank)
    return Node(name, source.title, source.licence or "", rank)


def _shares(recipe: RecipeText, step: str, models: tuple[str, ...]) -> dict[str, str]:
    """Return the share of each model in one step, whose models count as ingredients."""
    alone = RecipeText(
        {step: recipe.steps[step]},
        step,
        {name: recipe.ingredients.get(name, _UNKNOWN) for name in models},
        convention=recipe.convention,
    )
    folded = fold(alone)
    return {name: _share(folded, name) for name in models}


def _share(folded: FoldedRecipe, name: str) -> str:
    """Return the coefficients of a model as "0.25" or "0 to 0.1"; "" in a method."""
    if any(
        name in row
        for node in folded.methods
        for m in node.models
        for row in m.values()
    ):
        return ""
    rows = labelled(folded.rows).values()
    values = {row.get(name, Fraction(0)) for row in rows}
    low, high = decimal_text(min(values)), decimal_text(max(values))
    return low if low == high else f"{low} to {high}"
