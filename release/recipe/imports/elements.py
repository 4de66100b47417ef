"""SuperMerger's weights of elements, and its exclusion of blocks.

Both look tensors up by parts of their names. Only what amounts to whole blocks can be
said in a recipe.

Source:
    hako-mikan/sd-webui-supermerger 0b1c491, `scripts/mergers/mergers.py`; the two
    readings of a block's name on SDXL: its issue 468.
"""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from release.errors import RecipeError, visible
from release.recipe.imports.embedded import Weights
from release.recipe.imports.foreign import Fields, Value, exact, field_error
from release.recipe.weights import MIDDLE, WEIGHT_BLOCKS

_KEY: Final = "elemental_merge"
_PLAIN_BLOCKS: Final = WEIGHT_BLOCKS[1:10]
"""Blocks that have the same name in the lists of SD1 and SDXL: IN00..IN08."""

_SD1_NAMES: Final = (
    *(f"IN{index:02}" for index in range(12)),
    MIDDLE,
    *(f"OUT{index:02}" for index in range(12)),
)
_OTHER_READING: Final[Mapping[str, str]] = MappingProxyType(
    dict(zip(_SD1_NAMES, WEIGHT_BLOCKS[1:], strict=False))
)
"""Block of an SD1 list -> the block of SDXL that SuperMerger takes it for."""

_RULES_MAX: Final = 100


def changed_by_elements(fields: Fields, alpha: Weights) -> Weights:
    """Return the weights with rules applied that name whole blocks; later rules win.

    Raises:
        RecipeError: Code "import-elemental": a rule for parts of blocks, or for a
            block whose name has two readings.
    """
    listed = dict(zip(WEIGHT_BLOCKS, alpha.listed, strict=True))
    rules = _rules(fields)
    if rules and (alpha.parts or alpha.clip_g is not None):
        raise RecipeError(
            f"{fields.where(_KEY)}: has rules beside an extended list",
            code="import-elemental",
            hint="write the recipe by hand",
        )
    for rule in rules:
        blocks, ratio = _parsed(rule, place=fields.where(_KEY))
        listed |= dict.fromkeys(blocks, ratio)
    return replace(alpha, listed=tuple(listed.values()))


def _rules(fields: Fields) -> list[str]:
    value = fields.value(_KEY)
    if value is None or value in ("", []):
        return []
    texts = value.replace("\n", ",").split(",") if isinstance(value, str) else value
    if not isinstance(texts, list) or len(texts) > _RULES_MAX:
        raise field_error(fields.where(_KEY), value, "a list of at most 100 rules")
    return [_rule(text, place=fields.where(_KEY)) for text in texts if text != ""]


def _rule(value: Value, *, place: str) -> str:
    if not isinstance(value, str):
        raise field_error(place, value, "a rule such as IN04::0.5")
    return value


def _parsed(rule: str, *, place: str) -> tuple[list[str], Fraction]:
    """Return the blocks and the ratio of a rule."""
    blocks, _, rest = rule.partition(":")
    elements, colon, ratio = rest.partition(":")
    names = blocks.split()
    unclear = [name for name in names if name not in _PLAIN_BLOCKS]
    if not colon or elements.strip() or not names or unclear:
        raise RecipeError(
            f"{place}: the rule '{visible(rule, 60)}' {_why(elements, names)}",
            code="import-elemental",
            hint="only rules for whole blocks, IN00 to IN08, are imported: IN04::0.5",
        )
    return names, exact(ratio, place=f"{place}, ratio of '{visible(rule, 60)}'")


def _why(elements: str, names: list[str]) -> str:
    if elements.strip():
        return (
            f"chooses tensors by '{visible(elements.strip(), 40)}' in their names,"
            " which a recipe cannot say"
        )
    for name in names:
        if name in _OTHER_READING and name not in _PLAIN_BLOCKS:
            return (
                f"has two readings on SDXL: {name} as written, or"
                f" {_OTHER_READING[name]}, which SuperMerger takes it for"
            )
    return "is not of the form BLOCKS:ELEMENTS:RATIO with blocks from IN00 to IN08"


def check_exclusion(fields: Fields, alpha: Weights) -> None:
    """Refuse excluded blocks and elements, unless the weights already are 0 there.

    Raises:
        RecipeError: Code "import-exclusion".
    """
    for key in ("Include", "Exclude"):
        value = fields.value(key)
        if value is None:
            continue
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list):
            raise field_error(fields.where(key), value, "a list of block names")
        chosen = [name for name in names if name != ""]
        if not chosen:
            continue
        zero = {
            block
            for block, weight in zip(WEIGHT_BLOCKS, alpha.listed, strict=True)
            if weight == 0
        }
        if set(map(str, chosen)) - set(WEIGHT_BLOCKS):
            raise _exclusion(fields.where(key), "names elements of tensor names")
        out = set(map(str, chosen))
        if key == "Include":
            out = set(WEIGHT_BLOCKS) - out
        if alpha.clip_g is not None or alpha.parts or not out <= zero:
            raise _exclusion(fields.where(key), "leaves out blocks with a weight")


def _exclusion(place: str, reason: str) -> RecipeError:
    return RecipeError(
        f"{place}: {reason}, which a recipe cannot say for certain",
        code="import-exclusion",
        hint="write the recipe by hand, with weight 0 where nothing was merged",
    )
