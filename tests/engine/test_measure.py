"""Error figures against numpy, recomputed in float64 from the published files."""

import json
import math

import numpy as np
import pytest
import safetensors.torch
import torch

from release.numeric.dtype import Dtype

PARTS = {
    "conditioner.embedders.0.": "clip_l",
    "conditioner.embedders.1.": "clip_g",
    "first_stage_model.": "vae",
}
OUTSIDE_UNET = {"anxl2": -1.0, "anxl3": 1.0, "base8": 0.25, "beta7": 0.75}
COPIED = ("position_ids", "logit_scale")
LIMIT = 448.0


def figures(reference, rounded):
    """Return (max error, SNR in dB, clamped, flushed) of float64 arrays."""
    error = reference - rounded
    noise = float(np.sum(error**2))
    snr = 10 * math.log10(float(np.sum(reference**2)) / noise) if noise else math.inf
    clamped = int(np.sum((np.abs(reference) > LIMIT) & (np.abs(rounded) == LIMIT)))
    flushed = int(np.sum((reference != 0) & (rounded == 0)))
    return float(np.abs(error).max()), snr, clamped, flushed


@pytest.fixture(scope="module")
def released(release_folder, ingredients):
    """Component -> (float64 result of the recipe, fp16, fp8), flat, without copies."""
    sources = {
        name: safetensors.torch.load_file(path) for name, path in ingredients.items()
    }
    stem = release_folder / "kohaku-xl-gamma-rev2"
    half = safetensors.torch.load_file(f"{stem}-fp16.safetensors")
    quarter = safetensors.torch.load_file(f"{stem}-fp8.safetensors")

    def flat(prefix, tensors):
        names = [name for name in sorted(half) if name.startswith(prefix)]
        kept = [name for name in names if not name.endswith(COPIED)]
        return torch.cat(
            [tensors[name].to(torch.float64).ravel() for name in kept]
        ).numpy()

    return {
        part: (
            sum(c * flat(prefix, sources[name]) for name, c in OUTSIDE_UNET.items()),
            flat(prefix, half),
            flat(prefix, quarter),
        )
        for prefix, part in PARTS.items()
    }


@pytest.fixture(scope="module")
def records(release_folder):
    manifest = json.loads((release_folder / "manifest.json").read_text())
    return {record["variant"]: record for record in manifest["checkpoints"]}


@pytest.mark.parametrize("variant", ["fp16", "fp8"])
@pytest.mark.parametrize("part", ["clip_l", "clip_g", "vae"])
def test_figures_of_a_component_are_numpys(released, records, part, variant):
    exact, *rounded = released[part]
    stated = records[variant]["components"][part]

    worst, snr, clamped, flushed = figures(exact, rounded[variant == "fp8"])

    assert float(stated["max_abs_error"]) == pytest.approx(worst, rel=1e-3)
    assert float(stated["snr_db"]) == pytest.approx(snr, abs=0.011)
    assert (stated["clamped"], stated["flushed"]) == (clamped, flushed)


def test_figures_of_the_whole_are_those_of_its_components_together(records):
    for record in records.values():
        parts = record["components"].values()
        whole = record["parity"]
        assert record["components"].keys() == {"unet", "clip_l", "clip_g", "vae"}
        for count in ("n_tensors", "n_elements", "clamped", "flushed"):
            assert whole[count] == sum(part[count] for part in parts)
        assert float(whole["max_abs_error"]) == max(
            float(part["max_abs_error"]) for part in parts
        )
        assert whole["n_tensors"] == 2515


def deviation(workshop, w, *dtypes):
    report = workshop.run(workshop.plan({"x": {"w": w}}, {"x": 1.0}, *dtypes))
    return [output.deviation for output in report.outputs]


def test_fp8_counts_what_it_clamped_and_what_it_flushed(workshop):
    generator = np.random.default_rng(3)
    w = generator.standard_normal(300_000) * 10.0 ** generator.uniform(-6, 3, 300_000)
    w[:4] = [448.0, 464.0, 465.0, -1000.0]
    w[4:8] = [0.0, -0.0, 2.0**-10, -(2.0**-10) * 1.01]
    w = w.astype(np.float32)

    (found,) = deviation(workshop, torch.from_numpy(w), Dtype.F8_E4M3)

    rounded = workshop.load(Dtype.F8_E4M3)["w"].to(torch.float64).numpy()
    worst, snr, clamped, flushed = figures(w.astype(np.float64), rounded)
    assert clamped > 1000
    assert flushed > 10_000
    assert (found.clamped, found.flushed) == (clamped, flushed)
    assert found.max_abs_error == pytest.approx(worst, rel=1e-6)
    assert float(found.snr_db) == pytest.approx(snr, abs=0.011)
    assert found.n_elements == 300_000


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1.0, 1e18, 1e30])
@pytest.mark.parametrize("dtype", [Dtype.BF16, Dtype.F8_E5M2])
def test_signal_to_noise_ratio_holds_at_any_scale(workshop, scale, dtype):
    w = torch.randn(5000, generator=torch.Generator().manual_seed(1)) * scale

    (found,) = deviation(workshop, w, dtype)

    rounded = workshop.load(dtype)["w"].to(torch.float64).numpy()
    _, snr, _, flushed = figures(w.to(torch.float64).numpy(), rounded)
    assert float(found.snr_db) == pytest.approx(snr, abs=0.011)
    assert found.flushed == flushed


def test_nothing_lost_is_said_as_inf(workshop):
    w = torch.randn(1000).to(torch.float16)

    half, wide = deviation(workshop, w, Dtype.F16, Dtype.F32)

    assert half.snr_db == wide.snr_db == "inf"
    assert half.max_abs_error == wide.max_abs_error == 0.0


def test_float32_target_is_measured_against_float64(workshop):
    w = torch.tensor([1 + 2.0**-30, 1.0], dtype=torch.float64)

    (found,) = deviation(workshop, w, Dtype.F32)

    assert found.max_abs_error == 2.0**-30
