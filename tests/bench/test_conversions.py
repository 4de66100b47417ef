"""The benchmark's conversions, on checkpoints too small to measure anything."""

from collections.abc import Mapping
from pathlib import Path

import cast_pass
import conversions
import convert_runs
import numpy as np
import peers
import pytest
import safetensors.torch
import torch
from check_tensors import Checkpoint, problems
from measures import Bench
from peers import Package, prepare
from scratch import make_stand_ins
from timing import BenchError, PeerError, Sample

from release.numeric.cast import TORCH_DTYPES, round_to
from release.numeric.dtype import Dtype


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """A folder with three variants of `source`. Never write to it."""
    folder = tmp_path_factory.mktemp("bench") / "kept"
    convert_runs.convert_into(folder, source, ["fp8", "fp16", "fp8-scaled"])
    return folder


@pytest.fixture(scope="session")
def source(ingredients: Mapping[str, Path]) -> Path:
    """A narrow checkpoint in F16."""
    return ingredients["beta7"]


@pytest.fixture
def own_source(source: Path, tmp_path: Path) -> Path:
    """A narrow checkpoint in a folder of its own."""
    path = tmp_path / "beta7.safetensors"
    path.symlink_to(source)
    return path


def test_the_script_and_krelease_give_the_same_tensors(
    converted: Path, own_source: Path
) -> None:
    fp8 = convert_runs.result_of(converted, "fp8")
    names = convert_runs.write_names(own_source.with_name("cast.json"), fp8)

    sample = convert_runs.load_cast_save(own_source, "F8_E4M3", names)

    assert sample.sync_seconds > 0
    assert sorted(path.name for path in own_source.parent.iterdir()) == [
        "beta7.safetensors",
        "cast.json",
    ]


def test_a_pass_leaves_nothing_and_takes_less_than_its_process(
    own_source: Path,
) -> None:
    sample = convert_runs.convert_pass(own_source, ["fp8"])

    assert 0 < sample.seconds < 60
    assert [path.name for path in own_source.parent.iterdir()] == ["beta7.safetensors"]


def test_a_copy_is_measured_and_removed(own_source: Path) -> None:
    assert convert_runs.copy(own_source).seconds > 0
    assert [path.name for path in own_source.parent.iterdir()] == ["beta7.safetensors"]


def test_the_scaled_variant_stands_for_its_source(
    converted: Path, source: Path
) -> None:
    scaled = Checkpoint(convert_runs.result_of(converted, "fp8-scaled"))
    sources = {"source": Checkpoint(source)}

    assert problems(scaled, "fp8-scaled", sources, tolerance=1, recipe="source") == []
    assert len(problems(scaled, "fp8", sources, tolerance=1, recipe="source")) == 1 + 2


def test_a_scale_that_is_wrong_is_seen(
    converted: Path, source: Path, tmp_path: Path
) -> None:
    tensors = safetensors.torch.load_file(
        convert_runs.result_of(converted, "fp8-scaled")
    )
    for name in tensors:
        if name.endswith("attn1.to_q.weight_scale"):
            tensors[name] *= 1.3
    safetensors.torch.save_file(tensors, tmp_path / "bad.safetensors")

    found = problems(
        Checkpoint(tmp_path / "bad.safetensors"),
        "fp8-scaled",
        {"source": Checkpoint(source)},
        tolerance=1,
        recipe="source",
    )

    assert len(found) == 1
    assert "attn1.to_q.weight" in found[0]


def test_what_stable_diffusion_cpp_keeps_in_fp32_is_expected(
    source: Path, tmp_path: Path
) -> None:
    tensors = safetensors.torch.load_file(source)
    for name in [name for name in tensors if name.endswith(".bias")]:
        tensors[name] = tensors[name].float()
    for name in [
        name for name in tensors if name.endswith(("position_ids", "logit_scale"))
    ]:
        del tensors[name]
    safetensors.torch.save_file(tensors, tmp_path / "ggml.safetensors")
    sources = {"source": Checkpoint(source)}

    assert (
        problems(
            Checkpoint(tmp_path / "ggml.safetensors"),
            "ggml-f16",
            sources,
            tolerance=0,
            recipe="source",
        )
        == []
    )
    assert (
        len(
            problems(
                Checkpoint(source), "ggml-f16", sources, tolerance=0, recipe="source"
            )
        )
        == 2
    )


def test_the_checks_fp8_values_are_torchs(tmp_path: Path) -> None:
    codes = torch.tensor([code for code in range(256) if code & 127 != 127])
    fp8 = codes.to(torch.uint8).view(torch.float8_e4m3fn)
    safetensors.torch.save_file({"w": fp8}, tmp_path / "w.safetensors")

    values = Checkpoint(tmp_path / "w.safetensors").values("w")

    assert np.array_equal(values, fp8.double().numpy())


@pytest.mark.parametrize(
    ("before", "after"), [(Dtype.F8_E4M3, Dtype.F16), (Dtype.F16, Dtype.F8_E4M3)]
)
def test_both_ways_of_casting_give_the_same_bytes(before: Dtype, after: Dtype) -> None:
    n_elements = 2 * cast_pass.CHUNK_ELEMENTS + 3
    weights = round_to(torch.randn(n_elements), before)

    by_torch = torch.zeros(n_elements).to(TORCH_DTYPES[after])
    by_krelease = torch.zeros(n_elements).to(TORCH_DTYPES[after])

    cast_pass.cast_by_torch(weights, by_torch, after)
    cast_pass.cast_by_krelease(weights, by_krelease, after)

    assert by_torch.float().abs().max() > 1
    assert torch.equal(by_krelease.view(torch.uint8), by_torch.view(torch.uint8))


def test_casts_that_disagree_are_no_measurement(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cast(way: str, *_: str) -> Sample:
        return Sample(1.0, peak_nbytes=1, stdout=way)

    monkeypatch.setattr(convert_runs, "cast", cast)

    with pytest.raises(BenchError, match="another one"):
        conversions.measure_casts(bench)


def test_a_peer_whose_program_fails_is_told_from_krelease(own_source: Path) -> None:
    with pytest.raises(PeerError, match="exit code"):
        convert_runs.sd_cpp(Path("/bin/false"), own_source)


def test_an_install_that_fails_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Sample:
        raise BenchError("pip: no such\npackage")

    monkeypatch.setattr(peers, "CACHE", tmp_path)
    monkeypatch.setattr(peers, "spawn", refuse)

    peer = prepare(Package("absent", "1.0"))

    assert peer.missing == "not installed: pip: no such package"


def test_a_checkpoint_of_another_dtype_can_be_made(tmp_path: Path) -> None:
    make_stand_ins(tmp_path, 32, ["wide"], "F32")

    wide = Checkpoint(tmp_path / "wide.safetensors")

    assert {entry["dtype"] for entry in wide.header.values()} == {"F32", "I64"}
