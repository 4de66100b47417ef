"""Recipes of SuperMerger, type "sd-webui-supermerger".

Source:
    hako-mikan/sd-webui-supermerger 0b1c491, `scripts/mergers/mergers.py`. It merges
    only tensors with "weight" or "bias" in the name, which the convention
    "supermerger" says; so a merge without block weights is one with equal weights.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.conventions import SUPERMERGER
from release.recipe.imports.block_lists import read_list, sdxl_weights
from release.recipe.imports.elements import changed_by_elements, check_exclusion
from release.recipe.imports.embedded import RECIPE_KEY, Models, Weights
from release.recipe.imports.foreign import Fields, Value, exact, field_error
from release.recipe.imports.formulas import Formula
from release.recipe.imports.imported import Imported
from release.recipe.weights import WEIGHT_BLOCKS

TYPE: Final = "sd-webui-supermerger"
ORIGIN: Final = "SuperMerger"

_MODES: Final = {
    "Weight": Formula.WEIGHTED_SUM,
    "Add": Formula.ADD_DIFFERENCE,
    "Triple": Formula.TRIPLE_SUM,
    "sum Twice": Formula.SUM_TWICE,
    "Twice": Formula.SUM_TWICE,
}
"""What the text of `mode` starts with; older files append the formula."""

_SWITCHES: Final = ("Off", "Include", "Exclude")
_KNOWN: Final = (
    "type",
    "mode",
    "calcmode",
    "mbw",
    "base_alpha",
    "base_beta",
    "weights_alpha",
    "weights_alpha_orig",
    "weights_beta",
    "weights_beta_orig",
    "model_a",
    "model_b",
    "model_c",
    "elemental_merge",
    "bake_in_vae",
    "custom_name",
    "save_sets",
    *_SWITCHES,
)
_SDXL_RECORDED: Final = len(WEIGHT_BLOCKS)
_SD1_RECORDED: Final = 25


def import_supermerger(
    recipe: Mapping[str, Value], models: Mapping[str, Value]
) -> Imported:
    """Return the recipe that SuperMerger wrote.

    Args:
        recipe: The object of `sd_merge_recipe`.
        models: The object of `sd_merge_models`.

    Raises:
        RecipeError: Code "import-method", "import-calcmode", "import-weights",
            "import-elemental", "import-exclusion", "import-field", "import-hash" or
            "import-number".
    """
    fields = Fields(recipe, place=RECIPE_KEY)
    formula = _formula(fields)
    alpha, notes = _weights(fields, "alpha", formula)
    beta = Weights.of_scalar(Fraction(0))
    if formula.takes_beta:
        beta, more = _weights(fields, "beta", formula)
        notes = (*notes, *more)
    alpha = changed_by_elements(fields, alpha)
    check_exclusion(fields, alpha)
    found = Models(models, fields)
    names = formula.ingredients(found, ("model_a", "model_b", "model_c"))
    vae, vae_hint = found.vae()
    return Imported(
        ORIGIN,
        found.names.chosen([*names, vae]),
        formula.steps(names, alpha, beta),
        SUPERMERGER.name,
        vae=vae,
        vae_hint=vae_hint,
        notes=notes,
        warnings=(*found.warnings, *fields.unknown(_KNOWN)),
    )


def _formula(fields: Fields) -> Formula:
    calcmode = fields.text("calcmode")
    if calcmode not in {"", "normal"}:
        raise RecipeError(
            f"{fields.where('calcmode')}: got '{visible(calcmode, 60)}', expected"
            " normal; it is not linear, or not one weight for each block",
            code="import-calcmode",
            hint="this merge cannot be said exactly in a recipe",
        )
    mode = fields.text("mode")
    for start, formula in _MODES.items():
        if mode.startswith(start):
            return formula
    raise RecipeError(
        f"{fields.where('mode')}: got '{visible(mode, 60)}', expected Weight sum, Add"
        " difference, Triple sum or sum Twice",
        code="import-method",
        hint="write the recipe by hand if it is linear",
    )


def _weights(
    fields: Fields, kind: str, formula: Formula
) -> tuple[Weights, tuple[str, ...]]:
    """Return the weights "alpha" or "beta", from the best of the members."""
    if not fields.flag("mbw"):
        return Weights.of_scalar(fields.number(f"base_{kind}")), ()
    key = f"weights_{kind}_orig"
    if fields.text(key):
        numbers = read_list(fields.text(key), place=fields.where(key))
        weights, notes = sdxl_weights(numbers, place=fields.where(key))
        is_extended = len(numbers) > _SD1_RECORDED + 1
        if is_extended and formula.takes_beta:
            raise RecipeError(
                f"{fields.where(key)}: an extended list in a merge with two lists,"
                " where SuperMerger lets beta overwrite alpha",
                code="import-weights",
                hint="this merge cannot be said exactly in a recipe",
            )
        expected = numbers[1:] if is_extended else (*weights.listed[1:], Fraction(0))
        _cross_check(fields, kind, numbers[0], expected)
        return weights, notes
    recorded = _recorded(fields, kind)
    if len(recorded) != _SDXL_RECORDED:
        raise _not_sdxl(fields.where(f"weights_{kind}"), len(recorded))
    base = fields.number(f"base_{kind}")
    return Weights((base, *recorded[:-1])), ()


def _recorded(fields: Fields, kind: str) -> list[Fraction]:
    key = f"weights_{kind}"
    value = fields.value(key)
    if not isinstance(value, list):
        raise field_error(fields.where(key), value, "a list of numbers")
    return [exact(each, place=fields.where(key)) for each in value[:200]]


def _cross_check(
    fields: Fields, kind: str, base: Fraction, expected: Sequence[Fraction]
) -> None:
    """Compare the list as typed with the numbers that were merged with."""
    if fields.has(f"base_{kind}") and fields.number(f"base_{kind}") != base:
        raise _differ(fields, f"base_{kind}", f"weights_{kind}_orig")
    if not fields.has(f"weights_{kind}"):
        return
    recorded = _recorded(fields, kind)
    if len(recorded) == _SD1_RECORDED:
        raise _not_sdxl(fields.where(f"weights_{kind}"), len(recorded))
    if recorded != list(expected):
        raise _differ(fields, f"weights_{kind}", f"weights_{kind}_orig")


def _differ(fields: Fields, one: str, other: str) -> RecipeError:
    return RecipeError(
        f"{fields.where(one)}: differs from {other}, expected the same weights",
        code="import-weights",
        hint="with blocks excluded from a list of 26, SuperMerger clears other blocks"
        " than it says; find out which weights were meant and write the recipe by hand",
    )


def _not_sdxl(place: str, count: int) -> RecipeError:
    kind = "an SD1 merge" if count == _SD1_RECORDED else "of no known kind"
    return RecipeError(
        f"{place}: got {count} numbers, {kind}; expected {_SDXL_RECORDED}",
        code="import-weights",
        hint="only SDXL is merged",
    )
