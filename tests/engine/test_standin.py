"""Stand-ins: true names, related values, the same every time."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from release.engine.standin import make_stand_ins, stand_in_nbytes
from release.errors import OutputExistsError
from release.numeric.dtype import Dtype

DIVISOR = 64
QKV = "conditioner.embedders.1.model.transformer.resblocks.7.attn.in_proj_weight"
POSITION_IDS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    paths = {name: folder / f"{name}.safetensors" for name in ("a", "b")}
    make_stand_ins(paths, divisor=DIVISOR, threads=2)
    return paths


@pytest.fixture(scope="module")
def tensors(pair):
    return {name: safetensors.torch.load_file(path) for name, path in pair.items()}


def test_stand_in_has_sdxls_tensors_at_a_fraction_of_the_width(tensors):
    found = tensors["a"]

    assert len(found) == 2515
    assert found[QKV].shape == (3 * 1280 // DIVISOR, 1280 // DIVISOR)
    assert found["first_stage_model.encoder.conv_in.weight"].shape == (2, 3, 3, 3)
    assert found["model.diffusion_model.input_blocks.0.0.weight"].shape == (5, 4, 3, 3)
    assert {tensor.dtype for tensor in found.values()} == {torch.float16, torch.int64}


def test_position_ids_count_from_zero_as_in_every_real_checkpoint(tensors):
    assert tensors["a"][POSITION_IDS].tolist() == [list(range(77))]


def test_all_values_are_finite_and_small(tensors):
    for tensor in tensors["a"].values():
        assert torch.isfinite(tensor.float()).all()
    assert tensors["a"][QKV].float().std().item() == pytest.approx(0.02, rel=0.1)


def test_scales_of_norms_lie_around_one(tensors):
    norm = tensors["a"]["model.diffusion_model.out.0.weight"].float()

    assert norm.mean().item() == pytest.approx(1.0, abs=0.05)


def test_members_differ_from_each_other_by_little(tensors):
    a, b = (tensors[name][QKV].float() for name in ("a", "b"))

    assert not torch.equal(a, b)
    assert (a - b).std().item() == pytest.approx(0.002 * 2**0.5, rel=0.1)


def test_values_depend_on_the_name_alone(tmp_path, pair):
    alone = tmp_path / "other-file-name.safetensors"

    make_stand_ins({"b": alone}, divisor=DIVISOR, threads=1)

    assert alone.read_bytes() == pair["b"].read_bytes()


def test_size_is_known_before(pair):
    assert stand_in_nbytes(DIVISOR) == pair["a"].stat().st_size


def test_full_size_is_that_of_a_published_sdxl_checkpoint():
    header = 8 + 400_000  # names and offsets

    assert 0 < stand_in_nbytes(1) - 2 * 3_468_837_868 - 77 * 8 < header


def test_file_says_that_it_is_a_stand_in(pair):
    data = pair["a"].read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])

    assert header["__metadata__"] == {
        "format": "pt",
        "krelease.stand_in": "random values",
    }


def test_dtype_is_chosen_but_buffers_keep_theirs(tmp_path):
    path = tmp_path / "x.safetensors"

    make_stand_ins({"x": path}, divisor=DIVISOR, dtype=Dtype.BF16)

    found = safetensors.torch.load_file(path)
    assert found[QKV].dtype == torch.bfloat16
    assert found[POSITION_IDS].dtype == torch.int64


def test_progress_adds_up_to_the_data(tmp_path):
    steps = []
    path = tmp_path / "x.safetensors"

    make_stand_ins({"x": path}, divisor=DIVISOR, advance=steps.append)

    data = path.read_bytes()
    assert sum(steps) == len(data) - 8 - int.from_bytes(data[:8], "little")


def test_existing_file_stops_the_whole_family(tmp_path):
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("a", "b")}
    paths["b"].write_text("mine")

    with pytest.raises(OutputExistsError):
        make_stand_ins(paths, divisor=DIVISOR)

    assert [path.name for path in tmp_path.iterdir()] == ["b.safetensors"]
    assert paths["b"].read_text() == "mine"


def test_interrupt_leaves_nothing(tmp_path):
    def stop(_nbytes):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_stand_ins(
            {"a": tmp_path / "a.safetensors"}, divisor=DIVISOR, threads=2, advance=stop
        )

    assert list(Path(tmp_path).iterdir()) == []
