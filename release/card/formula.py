"""Card section about the recipe: formulas, block weights, coefficient rows."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Final

from release.card import figures
from release.card.environment import Plain
from release.card.markdown import Markdown
from release.definition import MERGED_VAE, Definition
from release.manifest import Manifest, RecipeRecord
from release.recipe.conventions import KEEP
from release.recipe.expression import (
    BlockMerge,
    Expression,
    Lerp,
    Name,
    Negation,
    Number,
    Product,
    Sum,
    parse,
)
from release.recipe.form import decimal_text
from release.recipe.weights import WEIGHT_BLOCKS

_DOT: Final = r" \cdot "
_LIST_LINES: Final = (
    WEIGHT_BLOCKS[:1],
    WEIGHT_BLOCKS[1:10],
    WEIGHT_BLOCKS[10:11],
    WEIGHT_BLOCKS[11:],
)


def recipe_section(definition: Definition, manifest: Manifest) -> dict[str, Plain]:
    """Return what the recipe says, in every form a reader may want it in."""
    recipe = manifest.recipe
    steps = {name: recipe.steps[name] for name in definition.recipe.steps}
    trees = {name: parse(text, label=name) for name, text in steps.items()}
    return {
        "code": "\n".join(f"{name} = {text}" for name, text in steps.items()),
        "formulas": [_formula(name, tree) for name, tree in trees.items()],
        "weight_lists": [
            _weight_list(name, merge)
            for name, tree in trees.items()
            for merge in _block_merges(tree)
        ],
        "output": recipe.output,
        "convention": recipe.convention,
        "sha256": recipe.sha256,
        "kept_block": KEEP if KEEP in recipe.rows else "",
        "copy_from": definition.recipe.copy_from,
        "vae": "" if definition.recipe.vae == MERGED_VAE else definition.recipe.vae,
        **_coefficients(recipe, definition.ingredients),
    }


def block_ranges(blocks: Iterable[str], order: Iterable[str]) -> str:
    """Return blocks in order, neighbours joined: "BASE, IN02, OUT03-OUT08".

    Args:
        blocks: Names, each in `order` or appended after it alphabetically.
        order: All names that have a place.
    """
    places = {name: at for at, name in enumerate(order)}
    names = sorted(blocks, key=lambda name: (places.get(name, len(places)), name))
    runs = [[name] for name in names[:1]]
    for before, name in pairwise(names):
        if _follows(before, name, places):
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(
        part for run in runs for part in (run if len(run) < 3 else [_span(run)])
    )


def _span(run: list[str]) -> str:
    return f"{run[0]}-{run[-1]}"


def _follows(before: str, name: str, places: Mapping[str, int]) -> bool:
    """Whether two blocks are neighbours of one kind, such as IN03 and IN04."""
    if before[:-2] != name[:-2] or before not in places or name not in places:
        return False
    return places[name] == places[before] + 1


def _coefficients(recipe: RecipeRecord, stated: Iterable[str]) -> dict[str, Plain]:
    used = {name for row in recipe.rows.values() for name in row}
    names = [name for name in stated if name in used]
    blocks: dict[tuple[Fraction, ...], list[str]] = {}
    for block in sorted(recipe.rows):
        row = recipe.rows[block]
        values = tuple(figures.coefficient(row.get(name, "0")) for name in names)
        blocks.setdefault(values, []).append(block)
    rows: list[Plain] = [
        {
            "blocks": block_ranges(held, WEIGHT_BLOCKS),
            "coefficients": [decimal_text(value) for value in values],
            "sum": decimal_text(sum(values, Fraction(0))),
        }
        for values, held in sorted(
            blocks.items(), key=lambda item: _first_place(item[1])
        )
    ]
    return {"names": names, "rows": rows}


def _first_place(blocks: Iterable[str]) -> int:
    order = {name: at for at, name in enumerate(WEIGHT_BLOCKS)}
    return min(order.get(name, len(order)) for name in blocks)


def _weight_list(step: str, merge: BlockMerge) -> dict[str, Plain]:
    weights = dict(zip(WEIGHT_BLOCKS, map(decimal_text, merge.weights), strict=True))
    lines = [
        " ".join(f"{name}={weights[name]}" for name in line) for line in _LIST_LINES
    ]
    other = merge.other
    return {
        "step": step,
        "other": other.name if isinstance(other, Name) else "",
        "text": "\n".join(lines),
    }


def _block_merges(tree: Expression) -> list[BlockMerge]:
    """Return every block merge in `tree`, inner ones first."""
    inner = [merge for part in _parts(tree) for merge in _block_merges(part)]
    return [*inner, tree] if isinstance(tree, BlockMerge) else inner


def _parts(tree: Expression) -> tuple[Expression, ...]:
    match tree:
        case Number() | Name():
            return ()
        case Negation(operand):
            return (operand,)
        case Sum(parts) | Product(parts):
            return parts
        case Lerp(a, b, t):
            return (a, b, t)
        case BlockMerge(base, other):
            return (base, other)


def _formula(step: str, tree: Expression) -> Markdown:
    r"""Return `step = tree` for KaTeX, without the double dollars.

    No backslash stands before punctuation in it, so Markdown leaves every command as
    it is; an underscore in a name is spelt `\textunderscore` for the same reason.
    """
    return Markdown(f"{_latex_name(step)} = {_latex(tree)}")


def _latex(tree: Expression) -> str:
    match tree:
        case Number() | Name():
            return _latex_atom(tree)
        case Negation(operand):
            return f"-{_operand(operand)}"
        case Sum(terms):
            return "".join(_term(term, at) for at, term in enumerate(terms))
        case Product(factors):
            return _DOT.join(_operand(factor) for factor in factors)
        case Lerp(a, b, t):
            return _blend(_operand(t), a, b)
        case BlockMerge(base, other):
            return _blend("w_b", base, other)


def _latex_atom(tree: Number | Name) -> str:
    if isinstance(tree, Number):
        return decimal_text(tree.value)
    return _latex_name(tree.name)


def _term(tree: Expression, position: int) -> str:
    """Return one term of a sum with the sign before it; the first has none."""
    if not position:
        return _latex(tree)
    if isinstance(tree, Negation):
        return f" - {_operand(tree.operand)}"
    return f" + {_latex(tree)}"


def _blend(weight: str, a: Expression, b: Expression) -> str:
    return f"(1 - {weight}){_DOT}{_operand(a)} + {weight}{_DOT}{_operand(b)}"


def _operand(tree: Expression) -> str:
    text = _latex(tree)
    single = isinstance(tree, Number | Name | Product)
    return text if single else f"({text})"


def _latex_name(name: str) -> str:
    spelt = name.replace("_", r"\textunderscore ")
    return rf"\text{{{spelt}}}"
