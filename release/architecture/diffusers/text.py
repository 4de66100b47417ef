"""Names of the text encoders in both layouts.

A folder has them as transformers names them. A single file has CLIP-L under the same
names, and the OpenCLIP encoders as open-clip wrote them: query, key and value in one
matrix, in this order, and the output projection transposed.

Source:
    diffusers 0.42, `loaders/single_file_utils.py`, `convert_open_clip_checkpoint`;
    transformers 5.24, `models/clip/modeling_clip.py`.
"""

from collections.abc import Iterator
from typing import Final

from release.architecture.diffusers.forms import TextForm
from release.architecture.diffusers.row import (
    PARAMETERS,
    Change,
    Row,
    module_rows,
)

_MODEL: Final = "text_model."
_POSITION_IDS: Final = "embeddings.position_ids"
_UNWRAPPED: Final = ("embeddings.", "encoder.", "final_layer_norm.")

_LAYER: Final = (
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)
_EMBEDDINGS: Final = (
    ("token_embedding.weight", "embeddings.token_embedding.weight"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
)
_PACKED: Final = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def text_rows(form: TextForm) -> Iterator[Row]:
    """Yield every tensor of a text encoder, both names with their prefixes."""
    if form.is_open_clip:
        yield from _open_clip(form)
        return
    for name in _transformers_names(form.n_layers):
        yield Row(f"{form.prefix}{_MODEL}{name}", (f"{form.component}/{_MODEL}{name}",))


def implied_rows(form: TextForm) -> Iterator[Row]:
    """Yield what folders may hold and the single file has no place for.

    The positions of an OpenCLIP encoder are always 0 to 76.
    """
    if form.is_open_clip:
        part = f"{form.component}/{_MODEL}{_POSITION_IDS}"
        yield Row(f"{form.prefix}{_POSITION_IDS}", (part,))


def modern_text_name(name: str) -> str:
    """Return a folder's name with the `text_model.` that transformers 5.6 leaves out.

    Args:
        name: `COMPONENT/TENSOR` of a text encoder.
    """
    component, slash, tensor = name.partition("/")
    if tensor.startswith(_UNWRAPPED):
        return f"{component}{slash}{_MODEL}{tensor}"
    return name


def _transformers_names(n_layers: int) -> Iterator[str]:
    yield _POSITION_IDS
    for _, name in _EMBEDDINGS:
        yield name
    modules = [
        *(name for _, name in _LAYER),
        *_PACKED,
    ]
    for parameter in PARAMETERS:
        yield f"final_layer_norm.{parameter}"
        for layer in range(n_layers):
            for module in modules:
                yield f"encoder.layers.{layer}.{module}.{parameter}"


def _open_clip(form: TextForm) -> Iterator[Row]:
    folder = f"{form.component}/{_MODEL}"
    for single, part in _EMBEDDINGS:
        yield Row(f"{form.prefix}{single}", (f"{folder}{part}",))
    yield from module_rows(f"{form.prefix}ln_final", f"{folder}final_layer_norm")
    if form.has_projection:
        yield Row(
            f"{form.prefix}text_projection",
            (f"{form.component}/text_projection.weight",),
            Change.TRANSPOSED,
        )
    for layer in range(form.n_layers):
        block = f"{form.prefix}transformer.resblocks.{layer}"
        parts = f"{folder}encoder.layers.{layer}"
        for single, part in _LAYER:
            yield from module_rows(f"{block}.{single}", f"{parts}.{part}")
        for parameter in PARAMETERS:
            yield Row(
                f"{block}.attn.in_proj_{parameter}",
                tuple(f"{parts}.{matrix}.{parameter}" for matrix in _PACKED),
            )
