"""Preparing a method for a tensor."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from torch import Tensor

from release.engine.methods import add_cosine, dare, slerp, ties
from release.engine.methods.seam import (
    Need,
    Prepared,
    Subject,
    Sweep,
    SweptChunk,
    check_finite,
)
from release.errors import RecipeError, first_names, visible
from release.recipe.functions import METHODS


@dataclass(frozen=True, slots=True)
class _Method:
    needs: Need
    prepare: Callable[[Subject, Sweep], Prepared]


_METHODS: Final[Mapping[str, _Method]] = {
    "slerp": _Method(Need.READING, slerp.prepare),
    "add_cosine": _Method(Need.READING, add_cosine.prepare),
    "dare": _Method(Need.CHUNK, dare.prepare),
    "ties": _Method(Need.READINGS, ties.prepare),
}


@dataclass(frozen=True, slots=True)
class _Checked:
    """A prepared method that refuses what is not finite."""

    method: Prepared

    def apply(self, start: int, arguments: Sequence[Tensor], out: Tensor) -> None:
        check_finite(start, arguments)
        self.method.apply(start, arguments, out)


def needs(kind: str) -> Need:
    """Return what the method `kind` has to read before it can compute."""
    return _METHODS[kind].needs


def prepare(
    kind: str,
    parameters: Mapping[str, Fraction],
    *,
    shape: tuple[int, ...],
    name: str,
    n_models: int,
    sweep: Sweep,
) -> Prepared:
    """Measure a tensor, reading it as often as the method has to.

    Args:
        kind: One of `release.recipe.functions.METHODS`.
        parameters: All numbers of the method, exact.
        shape: The tensor's; () for a number.
        name: The tensor's; a random method's choices depend on it.
        n_models: How many models the method is given.
        sweep: Reads the tensor; not called by a method that needs nothing.

    Returns:
        What computes the tensor, in chunks. Its `apply` raises NotFiniteError.

    Raises:
        RecipeError: Code "method-parameter" (see `check_call`) or "method-shape".
        NotFiniteError: A model holds what a method cannot measure.
    """
    problem = check_call(kind, parameters, n_models=n_models)
    if problem:
        raise RecipeError(
            problem, code="method-parameter", hint="correct the recipe's method call"
        )
    subject = Subject(name, shape, n_models, dict(parameters))

    def checked() -> Iterator[SweptChunk]:
        for start, arguments in sweep():
            check_finite(start, arguments)
            yield start, arguments

    return _Checked(_METHODS[kind].prepare(subject, checked))


def check_call(kind: str, parameters: Mapping[str, Fraction], *, n_models: int) -> str:
    """Return what is wrong with a method's call, in one line; "" if nothing is.

    Args:
        kind: What it calls itself.
        parameters: Its numbers.
        n_models: How many models it is given.
    """
    if kind not in METHODS:
        return f"unknown method '{visible(kind)}', expected {', '.join(METHODS)}"
    signature = METHODS[kind]
    n_expected = len(signature.models)
    if n_models < n_expected or (n_models > n_expected and not signature.takes_more):
        return f"{kind}: got {n_models} models, expected {signature.signature}"
    known = {parameter.name: parameter for parameter in signature.parameters}
    if parameters.keys() != known.keys():
        differing = first_names(sorted(parameters.keys() ^ known.keys()))
        return f"{kind}: unknown or missing {differing}, expected {signature.signature}"
    for key, value in parameters.items():
        if not known[key].allows(value):
            got = visible(value, 40)
            return f"{kind}: got {got} for {key}, expected {known[key].range_text}"
    return ""
