"""What a tensor of a LoRA is, by the end of its name.

Source:
    kohya-ss/sd-scripts `networks/lora.py`; KohakuBlueleaf/LyCORIS `modules/`;
    huggingface/diffusers `loaders/`; ComfyUI `comfy/weight_adapter/`.
"""

from enum import Enum
from typing import Final


class Role(Enum):
    """A tensor's part in the change of one module, by LyCORIS' name for it."""

    UP = "lora_up"
    DOWN = "lora_down"
    MID = "lora_mid"
    HADA_W1_A = "hada_w1_a"
    HADA_W1_B = "hada_w1_b"
    HADA_W2_A = "hada_w2_a"
    HADA_W2_B = "hada_w2_b"
    HADA_T1 = "hada_t1"
    HADA_T2 = "hada_t2"
    LOKR_W1 = "lokr_w1"
    LOKR_W1_A = "lokr_w1_a"
    LOKR_W1_B = "lokr_w1_b"
    LOKR_W2 = "lokr_w2"
    LOKR_W2_A = "lokr_w2_a"
    LOKR_W2_B = "lokr_w2_b"
    LOKR_T2 = "lokr_t2"
    DIFF = "diff"
    DIFF_BIAS = "diff_b"
    ALPHA = "alpha"


_SPELLINGS: Final = {
    Role.UP: (
        ".lora_up.weight",
        ".lora_B.weight",
        ".lora_B.default.weight",
        ".lora.up.weight",
        "_lora.up.weight",
        ".lora_linear_layer.up.weight",
    ),
    Role.DOWN: (
        ".lora_down.weight",
        ".lora_A.weight",
        ".lora_A.default.weight",
        ".lora.down.weight",
        "_lora.down.weight",
        ".lora_linear_layer.down.weight",
    ),
    Role.MID: (".lora_mid.weight",),
    Role.DIFF: (".diff", ".w_norm"),
    Role.DIFF_BIAS: (".diff_b", ".b_norm"),
}

_ROLES: Final = {
    suffix: role
    for role in Role
    for suffix in _SPELLINGS.get(role, (f".{role.value}",))
}

_DORA: Final = "DoRA, whose change depends on the weight that it is added to"
_OFT: Final = "OFT or BOFT, which turns the weight instead of adding to it"
_GLORA: Final = "GLoRA, whose change depends on the weight that it is added to"
_SPARSE: Final = "a sparse bias of an early LyCORIS"
_BIAS: Final = "a bias beside the factors"
_EMBEDDING: Final = "a LoRA of an embedding as PEFT writes it"
_WHOLE: Final = "a whole weight, which replaces the model's"

_REFUSED: Final = {
    ".dora_scale": _DORA,
    ".lora_magnitude_vector": _DORA,
    ".lora_magnitude_vector.weight": _DORA,
    ".lora_magnitude_vector.default.weight": _DORA,
    ".oft_blocks": _OFT,
    ".oft_diag": _OFT,
    ".a1.weight": _GLORA,
    ".a2.weight": _GLORA,
    ".b1.weight": _GLORA,
    ".b2.weight": _GLORA,
    ".bm.weight": _GLORA,
    ".on_input": "(IA)3, which multiplies the weight instead of adding to it",
    ".lokr_t1": "a LoKr with a core in its first half",
    ".lora_up.bias": _BIAS,
    ".lora_B.bias": _BIAS,
    ".bias_indices": _SPARSE,
    ".bias_values": _SPARSE,
    ".bias_size": _SPARSE,
    ".lora_embedding_A": _EMBEDDING,
    ".lora_embedding_B": _EMBEDDING,
    ".set_weight": _WHOLE,
    ".reshape_weight": "a change of the model's shape",
}


def split_name(name: str) -> tuple[str, Role] | None:
    """Return the module and the role of a tensor; None if its name ends as no role."""
    for suffix, role in _ROLES.items():
        if name.endswith(suffix):
            return name[: -len(suffix)], role
    return None


def refused_kind(name: str) -> str:
    """Return what a tensor belongs to that is known and cannot be merged, or ""."""
    for suffix, kind in _REFUSED.items():
        if name.endswith(suffix):
            return kind
    return ""
