"""Build: from ingredients and a recipe to the variants' checkpoints, measured.

The recipe says what each tensor is made of; the ingredients' headers say where it lies.
Both are checked against each other here, before the engine reads a weight.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from release.architecture.modelspec import modelspec_of
from release.definition import Definition, folded_recipe
from release.engine.plan import Ingredient, OutputRequest, Plan, plan_pass
from release.errors import RecipeError
from release.formats.checkpoint import Checkpoint
from release.formats.tensor import TensorEntry
from release.licences.release import check_licence
from release.metadata import (
    RECIPE_KEY,
    RECIPE_SHA256_KEY,
    RELEASE_KEY,
    STAND_IN_KEY,
    STAND_IN_TEXT,
    VARIANT_KEY,
)
from release.mixture import (
    check_ingredients,
    left_out,
    result_tensors,
    tensor_sources,
)
from release.variants.assign import assign
from release.variants.preset import find_preset

if TYPE_CHECKING:
    from release.recipe.rows import FoldedRecipe


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build will do: the recipe, folded, and the engine's plan."""

    definition: Definition
    recipe: "FoldedRecipe"
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
        RecipeError: Code "release-lora": the recipe has a LoRA.
        CardError: As `release.licences.release.check_licence`.
    """
    warnings = check_licence(definition)
    recipe = folded_recipe(definition)
    if recipe.loras:
        raise RecipeError(
            f"recipe: has LoRAs ({', '.join(recipe.loras)}), which a release cannot be "
            "built with",
            code="release-lora",
            hint="merge them into a checkpoint first, with krelease merge",
        )
    ingredients = {name: Ingredient(name, checkpoints[name]) for name in recipe.needed}
    check_ingredients(recipe, ingredients)
    base = checkpoints[recipe.copy_from]
    used = tuple(ingredients.values())
    tensors = result_tensors(recipe, ingredients)
    rehearsal = any(is_stand_in(ingredient.checkpoint) for ingredient in used)
    mark = {STAND_IN_KEY: STAND_IN_TEXT} if rehearsal else {}
    requests = [
        _request(
            definition,
            tensors,
            variant=variant,
            metadata=_metadata(definition, recipe, variant, base) | mark,
        )
        for variant in definition.release.variants
    ]
    return BuildPlan(
        definition,
        recipe,
        plan_pass(used, tensor_sources(recipe, used), requests),
        recipe.warnings + warnings + left_out(tensors, used),
    )


def _request(
    definition: Definition,
    tensors: Mapping[str, TensorEntry],
    *,
    variant: str,
    metadata: Mapping[str, str],
) -> OutputRequest:
    assignments = assign(
        find_preset(variant),
        tensors,
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


def _metadata(
    definition: Definition, recipe: "FoldedRecipe", variant: str, base: Checkpoint
) -> dict[str, str]:
    """Return the header's metadata: ModelSpec 1.0.1, and the recipe.

    Source:
        Stability-AI/ModelSpec, version 1.0.1.
    """
    release = definition.release
    titles = [definition.ingredients[name].title for name in recipe.ingredients]
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
        RECIPE_KEY: recipe.canonical(),
        RECIPE_SHA256_KEY: recipe.sha256(),
    }
    if release.date is not None:
        metadata["modelspec.date"] = release.date
    return metadata
