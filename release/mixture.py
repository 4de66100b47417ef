"""What each tensor of a merge is made of: a folded recipe, met with its ingredients.

The recipe says what goes into each kind of tensor; the ingredients' headers say which
tensors there are and where they lie. Both are checked against each other here, before
the engine reads a weight.
"""

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

from release.architecture.sdxl import check_sdxl, component_of, is_copied
from release.engine.jobs import MethodStep, Terms
from release.engine.plan import Ingredient, TensorSource, tensors_of
from release.errors import ShapeError, TensorMismatchError, first_names, visible
from release.formats.tensor import TensorEntry
from release.recipe.rows import FoldedRecipe, MethodNode, Row


def check_ingredients(
    recipe: FoldedRecipe, ingredients: Mapping[str, Ingredient]
) -> None:
    """Check by their headers that ingredients can be merged with each other.

    Args:
        recipe: What they are for.
        ingredients: By name, open; LoRAs and ingredients that the recipe does not need
            are passed over, and those it lacks are not missed.

    Raises:
        TensorMismatchError: An ingredient is of another architecture, or lacks tensors
            that the recipe does not say how to replace.
        ShapeError: A tensor's shape differs between ingredients.
    """
    names = [
        name
        for name in recipe.needed
        if name in ingredients and name not in recipe.loras
    ]
    for name in names:
        if recipe.keep in {"", name}:
            found = tensors_of(ingredients[name])
            shapes = {tensor: entry.shape for tensor, entry in found.items()}
            check_sdxl(ingredients[name].checkpoint.path, shapes)
    reference = ingredients.get(recipe.keep or recipe.copy_from)
    if reference is not None:
        expected = _computed(reference)
        for name in names:
            if ingredients[name] is not reference:
                _check_same_tensors(
                    reference,
                    expected,
                    ingredients[name],
                    may_lack=bool(recipe.keep),
                )


def result_tensors(
    recipe: FoldedRecipe, ingredients: Mapping[str, Ingredient]
) -> dict[str, TensorEntry]:
    """Return the result's tensors: those of the base, and those that are kept."""
    kept = tensors_of(ingredients[recipe.keep or recipe.copy_from])
    computed = {
        name: entry for name, entry in kept.items() if not is_copied(name, entry.dtype)
    }
    return {**tensors_of(ingredients[recipe.copy_from]), **computed}


def tensor_sources(
    recipe: FoldedRecipe, ingredients: Sequence[Ingredient]
) -> dict[str, TensorSource]:
    """Say for every tensor of the base, and of the others, where it comes from.

    Args:
        recipe: The recipe.
        ingredients: All that it needs, in its order, checked.
    """
    number = {ingredient.name: at for at, ingredient in enumerate(ingredients)}
    base = number[recipe.copy_from]
    order = [base, *(at for at in range(len(ingredients)) if at != base)]
    sources: dict[str, TensorSource] = {}
    for at in order:
        auxiliary = _auxiliary(ingredients[at])
        for name, entry in ingredients[at].checkpoint.tensors.items():
            if name in sources:
                continue
            copied = is_copied(name, entry.dtype) or name in auxiliary
            operands = (
                _copy_operands(name, order, ingredients)
                if copied
                else _merge_operands(recipe, name, ingredients)
            )
            sources[name] = TensorSource(
                shape=entry.shape,
                component=component_of(name).value,
                copied=copied,
                operands=operands,
                methods=() if copied else _methods(recipe, name, operands, ingredients),
            )
    return sources


def left_out(
    tensors: Mapping[str, TensorEntry], ingredients: Sequence[Ingredient]
) -> tuple[str, ...]:
    """Name the buffers and markers of ingredients that the result lacks."""
    found = []
    for ingredient in ingredients:
        names = ingredient.checkpoint.tensors.keys() - _auxiliary(ingredient)
        extra = names - tensors.keys()
        if extra:
            found.append(
                f"{ingredient.name}: not taken over: {first_names(sorted(extra))}"
            )
    return tuple(found)


def _auxiliary(ingredient: Ingredient) -> frozenset[str]:
    return ingredient.layout.auxiliary if ingredient.layout else frozenset()


def _computed(ingredient: Ingredient) -> dict[str, TensorEntry]:
    return {
        name: entry
        for name, entry in tensors_of(ingredient).items()
        if not is_copied(name, entry.dtype)
    }


def _check_same_tensors(
    reference: Ingredient,
    expected: Mapping[str, TensorEntry],
    ingredient: Ingredient,
    *,
    may_lack: bool,
) -> None:
    found = _computed(ingredient)
    if not may_lack:
        _refuse_missing(ingredient, expected.keys() - found.keys(), other=reference)
    _refuse_missing(reference, found.keys() - expected.keys(), other=ingredient)
    for name in sorted(expected.keys() & found.keys()):
        got, wanted = found[name].shape, expected[name].shape
        if got != wanted:
            raise ShapeError(
                ingredient.checkpoint.path,
                f"{visible(name)} has shape {list(got)}; expected {list(wanted)}, "
                f"as in {visible(reference.checkpoint.path.name)}",
                code="shape-differs",
                hint="the ingredients of a merge must be of one architecture",
            )


def _refuse_missing(
    ingredient: Ingredient, missing: Collection[str], *, other: Ingredient
) -> None:
    if missing:
        raise TensorMismatchError(
            ingredient.checkpoint.path,
            f"lacks {len(missing):,} tensors that "
            f"{visible(other.checkpoint.path.name)} has: "
            f"{first_names(sorted(missing))}",
            code="missing-tensors",
            hint="the ingredients of a merge must hold the same tensors",
        )


def _copy_operands(
    name: str, order: Sequence[int], ingredients: Sequence[Ingredient]
) -> tuple[tuple[int, float], ...]:
    holders = [at for at in order if name in ingredients[at].checkpoint.tensors]
    return tuple((at, 1.0 if at == holders[0] else 0.0) for at in holders)


def _merge_operands(
    recipe: FoldedRecipe, name: str, ingredients: Sequence[Ingredient]
) -> tuple[tuple[int, float], ...]:
    """Return the row of a tensor; where a model of it lacks the tensor, what is kept.

    Ingredients with coefficient 0 are among the operands for their digest's sake, and
    because methods may use them.
    """
    row = _row(recipe, name, ingredients)
    return tuple(
        (at, float(row.get(ingredient.name, 0)))
        for at, ingredient in enumerate(ingredients)
        if name in ingredient.checkpoint.tensors
    )


def _row(recipe: FoldedRecipe, name: str, ingredients: Sequence[Ingredient]) -> Row:
    """Return what a tensor is made of: itself, of one model, where a model lacks it."""
    if _is_whole(recipe, name, ingredients):
        return recipe.row(name)
    return {recipe.keep: Fraction(1)}


def _is_whole(
    recipe: FoldedRecipe, name: str, ingredients: Sequence[Ingredient]
) -> bool:
    """Whether every model that a tensor is made of has it; LoRAs need not."""
    holders = {
        each.name for each in ingredients if name in each.checkpoint.tensors
    } | set(recipe.loras)
    cell = recipe.convention.cell_of(name)
    rows = [recipe.rows[cell]]
    rows += [models[cell] for node in _used(recipe, name) for models in node.models]
    methods = {node.name for node in recipe.methods}
    return all(leaf in holders or leaf in methods for row in rows for leaf in row)


def _used(recipe: FoldedRecipe, name: str) -> list[MethodNode]:
    """Return the methods that are used in a tensor's cell, in order."""
    cell = recipe.convention.cell_of(name)
    return [node for node in recipe.methods if cell in node.models[0]]


def _methods(
    recipe: FoldedRecipe,
    name: str,
    operands: tuple[tuple[int, float], ...],
    ingredients: Sequence[Ingredient],
) -> tuple[MethodStep, ...]:
    """Return the methods of a tensor, as sums of its operands and earlier methods."""
    used = _used(recipe, name)
    if not used or not _is_whole(recipe, name, ingredients):
        return ()
    cell, row = recipe.convention.cell_of(name), recipe.row(name)
    leaves = [ingredients[at].name for at, _ in operands]
    leaves += [node.name for node in used]
    place = {leaf: at for at, leaf in enumerate(leaves)}

    def terms(models: Row) -> Terms:
        # A LoRA that says nothing of this tensor is no leaf of it.
        known = (
            (place[leaf], value) for leaf, value in models.items() if leaf in place
        )
        return tuple((at, float(value)) for at, value in sorted(known))

    return tuple(
        MethodStep(
            method=node.method,
            parameters=tuple(node.parameters.items()),
            models=tuple(terms(models[cell]) for models in node.models),
            coefficient=float(row.get(node.name, 0)),
        )
        for node in used
    )
