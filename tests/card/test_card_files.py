"""The file tables: what a file stores is read off its tensors."""

from typing import Any

import pytest

from release.card.files import (
    dtype_words,
    files_section,
    full_precision,
    in_published_order,
    measured_section,
)
from release.definition import Definition
from release.manifest import CheckpointRecord, Manifest

UNET = "model.diffusion_model.input_blocks.4.1.proj_in"
CLIP = "conditioner.embedders.1.model.text_projection"


def tensor(name: str, dtype: str, *shape: int) -> dict[str, Any]:
    return {
        "name": name,
        "dtype": dtype,
        "shape": shape,
        "offset": 0,
        "nbytes": 1000 if dtype.startswith("F8") else 2000,
        "xxh3_128": "44" * 16,
    }


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([tensor(UNET, "F16", 2, 2), tensor("x", "I64", 1)], "fp16"),
        ([tensor(UNET, "BF16", 2, 2)], "bf16"),
        ([tensor(UNET, "F32", 2, 2)], "fp32"),
        ([tensor(UNET, "U16", 2, 2)], "U16"),
        ([tensor(f"{UNET}.weight", "F8_E4M3", 2, 2)], "fp8 e4m3fn (U-Net Linear)"),
        (
            [
                tensor(f"{UNET}.weight", "F8_E5M2", 2, 2, 3, 3),
                tensor(f"{UNET}.bias", "F8_E5M2", 2),
                tensor(CLIP, "BF16", 2, 2),
            ],
            "fp8 e5m2 (U-Net Conv2d; rest bf16)",
        ),
        (
            [
                tensor(f"{UNET}.weight", "F8_E4M3", 2, 2),
                tensor(CLIP, "F8_E4M3", 2, 2),
                tensor("first_stage_model.x.weight", "F8_E4M3", 2, 2, 1, 1),
                tensor(f"{UNET}.weight_scale", "F32"),
                tensor("first_stage_model.y.weight", "F16", 2, 2, 1, 1),
                tensor("first_stage_model.z.weight", "F16", 2, 2, 1, 1),
            ],
            "fp8 e4m3fn (U-Net, CLIP-G, VAE Linear and Conv2d; with scales; rest fp16)",
        ),
        (
            [
                tensor(f"{UNET}.weight", "F8_E4M3", 2, 2),
                tensor(f"{UNET}.weights", "F8_E5M2", 2, 2),
            ],
            "fp8 e4m3fn and fp8 e5m2 (U-Net Linear)",
        ),
    ],
)
def test_dtype_in_words(
    document: dict[str, Any], tensors: list[dict[str, Any]], words: str
) -> None:
    record = document["checkpoints"][0] | {"tensors": tensors}

    assert dtype_words(CheckpointRecord.model_validate(record)) == words


@pytest.mark.parametrize("order", [["fp16", "fp8"], ["fp8", "fp16"]])
def test_checkpoints_follow_the_makers_order_of_variants(
    gamma: dict[str, Any], manifest: Manifest, order: list[str]
) -> None:
    gamma["release"]["variants"] = order

    ordered = in_published_order(Definition.model_validate(gamma), manifest)

    assert [record.variant for record in ordered] == order


def test_checkpoint_of_an_unlisted_variant_comes_last(
    gamma: dict[str, Any], manifest: Manifest
) -> None:
    gamma["release"]["variants"] = ["fp8"]

    ordered = in_published_order(Definition.model_validate(gamma), manifest)

    assert [record.variant for record in ordered] == ["fp8", "fp16"]


def test_full_precision_is_the_largest_file(manifest: Manifest) -> None:
    assert full_precision(manifest.checkpoints).variant == "fp16"


def test_row_of_a_file_holds_its_measured_facts(
    definition: Definition, manifest: Manifest
) -> None:
    rows: Any = files_section(definition, manifest)["checkpoints"]

    assert rows[0] == {
        "name": "kohaku-xl-gamma-rev2.fp16.safetensors",
        "dtype": "fp16",
        "size": "6.94 GB",
        "nbytes": 6_938_040_706,
        "vram": "7.2 GB",
        "take_if": "you are not sure; it is also the file to train and merge from",
        "sha256": "38942904e9" + "16" * 27,
        "autov2": "38942904E9",
        "autov3": "DA7ADA7ADA7A",
        "snr": "74.1 dB",
        "max_error": "0.000244",
        "flushed": 12,
        "clamped": 0,
    }


def test_archive_names_its_checkpoint_before_what_else_is_inside(
    definition: Definition, manifest: Manifest
) -> None:
    (archive,) = files_section(definition, manifest)["archives"]  # type: ignore[misc]

    assert archive["checkpoints"] == ["kohaku-xl-gamma-rev2.fp8.safetensors"]
    assert archive["others"] == ["LICENSE", "README.txt"]
    assert archive["autov2"] == "C2C2C2C2C2"


@pytest.mark.parametrize(
    ("kept", "noted"), [(["fp8", "fp16"], True), (["fp16"], False)]
)
def test_fp8_note_is_for_releases_with_an_fp8_file(
    definition: Definition, document: dict[str, Any], kept: list[str], noted: bool
) -> None:
    document["checkpoints"] = [
        record for record in document["checkpoints"] if record["variant"] in kept
    ]

    section = files_section(definition, Manifest.model_validate(document))

    assert (section["note"] == definition.usage.fp8_note) is noted


def test_measured_parts_come_in_the_order_of_the_architecture(
    definition: Definition, document: dict[str, Any]
) -> None:
    parity = document["checkpoints"][0]["parity"]
    document["checkpoints"][1]["components"] = dict.fromkeys(
        ("zeta", "vae", "clip_g", "other", "alpha", "unet", "clip_l"), parity
    )

    tables: Any = measured_section(definition, Manifest.model_validate(document))

    assert [row["title"] for row in tables[0]["rows"]] == [
        "U-Net",
        "CLIP-L",
        "CLIP-G",
        "VAE",
        "other",
        "alpha",
        "zeta",
        "whole file",
    ]
