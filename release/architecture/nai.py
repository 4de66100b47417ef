"""SD1 text encoders whose names lack `text_model.`, as in the NovelAI lineage.

Source:
    The names and their repair are common to Akegarasu/sd-webui-model-converter,
    arenasys/stable-diffusion-webui-model-toolkit and kohya-ss/sd-scripts.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from release.errors import TensorMismatchError, first_names

_ROOT: Final = "cond_stage_model.transformer."
_PARTS: Final = tuple(
    f"{_ROOT}{part}." for part in ("embeddings", "encoder", "final_layer_norm")
)


def nai_renames(names: Iterable[str], *, path: Path) -> dict[str, str]:
    """Return name -> right name, for the tensors whose names lack `text_model.`.

    Args:
        names: All tensors of a checkpoint.
        path: Named in errors.

    Raises:
        TensorMismatchError: `nai-names`: the file holds tensors of both names.
    """
    everything = set(names)
    renames = {
        name: f"{_ROOT}text_model.{name[len(_ROOT) :]}"
        for name in sorted(everything)
        if name.startswith(_PARTS)
    }
    double = [name for name, right in renames.items() if right in everything]
    if double:
        raise TensorMismatchError(
            path,
            f"{len(double):,} tensors are there with and without text_model. in their "
            f"names, expected one of each: {first_names(double)}",
            code="nai-names",
            hint="two text encoders were merged into one file; take it from its source",
        )
    return renames
