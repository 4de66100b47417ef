"""What the manifest keeps of every block, against numpy and the files themselves."""

import json
import math

import numpy as np
import pytest
import safetensors

UNET = "model.diffusion_model."
CLIP_L = "conditioner.embedders.0.transformer.text_model.encoder.layers."
CLIP_G = "conditioner.embedders.1.model.transformer.resblocks."
COEFFICIENTS = {
    "0": {"beta7": 0.75, "anxl3": 1, "anxl2": -1, "base8": 0.25},
    "0.1": {"beta7": 0.675, "anxl3": 1, "anxl2": -0.9, "base8": 0.225},
    "0.05": {"beta7": 0.7125, "anxl3": 1, "anxl2": -0.95, "base8": 0.2375},
}
"""Of gamma-rev2, by the weight of the block."""

BLOCKS = {
    "IN04": ("unet", f"{UNET}input_blocks.4.", "0.1"),
    "M00": ("unet", f"{UNET}middle_block.", "0"),
    "OUT05": ("unet", f"{UNET}output_blocks.5.", "0.05"),
    "layer 5": ("clip_l", f"{CLIP_L}5.", "0"),
    "layer 31": ("clip_g", f"{CLIP_G}31.", "0"),
}


@pytest.fixture(scope="module")
def checkpoints(release_folder):
    """The records of both variants, by the name of the variant."""
    manifest = json.loads((release_folder / "manifest.json").read_text())
    return {each["variant"]: each for each in manifest["checkpoints"]}


@pytest.fixture(scope="module")
def sources(ingredients):
    """The tensors of every ingredient as bytes."""
    return {
        name: dict(safetensors.deserialize(path.read_bytes()))
        for name, path in ingredients.items()
    }


@pytest.fixture(scope="module")
def variants(release_folder, checkpoints):
    """The tensors of both variants as bytes."""
    return {
        variant: dict(
            safetensors.deserialize((release_folder / record["name"]).read_bytes())
        )
        for variant, record in checkpoints.items()
    }


def values(tensor, quantised):
    if tensor["dtype"] == "F16":
        return np.frombuffer(tensor["data"], "<f2").astype(np.float64)
    assert tensor["dtype"] == "F8_E4M3"
    return quantised.decoded("F8_E4M3")[np.frombuffer(tensor["data"], "u1")].astype(
        np.float64
    )


@pytest.mark.parametrize("variant", ["fp16", "fp8"])
@pytest.mark.parametrize("block", BLOCKS)
def test_figures_of_a_block_are_what_numpy_finds_in_the_files(
    checkpoints, sources, variants, quantised, variant, block
):
    component, prefix, weight = BLOCKS[block]
    names = [name for name in variants[variant] if name.startswith(prefix)]
    exact, kept = [], []
    for name in names:
        parts = [
            factor * values(sources[each][name], quantised)
            for each, factor in COEFFICIENTS[weight].items()
        ]
        exact.append(np.sum(parts, axis=0))
        kept.append(values(variants[variant][name], quantised))
    wanted, found = np.concatenate(exact), np.concatenate(kept)
    snr = 10 * math.log10(np.sum(wanted**2) / np.sum((wanted - found) ** 2))

    record = checkpoints[variant]["blocks"][component][block]

    assert record["n_tensors"] == len(names)
    assert record["n_elements"] == wanted.size
    assert float(record["snr_db"]) == pytest.approx(snr, abs=0.0051)
    assert float(record["max_abs_error"]) == pytest.approx(
        np.abs(wanted - found).max(), rel=1e-3
    )
    assert record["flushed"] == np.sum((wanted != 0) & (found == 0))
    assert record["clamped"] == 0


@pytest.mark.parametrize("variant", ["fp16", "fp8"])
def test_blocks_of_a_component_are_all_of_it(checkpoints, variant):
    record = checkpoints[variant]

    assert record["blocks"].keys() == record["components"].keys()
    for name, whole in record["components"].items():
        blocks = record["blocks"][name].values()
        for figure in ("n_tensors", "n_elements", "clamped", "flushed"):
            assert sum(block[figure] for block in blocks) == whole[figure]
        worst = max(float(block["max_abs_error"]) for block in blocks)
        assert worst == float(whole["max_abs_error"])
