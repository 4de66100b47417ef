"""Recipes of the Chattiori Model Merger, type "merge-models-chattiori".

Source:
    Faildes/Chattiori-Model-Merger, `merge.py`. Its lists of 26 are not reduced on SDXL:
    the first 20 numbers count, in the order of SDXL. It records 3 decimals.
"""

import re
from collections.abc import Mapping
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.conventions import CHATTIORI
from release.recipe.imports.embedded import RECIPE_KEY, Models, Weights
from release.recipe.imports.foreign import Fields, Value, exact
from release.recipe.imports.formulas import Formula
from release.recipe.imports.imported import OUTPUT, Imported
from release.recipe.weights import WEIGHT_BLOCKS

TYPE: Final = "merge-models-chattiori"
ORIGIN: Final = "Chattiori Model Merger"

_METHODS: Final = {
    "Weighted Sum": Formula.WEIGHTED_SUM,
    "Add Difference": Formula.ADD_DIFFERENCE,
    "Triple Sum": Formula.TRIPLE_SUM,
    "Sum Twice": Formula.SUM_TWICE,
}
_MODELS: Final = ("primary_model_hash", "secondary_model_hash", "tertiary_model_hash")
_COPY: Final = "No Interpolation"
_DTYPES: Final = {"fp8": "F8_E4M3", "fp16": "F16", "fp32": "F32"}
_KNOWN: Final = (
    "type",
    *_MODELS,
    "merge_method",
    "block_weights",
    "alpha_info",
    "beta_info",
    "calculation",
    "fp",
    "output_name",
    "bake_in_vae",
    "pruned",
)
_LIST: Final = re.compile(r"([^,\[\]]+),\[\[([^\[\]]*)\],\[None\]\]")
_LENGTHS: Final = (len(WEIGHT_BLOCKS), 26)


def import_chattiori(
    recipe: Mapping[str, Value], models: Mapping[str, Value]
) -> Imported:
    """Return the recipe that the Chattiori Model Merger wrote.

    Args:
        recipe: The object of `sd_merge_recipe`.
        models: The object of `sd_merge_models`.

    Raises:
        RecipeError: Code "import-method", "import-calcmode", "import-weights",
            "import-field", "import-hash" or "import-number".
    """
    fields = Fields(recipe, place=RECIPE_KEY)
    if fields.text("calculation") not in {"", "None"}:
        raise RecipeError(
            f"{fields.where('calculation')}: got"
            f" '{visible(fields.text('calculation'), 60)}', expected nothing",
            code="import-calcmode",
            hint="this merge cannot be said exactly in a recipe",
        )
    found = Models(models, fields)
    names, steps = _steps(fields, found)
    vae, vae_hint = found.vae()
    return Imported(
        ORIGIN,
        found.names.chosen([*names, vae]),
        steps,
        CHATTIORI.name,
        vae=vae,
        dtype_hint=_DTYPES.get(fields.text("fp"), ""),
        vae_hint=vae_hint,
        notes=_notes(fields),
        warnings=(*found.warnings, *fields.unknown(_KNOWN)),
    )


def _steps(
    fields: Fields, models: Models
) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    method = fields.text("merge_method")
    if method == _COPY:
        name = models.ingredient(_MODELS[0], "a")
        return [name], ((OUTPUT, name),)
    formula = _METHODS.get(method)
    if formula is None:
        raise RecipeError(
            f"{fields.where('merge_method')}: got '{visible(method, 60)}', expected"
            f" {', '.join(_METHODS)} or {_COPY}",
            code="import-method",
            hint="this merge cannot be said exactly in a recipe",
        )
    alpha = _weights(fields, "alpha_info")
    beta = _weights(fields, "beta_info") if formula.takes_beta else alpha
    names = formula.ingredients(models, _MODELS)
    return names, formula.steps(names, alpha, beta)


def _weights(fields: Fields, key: str) -> Weights:
    """Return weights written as "0.5" or "0.0,[[0.1, 0.2, ...],[None]]"."""
    text, place = fields.text(key).strip(), fields.where(key)
    found = _LIST.fullmatch(text)
    if found is None:
        if "[" in text:
            raise RecipeError(
                f"{place}: got '{visible(text, 60)}', expected a number, or a list"
                " without preset, random numbers or elements",
                code="import-weights",
                hint="this merge cannot be said exactly in a recipe",
            )
        return Weights.of_scalar(exact(text, place=place))
    texts = [found[1], *found[2].split(",")]
    if len(texts) not in _LENGTHS:
        raise RecipeError(
            f"{place}: got {len(texts)} block weights, expected 20 or 26",
            code="import-weights",
            hint="only SDXL is merged; its lists have 20 numbers, BASE first",
        )
    numbers = [exact(each, place=place) for each in texts]
    return Weights(tuple(numbers[: len(WEIGHT_BLOCKS)]))


def _notes(fields: Fields) -> tuple[str, ...]:
    notes = ["the origin records weights with 3 decimals only"]
    if any(fields.text(key).count(",") > 24 for key in ("alpha_info", "beta_info")):
        notes.append(
            "26 numbers: the origin does not reduce them; on SDXL the first 20 count"
        )
    return tuple(notes)
