"""The functions of the recipe language: how each is called, and what is not there."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

MAX_SEED: Final = 2**63 - 1
_MAX_SCALE: Final = Fraction(1_000_000)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A plain number that a method takes.

    Attributes:
        name: What it is called in a call.
        low: Least value; with `excludes_low` it must be more.
        high: Greatest value.
        default: What it is where it is not given; None if it has to be.
        excludes_low: See `low`.
        is_whole: Whether it has to be an integer.
    """

    name: str
    low: Fraction
    high: Fraction
    default: Fraction | None = None
    excludes_low: bool = False
    is_whole: bool = False

    @property
    def range_text(self) -> str:
        """What it may be, in words."""
        kind = "a whole number" if self.is_whole else "a number"
        low = f"above {self.low}, up to" if self.excludes_low else f"from {self.low} to"
        return f"{kind} {low} {self.high}"

    def allows(self, value: Fraction) -> bool:
        """Whether `value` is in the range."""
        if self.is_whole and value.denominator != 1:
            return False
        above = value > self.low if self.excludes_low else value >= self.low
        return above and value <= self.high


@dataclass(frozen=True, slots=True)
class MethodKind:
    """A method beyond linear.

    Attributes:
        name: What a recipe calls it.
        models: What its models are, in order; with `takes_more`, the last may be given
            several times.
        parameters: Its numbers, in order.
        takes_more: See `models`.
    """

    name: str
    models: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    takes_more: bool = False

    @property
    def signature(self) -> str:
        """How it is called: "slerp(a, b, t)"."""
        more = ("...",) if self.takes_more else ()
        bare = "=NUMBER" if self.takes_more else ""
        numbers = [
            f"{each.name}{bare if each.default is None else f'={each.default}'}"
            for each in self.parameters
        ]
        return f"{self.name}({', '.join([*self.models, *more, *numbers])})"


_SHARE: Final = (Fraction(0), Fraction(1))
_DENSITY: Final = Parameter("density", *_SHARE, excludes_low=True)
_LAMBDA: Final = Parameter("lambda", -_MAX_SCALE, _MAX_SCALE, default=Fraction(1))
_SEED: Final = Parameter("seed", Fraction(0), Fraction(MAX_SEED), is_whole=True)

METHODS: Final = {
    kind.name: kind
    for kind in (
        MethodKind("slerp", ("a", "b"), (Parameter("t", *_SHARE),)),
        MethodKind("add_cosine", ("a", "b"), (Parameter("alpha", *_SHARE),)),
        MethodKind("dare", ("base", "other"), (_DENSITY, _SEED, _LAMBDA)),
        MethodKind("ties", ("base", "other"), (_DENSITY, _LAMBDA), takes_more=True),
    )
}
"""Methods beyond linear, by name.

Source:
    slerp: Shoemake 1985, Animating Rotation with Quaternion Curves. add_cosine:
    `add_cosine_a` of sd-mecha 1.1.8. dare: Yu et al. 2023, arXiv:2311.03099. ties:
    Yadav et al. 2023, arXiv:2306.01708.
"""

SIGNATURES: Final = {
    "lerp": "lerp(a, b, t)",
    "mbw": "mbw(base, other, 'weights')",
    "only": "only(expression, unet|clip_l|clip_g|vae|BLOCK, ...)",
    "lora": "lora(ingredient)",
    **{name: kind.signature for name, kind in METHODS.items()},
}

FUNCTIONS: Final = tuple(SIGNATURES)
"""Names that no step and no ingredient may have."""

NOT_LINEAR: Final = frozenset(
    [
        "train_difference",
        "trainDifference",
        "traindiff",
        "smoothAdd",
        "smooth_add",
        "smoothAddMT",
        "cosine",
        "cosineA",
        "cosineB",
        "distribution_crossover",
        "crossover",
        "della",
        "breadcrumbs",
        "model_stock",
        "geometric_median",
        "rotate",
        "nuslerp",
        "dare_ties",
        "dare_linear",
        "ties_sum_extended",
        "extract",
    ]
)
"""Methods of other tools that are refused by name."""

NOT_BUILT: Final = NOT_LINEAR | {"tensor", "tensor2", "tensor_sum", "self", "random"}
"""The same, with those whose result is a choice or a sum of the models' values."""

NEAR_METHODS: Final = {
    **dict.fromkeys(("cosineA", "cosineB", "cosine"), "add_cosine"),
    **dict.fromkeys(("dare_ties", "dare_linear"), "dare"),
    "nuslerp": "slerp",
    "ties_sum_extended": "ties",
}
"""The method nearest to one that is not built."""
