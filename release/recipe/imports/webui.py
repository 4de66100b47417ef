"""Recipes of AUTOMATIC1111's web UI and Forge, type "webui".

Source:
    lllyasviel/stable-diffusion-webui-forge dfdcbab, `modules/extras.py`,
    `run_modelmerger`.
"""

from collections.abc import Mapping
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.conventions import DEFAULT_CONVENTION
from release.recipe.decimals import decimal_text
from release.recipe.imports.embedded import (
    RECIPE_KEY,
    Models,
    check_discarded,
)
from release.recipe.imports.foreign import Fields, Value
from release.recipe.imports.imported import OUTPUT, Imported

TYPE: Final = "webui"
ORIGIN: Final = "AUTOMATIC1111 or Forge"

_METHODS: Final = ("Weighted sum", "Add difference", "No interpolation")
_KNOWN: Final = (
    "type",
    "primary_model_hash",
    "secondary_model_hash",
    "tertiary_model_hash",
    "interp_method",
    "multiplier",
    "save_as_half",
    "custom_name",
    "config_source",
    "bake_in_vae",
    "discard_weights",
    "is_inpainting",
    "is_instruct_pix2pix",
)
_NOTE: Final = (
    "the origin computes in the file's dtype and keeps tensors that B or C lacks from"
    " A; here such a file is refused"
)


def import_webui(recipe: Mapping[str, Value], models: Mapping[str, Value]) -> Imported:
    """Return the recipe that the web UI's own merger wrote.

    Args:
        recipe: The object of `sd_merge_recipe`.
        models: The object of `sd_merge_models`.

    Raises:
        RecipeError: Code "import-method", "import-inpainting",
            "import-discard-weights", "import-field", "import-hash" or "import-number".
    """
    fields = Fields(recipe, place=RECIPE_KEY)
    _check_kind(fields)
    note = check_discarded(
        fields.text("discard_weights"), place=fields.where("discard_weights")
    )
    found = Models(models, fields)
    expression, used = _expression(fields, found)
    vae, vae_hint = found.vae()
    return Imported(
        ORIGIN,
        found.names.chosen((*used, vae)),
        ((OUTPUT, expression),),
        DEFAULT_CONVENTION,
        vae=vae,
        dtype_hint="F16" if fields.flag("save_as_half") else "",
        vae_hint=vae_hint,
        notes=(_NOTE, note) if note else (_NOTE,),
        warnings=(*found.warnings, *fields.unknown(_KNOWN)),
    )


def _check_kind(fields: Fields) -> None:
    for key in ("is_inpainting", "is_instruct_pix2pix"):
        if fields.flag(key):
            raise RecipeError(
                f"{fields.where(key)}: is a model with more input channels, which is"
                " not merged like others",
                code="import-inpainting",
                hint="only SDXL base models are merged",
            )


def _expression(fields: Fields, models: Models) -> tuple[str, tuple[str, ...]]:
    """Return the expression and the ingredients in it."""
    method = fields.text("interp_method")
    if method not in _METHODS:
        raise RecipeError(
            f"{fields.where('interp_method')}: got '{visible(method, 60)}', expected"
            f" {', '.join(_METHODS)}",
            code="import-method",
            hint="write the recipe by hand if it is linear",
        )
    a = models.ingredient("primary_model_hash", "a")
    if method == "No interpolation":
        return a, (a,)
    b = models.ingredient("secondary_model_hash", "b")
    weight = decimal_text(fields.number("multiplier"))
    if method == "Weighted sum":
        return f"lerp({a}, {b}, {weight})", (a, b)
    c = models.ingredient("tertiary_model_hash", "c")
    return f"{a} + {weight} * ({b} - {c})", (a, b, c)
