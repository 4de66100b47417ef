"""Build: from ingredients and a recipe to the variants' checkpoints, measured.

The recipe says what each tensor is made of; the ingredients' headers say where it lies.
Both are checked against each other here, before the engine reads a weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from release.architecture.modelspec import modelspec_of
from release.architecture.sdxl import (
    Component,
    check_sdxl,
    component_of,
    is_copied,
)
from release.definition import MERGED_VAE, Definition, linear_recipe
from release.engine.plan import (
    Ingredient,
    OutputRequest,
    Plan,
    TensorSource,
    plan_pass,
)
from release.errors import ShapeError, TensorMismatchError, first_names, visible
from release.formats.checkpoint import Checkpoint
from release.metadata import (
    RECIPE_KEY,
    RECIPE_SHA256_KEY,
    RELEASE_KEY,
    STAND_IN_KEY,
    STAND_IN_TEXT,
    VARIANT_KEY,
)
from release.variants.assign import assign
from release.variants.preset import find_preset

if TYPE_CHECKING:
    from release.recipe.rows import LinearRecipe


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build will do: the recipe, folded, and the engine's plan."""

    definition: Definition
    linear: "LinearRecipe"
    passes: Plan
    warnings: tuple[str, ...]


def checkpoint_name(definition: Definition, variant: str) -> str:
    """Return the file name of a variant's checkpoint."""
    return f"{definition.release.file_stem}-{find_preset(variant).suffix}.safetensors"


def plan_build(
    definition: Definition, checkpoints: Mapping[str, Checkpoint]
) -> BuildPlan:
    """Check the ingredients against the recipe and each other, and plan the pass.

    Args:
        definition: The release.
        checkpoints: Ingredient name -> open checkpoint, for all that the recipe needs.

    Raises:
        TensorMismatchError: An ingredient is of another architecture, or lacks tensors.
        ShapeError: A tensor's shape differs between ingredients.
    """
    linear = linear_recipe(definition)
    names = needed_ingredients(definition, linear)
    ingredients = tuple(Ingredient(name, checkpoints[name]) for name in names)
    for ingredient in ingredients:
        check_sdxl(ingredient.checkpoint.path, _shapes(ingredient.checkpoint))
    base = checkpoints[definition.recipe.copy_from]
    _check_same_tensors(base, ingredients)
    sources = _sources(definition, linear, ingredients)
    rehearsal = any(is_stand_in(ingredient.checkpoint) for ingredient in ingredients)
    mark = {STAND_IN_KEY: STAND_IN_TEXT} if rehearsal else {}
    requests = [
        _request(
            definition,
            base,
            variant=variant,
            metadata=_metadata(definition, linear, variant, base) | mark,
        )
        for variant in definition.release.variants
    ]
    return BuildPlan(
        definition,
        linear,
        plan_pass(ingredients, sources, requests),
        tuple(linear.warnings) + tuple(_dropped(base, ingredients)),
    )


def _request(
    definition: Definition,
    base: Checkpoint,
    *,
    variant: str,
    metadata: Mapping[str, str],
) -> OutputRequest:
    assignments = assign(
        find_preset(variant),
        base.tensors,
        architecture=definition.release.architecture,
    )
    return OutputRequest(
        variant=variant,
        name=checkpoint_name(definition, variant),
        dtypes={name: each.dtype for name, each in assignments.items()},
        metadata=metadata,
        scaled=frozenset(name for name, each in assignments.items() if each.scaled),
    )


def is_stand_in(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint holds random values, or was made from such ones."""
    return STAND_IN_KEY in checkpoint.metadata


def needed_ingredients(
    definition: Definition, linear: "LinearRecipe"
) -> tuple[str, ...]:
    """Return the ingredients that are read, sorted: the order of summation."""
    names = {*linear.ingredients, definition.recipe.copy_from}
    if definition.recipe.vae != MERGED_VAE:
        names.add(definition.recipe.vae)
    return tuple(sorted(names))


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {name: entry.shape for name, entry in checkpoint.tensors.items()}


def _computed_names(checkpoint: Checkpoint) -> set[str]:
    return {
        name
        for name, entry in checkpoint.tensors.items()
        if not is_copied(name, entry.dtype)
    }


def _check_same_tensors(base: Checkpoint, ingredients: Sequence[Ingredient]) -> None:
    expected = _computed_names(base)
    for ingredient in ingredients:
        checkpoint = ingredient.checkpoint
        found = _computed_names(checkpoint)
        _refuse_missing(checkpoint, expected - found, other=base)
        _refuse_missing(base, found - expected, other=checkpoint)
        for name in sorted(expected):
            got, wanted = checkpoint.tensors[name].shape, base.tensors[name].shape
            if got != wanted:
                raise ShapeError(
                    checkpoint.path,
                    f"{visible(name)} has shape {list(got)}; expected {list(wanted)}, "
                    f"as in {visible(base.path.name)}",
                    code="shape-differs",
                    hint="the ingredients of a merge must be of one architecture",
                )


def _refuse_missing(
    checkpoint: Checkpoint, missing: set[str], *, other: Checkpoint
) -> None:
    if missing:
        raise TensorMismatchError(
            checkpoint.path,
            f"lacks {len(missing):,} tensors that {visible(other.path.name)} has: "
            f"{first_names(sorted(missing))}",
            code="missing-tensors",
            hint="the ingredients of a merge must hold the same tensors",
        )


def _sources(
    definition: Definition, linear: "LinearRecipe", ingredients: Sequence[Ingredient]
) -> dict[str, TensorSource]:
    """Say for every tensor of the base, and of the others, where it comes from."""
    number = {ingredient.name: at for at, ingredient in enumerate(ingredients)}
    base = number[definition.recipe.copy_from]
    order = [base, *(at for at in range(len(ingredients)) if at != base)]
    sources: dict[str, TensorSource] = {}
    for at in order:
        for name, entry in ingredients[at].checkpoint.tensors.items():
            if name in sources:
                continue
            copied = is_copied(name, entry.dtype)
            operands = (
                _copy_operands(name, order, ingredients)
                if copied
                else _merge_operands(definition, linear, number, name)
            )
            sources[name] = TensorSource(
                shape=entry.shape,
                component=component_of(name).value,
                copied=copied,
                operands=operands,
            )
    return sources


def _copy_operands(
    name: str, order: Sequence[int], ingredients: Sequence[Ingredient]
) -> tuple[tuple[int, float], ...]:
    holders = [at for at in order if name in ingredients[at].checkpoint.tensors]
    return tuple((at, 1.0 if at == holders[0] else 0.0) for at in holders)


def _merge_operands(
    definition: Definition, linear: "LinearRecipe", number: Mapping[str, int], name: str
) -> tuple[tuple[int, float], ...]:
    vae = definition.recipe.vae
    if vae != MERGED_VAE and component_of(name) is Component.VAE:
        return tuple((at, float(known == vae)) for known, at in number.items())
    row = dict(zip(linear.ingredients, linear.coefficients(name), strict=True))
    return tuple((at, float(row.get(known, 0))) for known, at in number.items())


def _dropped(base: Checkpoint, ingredients: Sequence[Ingredient]) -> list[str]:
    """Name the buffers and markers of other ingredients that the result lacks."""
    return [
        f"{ingredient.name}: not taken over: {first_names(sorted(extra))}"
        for ingredient in ingredients
        if (extra := ingredient.checkpoint.tensors.keys() - base.tensors.keys())
    ]


def _metadata(
    definition: Definition, linear: "LinearRecipe", variant: str, base: Checkpoint
) -> dict[str, str]:
    """Return the header's metadata: ModelSpec 1.0.1, and the recipe.

    Source:
        Stability-AI/ModelSpec, version 1.0.1.
    """
    release, recipe = definition.release, definition.recipe
    copies = {"copy_from": recipe.copy_from, "vae": recipe.vae}
    titles = [definition.ingredients[name].title for name in linear.ingredients]
    metadata = {
        "format": "pt",
        **modelspec_of("sdxl"),
        "modelspec.title": release.title,
        "modelspec.description": release.summary,
        "modelspec.author": release.author,
        "modelspec.license": definition.licence.name,
        "modelspec.merged_from": ", ".join(titles),
        "modelspec.prediction_type": "v" if "v_pred" in base.tensors else "epsilon",
        RELEASE_KEY: release.name,
        VARIANT_KEY: variant,
        RECIPE_KEY: linear.canonical(**copies),
        RECIPE_SHA256_KEY: linear.sha256(**copies),
    }
    if release.date is not None:
        metadata["modelspec.date"] = release.date
    return metadata
