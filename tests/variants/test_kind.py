"""What tensors are, told on SDXL and on names of other architectures."""

from collections import Counter

import pytest

from release.architecture.sdxl import component_of
from release.numeric.dtype import Dtype
from release.variants.kind import kind_of


def test_kinds_of_sdxl_are_those_of_its_modules(sdxl):
    found = Counter(
        (component_of(name).value, kind_of(name, sdxl).value) for name in sdxl
    )

    assert {kind: n for (part, kind), n in found.items() if part == "unet"} == {
        "matrix": 743,
        "conv": 51,
        "bias": 374,
        "norm": 512,
    }
    # 12 layers of 6 Linear modules with biases, and 2 norms; a norm at the end.
    assert {kind: n for (part, kind), n in found.items() if part == "clip_l"} == {
        "matrix": 72,
        "bias": 72,
        "norm": 50,
        "embedding": 3,  # tokens, positions, position_ids
    }
    # 32 layers of 3 Linear modules and 2 norms; in_proj is packed and raw.
    assert {kind: n for (part, kind), n in found.items() if part == "clip_g"} == {
        "matrix": 96,
        "bias": 96,
        "norm": 130,
        "embedding": 2,
        "other": 66,  # 32 in_proj_weight, 32 in_proj_bias, text_projection, logit_scale
    }
    # The VAE's attention has convs of size 1.
    assert {kind: n for (part, kind), n in found.items() if part == "vae"} == {
        "conv": 72,
        "bias": 72,
        "norm": 104,
    }


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("blocks.0.fc.weight", (8, 8), "matrix"),
        ("stem.weight", (8, 3, 3, 3), "conv"),
        ("stem_1d.weight", (8, 3, 3), "other"),
        ("stem_3d.weight", (8, 3, 3, 3, 3), "other"),
        ("blocks.0.norm.weight", (8,), "norm"),
        ("scalar.weight", (), "other"),
        ("word_embeddings.weight", (30, 8), "embedding"),
        ("patch_embed.weight", (8, 3, 2, 2), "embedding"),
        ("pos_embed", (1, 30, 8), "embedding"),
        ("model.time_embed.0.weight", (8, 8), "matrix"),
        ("model.time_embed.weight", (8, 8), "matrix"),
        ("model.time_embedding.linear_1.weight", (8, 8), "matrix"),
        ("attention.in_proj_weight", (24, 8), "other"),
        ("lonely.bias", (8,), "other"),
        ("weight", (8, 8), "other"),
    ],
)
def test_kind_follows_from_name_and_rank(checkpoint, name, shape, kind):
    tensors = checkpoint({name: (Dtype.F32, *shape)})

    assert kind_of(name, tensors).value == kind


@pytest.mark.parametrize(
    ("rank", "kind"), [(1, "norm"), (2, "bias"), (3, "other"), (4, "bias")]
)
def test_a_bias_is_what_its_weight_makes_it(checkpoint, rank, kind):
    tensors = checkpoint(
        {"m.weight": (Dtype.F32, *[4] * rank), "m.bias": (Dtype.F32, 4)}
    )

    assert kind_of("m.bias", tensors).value == kind
