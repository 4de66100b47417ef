"""What LoRAs call the modules of a model.

kohya's trainers, and LyCORIS with them, write a module's path in the program that
trained it, with underscores for dots: either that of a single file
(`lora_unet_input_blocks_4_1_...`) or that of diffusers
(`lora_unet_down_blocks_1_attentions_0_...`), and for text encoders always that of
transformers. diffusers and PEFT keep the dots (`unet.down_blocks.1.attentions.0...`),
and so does ComfyUI with the names of a single file. Since underscores are part of
names too, a name cannot be taken apart: every spelling of every tensor is listed.

Source:
    kohya-ss/sd-scripts, `networks/lora.py`; KohakuBlueleaf/LyCORIS, `kohya.py`;
    diffusers 0.42, `loaders/lora_pipeline.py`; ComfyUI, `comfy/lora.py`.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from release.architecture.diffusers.forms import FORMS
from release.architecture.diffusers.single_file import folder_names
from release.formats.lora.places import Names, Place

_UNET: Final = "model.diffusion_model."
_COMFY_UNET: Final = "diffusion_model."
_FLAT_UNET: Final = "lora_unet_"
_MODEL: Final = "text_model."
"""Left out of the names by transformers since 5.6."""
_WEIGHT: Final = ".weight"
_PARAMETERS: Final = (_WEIGHT, ".bias")
_TRANSPOSED: Final = ".text_projection"
_EMBEDDINGS: Final = ".embeddings."
_ATTENTION: Final = (".to_q", ".to_k", ".to_v")
_ATTENTION_OUT: Final = ".to_out.0"
_FLAT_PREFIXES: Final = {
    "sdxl": {
        "unet": _FLAT_UNET,
        "text_encoder": "lora_te1_",
        "text_encoder_2": "lora_te2_",
    },
    "sd1": {"unet": _FLAT_UNET, "text_encoder": "lora_te_"},
    "sd2": {"unet": _FLAT_UNET, "text_encoder": "lora_te_"},
}
"""What stands for a folder's component in kohya's names; VAEs are not trained."""
_DIFFUSERS_SPELT: Final = ("sd1", "sd2")
"""Architectures whose U-Net kohya's trainer builds as diffusers does."""


def lora_names(tensors: Iterable[str], architecture: str) -> Names:
    """Return every name that a LoRA may have for a part of a model.

    Args:
        tensors: Names of the model's tensors, as in a single file.
        architecture: As `release.architecture.sdxl.detect` gives it; for "unknown",
            only names as in the model itself are known.

    Returns:
        Name of a module, with ".weight" or ".bias" -> where it belongs. Several places
        where underscores make two modules one.
    """
    found: dict[str, dict[Place, None]] = {}
    for tensor in tensors:
        for name, place in _spellings(tensor, architecture):
            found.setdefault(name, {})[place] = None
    return {name: tuple(places) for name, places in found.items()}


def trained_names(tensor: str, architecture: str) -> tuple[str, ...]:
    """Return what kohya's trainer calls the modules whose weight a tensor is.

    Of the spellings that `lora_names` reads, that which programs without diffusers know
    as well: for SDXL the path in a single file, for SD1 and SD2 that of diffusers.

    Args:
        tensor: Name in a single file.
        architecture: As `release.architecture.sdxl.detect` gives it.

    Returns:
        One name for each of the equal parts, along dimension 0, that the tensor is
        stacked of; none if it is no weight of a U-Net or text encoder, or is a table of
        embeddings or stored transposed.
    """
    if tensor.startswith(_UNET) and architecture not in _DIFFUSERS_SPELT:
        if not tensor.endswith(_WEIGHT):
            return ()
        return (_module(_FLAT_UNET, tensor.removeprefix(_UNET)),)
    if architecture not in FORMS or tensor.endswith(_TRANSPOSED):
        return ()
    return tuple(
        _module(_FLAT_PREFIXES[architecture][component], inner)
        for part in folder_names(tensor, architecture)
        for component, _, inner in (part.partition("/"),)
        if component in _FLAT_PREFIXES[architecture]
        and inner.endswith(_WEIGHT)
        and _EMBEDDINGS not in inner
    )


def _spellings(tensor: str, architecture: str) -> Iterator[tuple[str, Place]]:
    parts = folder_names(tensor, architecture) if architecture in FORMS else ()
    if tensor.endswith(_PARAMETERS):
        for name in _single_spellings(tensor):
            yield name, Place(tensor)
    for number, part in enumerate(parts):
        if part.endswith(_PARAMETERS):
            transposed = tensor.endswith(_TRANSPOSED)
            place = Place(tensor, number, len(parts), transposed)
            for name in _folder_spellings(part, architecture):
                yield name, place


def _single_spellings(tensor: str) -> Iterator[str]:
    """Yield what a LoRA may call a tensor by its name in a single file."""
    yield tensor
    if tensor.startswith(_UNET):
        inner = tensor.removeprefix(_UNET)
        yield f"{_COMFY_UNET}{inner}"
        yield _flat(_FLAT_UNET, inner)


def _folder_spellings(name: str, architecture: str) -> Iterator[str]:
    """Yield what a LoRA may call a tensor by its name in a folder."""
    component, _, inner = name.partition("/")
    prefix = _FLAT_PREFIXES[architecture].get(component)
    if prefix is None:
        return
    for spelling in (inner, inner.removeprefix(_MODEL)):
        yield _flat(prefix, spelling)
        yield f"{component}.{spelling}"
    processor = _processor_name(inner)
    if processor:
        yield f"{component}.{processor}"


def _flat(prefix: str, name: str) -> str:
    """Return the name of a parameter with its module's dots as underscores."""
    module, _, parameter = name.rpartition(".")
    return f"{prefix}{module.replace('.', '_')}.{parameter}"


def _module(prefix: str, weight: str) -> str:
    return _flat(prefix, weight).removesuffix(_WEIGHT)


def _processor_name(name: str) -> str:
    """Return what diffusers called a matrix of an attention until 0.25, or "".

    Its factors were part of the attention's processor then: `attn1.processor.to_q`.
    """
    module = name.removesuffix(".weight").removesuffix(_ATTENTION_OUT)
    if module.endswith(_ATTENTION):
        attention, _, matrix = module.rpartition(".")
        return f"{attention}.processor.{matrix}.weight"
    if name == f"{module}{_ATTENTION_OUT}.weight":
        return f"{module}.processor.to_out.weight"
    return ""
