"""The linear methods of sd-mecha, and its slerp, as expressions.

Source:
    sd-mecha 1.1.8, `extensions/builtin/merge_methods/linear.py` and `logistics.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from release.errors import visible
from release.recipe.decimals import decimal_text
from release.recipe.imports.foreign import rounded
from release.recipe.imports.mecha_lines import Line
from release.recipe.imports.mecha_steps import Steps
from release.recipe.imports.terms import block_merge

_DTYPES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


@dataclass(frozen=True, slots=True)
class Model:
    """A result in the space of models, or of differences of models.

    Attributes:
        text: The ingredient or step that it is.
        is_delta: Whether it is a difference.
        fallback: The ingredient that missing tensors are taken from, or "".
        dtype: Code of the dtype it was cast to at the end, or "".
        warnings: What makes it another than the origin's.
    """

    text: str
    is_delta: bool = False
    fallback: str = ""
    dtype: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number for all tensors."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Blocks:
    """A number for each of the 20 blocks, and the VAE."""

    values: tuple[Fraction, ...]


Operand = Model | Parameter | Blocks | str | bool | None


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a method with its arguments.

    Attributes:
        line: Where it is.
        positional: Arguments without a name.
        named: Arguments with one.
        steps: Collects what the call becomes.
    """

    line: Line
    positional: tuple[Operand, ...]
    named: Mapping[str, Operand]
    steps: Steps

    def bound(self, *names: str) -> tuple[Operand, ...]:
        """Return the arguments of a method that has these; None where not given.

        Raises:
            RecipeError: Too many, one twice, or one the method does not have.
        """
        if len(self.positional) > len(names):
            raise self.line.error(
                f"got {len(self.positional)} arguments, expected {', '.join(names)}"
            )
        found = dict(zip(names, self.positional, strict=False))
        for key, value in self.named.items():
            if key in found or key not in names:
                raise self.line.error(
                    f"got the argument {visible(key, 40)} "
                    + ("twice" if key in found else f"expected {', '.join(names)}")
                )
            found[key] = value
        return tuple(found.get(name) for name in names)

    def model(self, value: Operand, name: str, *, is_delta: bool | None) -> Model:
        """Return an argument that has to be a model, or a difference of models.

        Args:
            value: The argument.
            name: What the method calls it.
            is_delta: Which of the two; None for either.
        """
        if not isinstance(value, Model):
            raise self.line.error(f"expected a model as argument {name}")
        if is_delta is not None and value.is_delta != is_delta:
            got, expected = ("a model", "a difference")[:: 1 if is_delta else -1]
            raise self.line.error(f"got {got} as argument {name}, expected {expected}")
        if value.fallback:
            raise self.line.error(
                "fallback is followed by another merge, expected it as the last one",
                code="import-method",
            )
        return value

    def weight(self, value: Operand, default: Fraction) -> Parameter | Blocks:
        """Return the argument alpha."""
        if value is None:
            return Parameter(default)
        if not isinstance(value, Parameter | Blocks):
            raise self.line.error("expected a number or block weights as alpha")
        return value

    def result(self, expression: str, *sources: Model, is_delta: bool) -> Model:
        """Return the model that `expression` of `sources` is, as a step."""
        place = f"line {self.line.number}"
        warnings = tuple(dict.fromkeys(w for each in sources for w in each.warnings))
        rounding = tuple(
            f"{place}: the origin rounds to {each.dtype} before this merge"
            for each in sources
            if each.dtype
        )
        name = self.steps.add(expression, place=place)
        return Model(name, is_delta=is_delta, warnings=(*warnings, *rounding))


def _weighted_sum(call: Call) -> Model:
    first, second, alpha = call.bound("a", "b", "alpha")
    a = call.model(first, "a", is_delta=None)
    b = call.model(second, "b", is_delta=a.is_delta)
    weight = call.weight(alpha, Fraction(1, 2))
    if isinstance(weight, Blocks):
        text = block_merge(a.text, b.text, weight.values)
    else:
        text = f"lerp({a.text}, {b.text}, {decimal_text(weight.value)})"
    return call.result(text, a, b, is_delta=a.is_delta)


def _n_average(call: Call) -> Model:
    if call.named or not call.positional:
        raise call.line.error("expected models, without names")
    first = call.model(call.positional[0], "1", is_delta=None)
    models = [
        call.model(each, str(index), is_delta=first.is_delta)
        for index, each in enumerate(call.positional, 1)
    ]
    share = rounded(Fraction(1, len(models)))
    rest = 1 - share * (len(models) - 1)
    terms = [f"{decimal_text(rest)} * {first.text}"]
    terms += [f"{decimal_text(share)} * {each.text}" for each in models[1:]]
    return call.result(" + ".join(terms), *models, is_delta=first.is_delta)


def _subtract(call: Call) -> Model:
    first, second = call.bound("a", "b")
    a = call.model(first, "a", is_delta=False)
    b = call.model(second, "b", is_delta=False)
    return call.result(f"{a.text} - {b.text}", a, b, is_delta=True)


def _scale(call: Call) -> Model:
    first, alpha = call.bound("a", "alpha")
    a = call.model(first, "a", is_delta=True)
    weight = call.weight(alpha, Fraction(1))
    if isinstance(weight, Blocks):
        text = block_merge(f"0 * {a.text}", a.text, weight.values)
    else:
        text = f"{decimal_text(weight.value)} * {a.text}"
    return call.result(text, a, is_delta=True)


def _add_difference(call: Call) -> Model:
    first, second, alpha = call.bound("a", "b", "alpha")
    a = call.model(first, "a", is_delta=None)
    b = call.model(second, "b", is_delta=True)
    weight = call.weight(alpha, Fraction(1))
    if isinstance(weight, Blocks):
        text = block_merge(a.text, f"{a.text} + {b.text}", weight.values)
    elif weight.value == 1:
        text = f"{a.text} + {b.text}"
    else:
        text = f"{a.text} + {decimal_text(weight.value)} * {b.text}"
    return call.result(text, a, b, is_delta=a.is_delta)


def _slerp(call: Call) -> Model:
    first, second, alpha = call.bound("a", "b", "alpha")
    a = call.model(first, "a", is_delta=False)
    b = call.model(second, "b", is_delta=False)
    weight = call.weight(alpha, Fraction(1, 2))
    if isinstance(weight, Blocks) or not 0 <= weight.value <= 1:
        raise call.line.error(
            "slerp with block weights, or beyond 0 to 1, expected one number from 0"
            " to 1",
            code="import-method",
        )
    text = f"slerp({a.text}, {b.text}, {decimal_text(weight.value)})"
    return call.result(text, a, b, is_delta=False)


def _fallback(call: Call) -> Model:
    first, second = call.bound("a", "default")
    a = call.model(first, "a", is_delta=False)
    b = call.model(second, "default", is_delta=False)
    if call.steps.has(b.text):
        raise call.line.error(
            "fallback to a merge, expected one to a model file", code="import-method"
        )
    return replace(a, fallback=b.text)


def _cast(call: Call) -> Model:
    first, device, dtype = call.bound("a", "device", "dtype")
    if not isinstance(first, Model):
        raise call.line.error("expected a model as argument a")
    if not isinstance(device, str | None) or not isinstance(dtype, str | None):
        raise call.line.error("expected texts as device and dtype")
    if dtype is None:
        return first
    if dtype not in _DTYPES:
        raise call.line.error(
            f"got the dtype '{visible(dtype, 40)}', expected {', '.join(_DTYPES)}",
            code="import-method",
        )
    return replace(first, dtype=_DTYPES[dtype])


METHODS: Final[Mapping[str, Callable[[Call], Model]]] = {
    "weighted_sum": _weighted_sum,
    "n_average": _n_average,
    "subtract": _subtract,
    "scale": _scale,
    "add_difference": _add_difference,
    "slerp": _slerp,
    "fallback": _fallback,
    "cast": _cast,
}
"""Methods of sd-mecha that the recipe language has, too, or that compute nothing."""
