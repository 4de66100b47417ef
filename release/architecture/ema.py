"""EMA weights inside a checkpoint: the slow average of a model under training.

A checkpoint may hold both, the model as it was last and its average. The average's
tensors are buffers of one module, so their names have lost all dots:
`model.diffusion_model.out.0.bias` is averaged as `model_ema.diffusion_modelout0bias`.

Source:
    CompVis/latent-diffusion and Stability-AI/generative-models, `LitEma`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from release.errors import TensorMismatchError, first_names, visible

EMA_PREFIX: Final = "model_ema."
_COUNTERS: Final = frozenset({f"{EMA_PREFIX}decay", f"{EMA_PREFIX}num_updates"})
_ROOTS: Final = ("model.", "")
"""What EMA names may be relative to: a diffusion model's network, or a VAE file."""


class EmaMode(Enum):
    """What becomes of EMA weights."""

    KEEP = "keep"
    DROP = "drop"
    USE = "use"


@dataclass(frozen=True, slots=True)
class EmaPlan:
    """Which tensors an output has, and whose values each gets.

    Attributes:
        sources: Tensor name of the output -> tensor name of the input. The names differ
            where EMA weights take the place of the model's.
        dropped: EMA tensors that the output lacks, in the order they were given.
        uncovered: Tensors that keep their own values although others of the averaged
            network get EMA weights: more than none, and the result is a mixture.
    """

    sources: Mapping[str, str]
    dropped: tuple[str, ...]
    uncovered: tuple[str, ...] = ()


def is_ema(name: str) -> bool:
    """Return whether a tensor belongs to the EMA and not to the model."""
    return name.startswith(EMA_PREFIX)


def ema_plan(names: Iterable[str], mode: EmaMode, *, path: Path) -> EmaPlan:
    """Plan what becomes of the EMA weights among `names`.

    Only names are looked at; that shapes agree is for the caller to check. To keep or
    drop EMA weights that are not there is no error.

    Args:
        names: All tensors of a checkpoint.
        mode: Keep them beside the model, drop them, or use them in the model's place.
        path: Named in errors.

    Raises:
        TensorMismatchError: In mode USE: `no-ema` when there are none, `ema-unmatched`
            when some belong to no tensor of the model, `ema-ambiguous` when one may
            belong to several.
    """
    everything = tuple(names)
    if mode is EmaMode.KEEP:
        return EmaPlan({name: name for name in everything}, ())
    dropped = tuple(name for name in everything if is_ema(name))
    model = [name for name in everything if not is_ema(name)]
    if mode is EmaMode.DROP:
        return EmaPlan({name: name for name in model}, dropped)
    averages = [name for name in dropped if name not in _COUNTERS]
    if not averages:
        raise TensorMismatchError(
            path,
            f"holds no EMA weights, expected tensors named {EMA_PREFIX}...",
            code="no-ema",
            hint="the file was saved without them; leave the EMA option out",
        )
    root, places = _match(path, averages, model)
    taken = set(places)
    uncovered = [name for name in model if name.startswith(root) and name not in taken]
    sources = {name: places.get(name, name) for name in model}
    return EmaPlan(sources, dropped, tuple(uncovered))


def _match(
    path: Path, averages: list[str], model: list[str]
) -> tuple[str, dict[str, str]]:
    """Return what the EMA is of, and model tensor -> EMA tensor."""
    attempts = [(root, *_match_below(root, averages, model)) for root in _ROOTS]
    root, places, unmatched = min(attempts, key=lambda attempt: len(attempt[2]))
    if unmatched:
        raise TensorMismatchError(
            path,
            f"{len(unmatched):,} of {len(averages):,} EMA tensors belong to no tensor "
            f"of the model: {first_names(unmatched)}",
            code="ema-unmatched",
            hint="the model is incomplete or was renamed; drop the EMA weights instead",
        )
    for name, candidates in places.items():
        if len(candidates) > 1:
            raise TensorMismatchError(
                path,
                f"EMA tensor {visible(name)} may belong to {len(candidates)} tensors, "
                f"expected one: {first_names(candidates)}",
                code="ema-ambiguous",
                hint="their names differ only in dots; drop the EMA weights instead",
            )
    return root, {candidates[0]: name for name, candidates in places.items()}


def _match_below(
    root: str, averages: list[str], model: list[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """Return EMA tensor -> model tensors below `root`, and EMA tensors without any."""
    by_dotless: dict[str, list[str]] = defaultdict(list)
    for name in model:
        if name.startswith(root):
            by_dotless[name[len(root) :].replace(".", "")].append(name)
    found = {name: by_dotless.get(name[len(EMA_PREFIX) :], []) for name in averages}
    unmatched = [name for name, candidates in found.items() if not candidates]
    return found, unmatched
