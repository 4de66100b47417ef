"""The same model, stored in every way that can be read."""

import os
from contextlib import nullcontext

import numpy as np
import pytest
import safetensors.torch
import torch

from release.architecture.ema import EmaMode
from release.convert.source import SourceOptions
from release.errors import InputError
from release.parity.compare import ParityOptions, compare
from release.parity.report import Outcome, Verdict
from release.parity.sides import open_side
from release.progress import NoProgress

SAMPLES = (
    "plain-fp8",
    "comfy-legacy",
    "comfy-current",
    "comfy-header",
    "rowwise",
    "blockwise",
    "kohya",
    "compressed-tensors",
    "deepseek",
)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_fp8_layout_holds_the_values_that_its_scales_say(
    quantised, tmp_path, write, compared, name
):
    sample = quantised.SAMPLES[name]()
    folder = tmp_path / "sample"
    folder.mkdir()
    path = sample.write(folder)
    rest = {
        key: (raw.code, raw.shape, raw.data)
        for key, raw in sample.tensors.items()
        if key not in sample.expected and key not in sample.auxiliary
    }
    wide = {
        key: ("F32", values.shape, np.ascontiguousarray(values).tobytes())
        for key, values in sample.expected.items()
    }
    plain = write("plain", {**wide, **rest})

    report = compared(path, plain, assumes_scaled=sample.assumed)
    itself = compared(path, path, assumes_scaled=sample.assumed)

    expected = Outcome.SAME_VALUES if sample.expected else Outcome.IDENTICAL
    assert report.outcome is expected
    verdicts = {each.name: each.verdict for each in report.tensors}
    assert {verdicts[each] for each in sample.expected} <= {Verdict.SAME_VALUES}
    assert {verdicts[each] for each in rest} <= {Verdict.EQUAL}
    assert itself.outcome is Outcome.IDENTICAL
    assert itself.markers == ()


@pytest.fixture
def model():
    generator = torch.Generator().manual_seed(1)
    return {
        "model.diffusion_model.input_blocks.1.1.proj_in.weight": torch.randn(
            64, 64, generator=generator
        ),
        "model.diffusion_model.out.2.bias": torch.randn(4, generator=generator),
        "first_stage_model.decoder.conv_in.weight": torch.randn(
            4, 4, 3, 3, generator=generator
        ),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(
            77
        ).view(1, 77),
    }


def test_pickled_checkpoint_equals_its_conversion(model, tmp_path, compared):
    pickled, safe = tmp_path / "a.ckpt", tmp_path / "b.safetensors"
    torch.save({"state_dict": model, "global_step": 5}, pickled)
    safetensors.torch.save_file(model, safe)

    report = compared(pickled, safe)

    assert report.outcome is Outcome.IDENTICAL
    assert len(report.tensors) == 4


def test_shards_equal_the_single_file(ingredients, krelease, tmp_path, parity):
    source = ingredients["beta7"]
    krelease("convert", source, "--to=fp16", "--shard=2MB", "--out", tmp_path, "-q")
    index = next(tmp_path.glob("*.index.json"))

    code, found = parity(source, index)

    assert (code, found["verdict"]) == (0, "identical")
    assert found["b"]["n_tensors"] == 2515


def test_averages_are_compared_unless_they_are_dropped_or_used(
    model, tmp_path, compared
):
    weight = "model.diffusion_model.out.2.bias"
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    averages = {
        f"model_ema.{name.removeprefix('model.').replace('.', '')}": tensor + 1
        for name, tensor in model.items()
        if name.startswith("model.")
    }
    safetensors.torch.save_file({**model, **averages}, first)
    used = {k: v + 1 if k.startswith("model.") else v for k, v in model.items()}
    safetensors.torch.save_file(used, second)

    kept = compared(first, second, ema=EmaMode.KEEP)
    dropped = compared(first, second, ema=EmaMode.DROP)
    taken = compared(first, second, ema=EmaMode.USE)

    assert sorted(kept.missing[0]) == sorted(averages)
    assert dropped.missing == ({}, {})
    assert weight in [each.name for each in dropped.failed]
    assert taken.outcome is Outcome.IDENTICAL


def test_report_does_not_depend_on_the_number_of_threads(
    ingredients, converted, parity
):
    paths = ingredients["base8"], converted["fp8-scaled"]

    assert parity(*paths, "--threads=1") == parity(*paths, "--threads=5")


def test_file_that_changes_while_it_is_compared_is_refused(write):
    half = np.ones(4, "<f2").tobytes()
    paths = [write(name, {"w": ("F16", (4,), half)}) for name in "ab"]

    class Meddler(NoProgress):
        def stage(self, label, nbytes):
            del label, nbytes
            return nullcontext(lambda _: os.utime(paths[1], ns=(1, 1)))

    reading = SourceOptions()
    with (
        open_side(paths[0], reading) as first,
        open_side(paths[1], reading) as second,
        pytest.raises(InputError) as caught,
    ):
        compare(first, second, ParityOptions(), threads=1, progress=Meddler())

    assert caught.value.code == "input-changed"
    assert caught.value.path == paths[1]


# What only one has.


@pytest.fixture
def uneven(write):
    """A and B share `w`; A alone has `a`, B alone `b`; `s` has two shapes."""
    half = np.ones(6, "<f2").tobytes()
    w = {"w": ("F16", (6,), half)}
    return {
        "a": write("a", {**w, "a": ("F16", (6,), half)}),
        "b": write("b", {**w, "b": ("F16", (6,), half)}),
        "flat": write("flat", {**w, "s": ("F16", (6,), half)}),
        "deep": write("deep", {**w, "s": ("F16", (2, 3), half)}),
        "alien": write("alien", {"x": ("F16", (6,), half)}),
    }


def test_tensors_of_one_side_are_named_and_fail_unless_ignored(uneven, compared):
    report = compared(uneven["a"], uneven["b"])
    ignoring = compared(uneven["a"], uneven["b"], ignores_missing=True)

    assert [list(names) for names in report.missing] == [["a"], ["b"]]
    assert report.outcome is Outcome.DIFFERS
    # Not "identical": there are tensors that nothing is known of.
    assert ignoring.outcome is Outcome.SAME_VALUES


def test_other_shape_fails_although_the_bytes_are_the_same(uneven, compared):
    report = compared(uneven["flat"], uneven["deep"], ignores_missing=True)

    assert report.outcome is Outcome.DIFFERS
    assert [(each.name, each.shapes) for each in report.other_shapes] == [
        ("s", ((6,), (2, 3)))
    ]


def test_nothing_in_common_is_never_a_success(uneven, compared):
    report = compared(uneven["a"], uneven["alien"], ignores_missing=True)

    assert report.outcome is Outcome.DIFFERS
