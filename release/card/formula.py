"""Card section about the recipe: formulas, block weights, coefficient rows."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from release.card import figures
from release.card.environment import Plain
from release.card.markdown import Markdown
from release.definition import Definition
from release.manifest import Manifest, RecipeRecord
from release.recipe.conventions import KEEP
from release.recipe.decimals import decimal_text
from release.recipe.expression import parse
from release.recipe.labels import block_ranges
from release.recipe.rows import is_method
from release.recipe.text import MERGED_VAE
from release.recipe.tree import (
    BlockMerge,
    Expression,
    Lerp,
    Lora,
    MethodCall,
    Name,
    Negation,
    Number,
    Only,
    Product,
    Sum,
    walk,
)
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
            for merge in walk(tree)
            if isinstance(merge, BlockMerge)
        ],
        "output": recipe.output,
        "convention": recipe.convention,
        "sha256": recipe.sha256,
        "kept_block": KEEP
        if any(label.partition("/")[0] == KEEP for label in recipe.rows)
        else "",
        "copy_from": definition.recipe.copy_from,
        "vae": "" if definition.recipe.vae == MERGED_VAE else definition.recipe.vae,
        **_coefficients(recipe, definition.ingredients),
    }


def _coefficients(recipe: RecipeRecord, stated: Iterable[str]) -> dict[str, Plain]:
    used = {name for row in recipe.rows.values() for name in row}
    names = [name for name in stated if name in used]
    names += sorted(filter(is_method, used))
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
    return min(order.get(name.partition("/")[0], len(order)) for name in blocks)


def _weight_list(step: str, merge: BlockMerge) -> dict[str, Plain]:
    weights = merge.weights.by_name()
    beyond = tuple(name for name in weights if name not in WEIGHT_BLOCKS)
    lines = [
        " ".join(f"{name}={decimal_text(weights[name])}" for name in line)
        for line in (*_LIST_LINES, beyond)
        if line
    ]
    other = merge.other
    return {
        "step": step,
        "other": other.name if isinstance(other, Name) else "",
        "text": "\n".join(lines),
    }


def _formula(step: str, tree: Expression) -> Markdown:
    r"""Return `step = tree` for KaTeX, without the double dollars.

    No backslash stands before punctuation in it, so Markdown leaves every command as
    it is; an underscore in a name is spelt `\textunderscore` for the same reason.
    """
    return Markdown(f"{_latex_name(step)} = {_latex(tree)}")


def _latex(tree: Expression) -> str:
    text: str
    match tree:
        case Number() | Name():
            text = _latex_atom(tree)
        case Negation(operand):
            text = f"-{_operand(operand)}"
        case Sum(terms):
            text = "".join(_term(term, at) for at, term in enumerate(terms))
        case Product(factors):
            text = _DOT.join(_operand(factor) for factor in factors)
        case Lerp(a, b, t):
            text = _blend(_operand(t), a, b)
        case BlockMerge(base, other):
            text = _blend("w_b", base, other)
        case Lora(name):
            text = _call("lora", [_latex_name(name)])
        case Only(operand, targets):
            names = [_latex_name(target.name) for target in targets]
            text = _call("only", [_latex(operand), *names])
        case MethodCall(method, models, parameters):
            numbers = [
                f"{_latex_name(name)} = {decimal_text(value)}"
                for name, value in parameters
            ]
            text = _call(method, [*map(_latex, models), *numbers])
    return text


def _call(function: str, arguments: Iterable[str]) -> str:
    return f"{_latex_name(function)}({', '.join(arguments)})"


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
    single = isinstance(tree, Number | Name | Product | Only | Lora | MethodCall)
    return text if single else f"({text})"


def _latex_name(name: str) -> str:
    spelt = name.replace("_", r"\textunderscore ")
    return rf"\text{{{spelt}}}"
