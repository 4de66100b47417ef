"""Opening a LoRA for the model that it is to be added to."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from release.architecture.lora_names import lora_names
from release.formats.tensor import TensorEntry

if TYPE_CHECKING:
    from release.formats.lora.checkpoint import LoraCheckpoint


def open_lora(
    path: Path, model: Mapping[str, TensorEntry], *, architecture: str
) -> "LoraCheckpoint":
    """Open a LoRA or LyCORIS file as the change that it makes to a model.

    Args:
        path: The file, safetensors or pickled.
        model: The tensors of the model, by name as in a single file.
        architecture: As `release.architecture.sdxl.detect` gives it.

    Returns:
        A checkpoint of F32 tensors, under the model's names and in its shapes, that
        holds only what changes.

    Raises:
        InputError: The file cannot be opened.
        CheckpointError: As for `release.formats.lora.checkpoint.LoraCheckpoint`.
    """
    from release.formats.lora.checkpoint import open_lora_file

    return open_lora_file(path, model, lora_names(model, architecture))
