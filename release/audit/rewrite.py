"""Expressions with changes: recipes that somebody may have followed by mistake."""

from collections.abc import Callable, Collection, Mapping
from fractions import Fraction

from release.recipe.decimals import decimal_text
from release.recipe.expression import parse
from release.recipe.text import RecipeText
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

Change = Callable[[Expression], str | None]
"""Returns what an expression becomes, or None to leave it as it is."""


def rewritten(recipe: RecipeText, change: Change) -> RecipeText:
    """Return a recipe with every expression changed where `change` says so."""
    steps = {
        name: _text(parse(text, label=name), change)
        for name, text in recipe.steps.items()
    }
    return RecipeText(
        steps,
        recipe.output,
        recipe.ingredients,
        convention=recipe.convention,
        copy_from=recipe.copy_from,
        vae=recipe.vae,
        missing=recipe.missing,
    )


def inverted(tree: Expression) -> str | None:
    """Change 1 - w for w: the weight of the first model taken for the second's."""
    if isinstance(tree, BlockMerge):
        return _block_merge(tree, {k: 1 - v for k, v in tree.weights.by_name().items()})
    if isinstance(tree, Lerp):
        return f"lerp({_plain(tree.b)}, {_plain(tree.a)}, {_plain(tree.t)})"
    return None


def subtracted_names(recipe: RecipeText) -> tuple[str, ...]:
    """Return every name that is subtracted somewhere, in the order written."""
    names = [
        term.operand.name
        for step, text in recipe.steps.items()
        for tree in walk(parse(text, label=step))
        if isinstance(tree, Sum)
        for term in tree.terms
        if isinstance(term, Negation) and isinstance(term.operand, Name)
    ]
    return tuple(dict.fromkeys(names))


def without_subtrahend(names: Collection[str]) -> Change:
    """Return the change of a - b to a, for some b: only one half was added."""

    def change(tree: Expression) -> str | None:
        if not isinstance(tree, Sum) or not any(
            _is_minus(t, names) for t in tree.terms
        ):
            return None
        parts = [
            f"0 * {_plain(term)}" if _is_minus(term, names) else _plain(term)
            for term in tree.terms
        ]
        return f"({' + '.join(parts)})"

    return change


def turned_round(name: str) -> Change:
    """Return the change of a - NAME to NAME - a."""

    def change(tree: Expression) -> str | None:
        if not isinstance(tree, Sum) or len(tree.terms) != 2:
            return None
        if not _is_minus(tree.terms[1], {name}):
            return None
        return f"({name} - {_plain(tree.terms[0])})"

    return change


def _is_minus(tree: Expression, names: Collection[str]) -> bool:
    if not isinstance(tree, Negation) or not isinstance(tree.operand, Name):
        return False
    return tree.operand.name in names


def shifted(by: int) -> Change:
    """Return the change of a list of weights that begins `by` places late."""

    def change(tree: Expression) -> str | None:
        if not isinstance(tree, BlockMerge):
            return None
        listed = dict(enumerate(tree.weights.listed))
        moved = {
            block: listed.get(at - by, Fraction(0))
            for at, block in enumerate(WEIGHT_BLOCKS)
        }
        return _block_merge(tree, {**tree.weights.by_name(), **moved})

    return change


def without_blocks(tree: Expression) -> str | None:
    """Change a block merge to its first model: the step was left out."""
    return _plain(tree.base) if isinstance(tree, BlockMerge) else None


def _block_merge(tree: BlockMerge, weights: Mapping[str, Fraction]) -> str:
    listed = _named(weights)
    return f"mbw({_plain(tree.base)}, {_plain(tree.other)}, '{listed}')"


def _plain(tree: Expression) -> str:
    return _text(tree, lambda _: None)


def _text(tree: Expression, change: Change) -> str:
    """Return an expression as text that means the same, once changed."""
    changed = change(tree)
    if changed is not None:
        return changed

    def inner(each: Expression) -> str:
        return _text(each, change)

    match tree:
        case Number() | Name() | Lora():
            return _leaf(tree)
        case Negation(operand):
            return f"(-{inner(operand)})"
        case Sum(terms):
            return f"({' + '.join(map(inner, terms))})"
        case Product(factors):
            return f"({' * '.join(map(inner, factors))})"
        case _:
            return _call(tree, inner)


def _leaf(tree: Number | Name | Lora) -> str:
    match tree:
        case Number(value):
            return decimal_text(value)
        case Name(name):
            return name
        case Lora(name):
            return f"lora({name})"


def _call(
    tree: Lerp | BlockMerge | Only | MethodCall, inner: Callable[[Expression], str]
) -> str:
    match tree:
        case Lerp(a, b, t):
            return f"lerp({inner(a)}, {inner(b)}, {inner(t)})"
        case BlockMerge(base, other, weights):
            listed = _named(weights.by_name())
            return f"mbw({inner(base)}, {inner(other)}, '{listed}')"
        case Only(operand, targets):
            names = ", ".join(target.name for target in targets)
            return f"only({inner(operand)}, {names})"
        case MethodCall(method, models, parameters):
            numbers = [f"{k}={decimal_text(v)}" for k, v in parameters]
            return f"{method}({', '.join([*map(inner, models), *numbers])})"


def _named(weights: Mapping[str, Fraction]) -> str:
    return ", ".join(f"{name}={decimal_text(w)}" for name, w in weights.items())
