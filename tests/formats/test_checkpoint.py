"""Checkpoints: tensors by name, bytes by range."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from release.errors import CheckpointError, InputError
from release.formats.open import open_checkpoint, open_safetensors
from release.formats.pickled.checkpoint import PickledCheckpoint
from release.numeric.dtype import Dtype


@pytest.fixture
def arrays():
    rng = np.random.default_rng(11)
    return {
        "b.weight": rng.standard_normal((16, 8)).astype(np.float16),
        "a.weight": rng.standard_normal((3, 5)).astype(np.float32),
        "ids": np.arange(7),
    }


@pytest.fixture
def path(tmp_path, arrays):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(arrays, path, {"k": "v"})
    return path


def read(checkpoint, entry, begin=0, end=None):
    buffer = bytearray((entry.nbytes if end is None else end) - begin)
    checkpoint.read_into(entry, begin, memoryview(buffer))
    return bytes(buffer)


def test_tensors_are_found_by_name_in_data_order(path, arrays):
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.tensors) == ["ids", "a.weight", "b.weight"]
        assert checkpoint.tensors["a.weight"].dtype is Dtype.F32
        assert checkpoint.tensors["b.weight"].shape == (16, 8)
        assert dict(checkpoint.metadata) == {"k": "v"}
        assert checkpoint.nbytes == path.stat().st_size
        assert checkpoint.path == path
        assert checkpoint.warnings == ()
        begin = checkpoint.data_begin
    data_nbytes = sum(array.nbytes for array in arrays.values())
    assert begin == path.stat().st_size - data_nbytes


def test_bytes_of_a_tensor_are_its_values(path, arrays):
    with open_checkpoint(path) as checkpoint:
        found = {
            name: read(checkpoint, entry) for name, entry in checkpoint.tensors.items()
        }

    assert found == {name: array.tobytes() for name, array in arrays.items()}


def test_range_inside_a_tensor_is_read(path, arrays):
    with open_checkpoint(path) as checkpoint:
        part = read(checkpoint, checkpoint.tensors["b.weight"], 10, 100)

    assert part == arrays["b.weight"].tobytes()[10:100]


def test_threads_read_at_once(path, arrays):
    with open_checkpoint(path) as checkpoint, ThreadPoolExecutor(8) as pool:
        entry = checkpoint.tensors["b.weight"]
        parts = list(
            pool.map(lambda at: read(checkpoint, entry, at, at + 4), range(0, 256, 4))
        )

    assert b"".join(parts) == arrays["b.weight"].tobytes()


@pytest.mark.parametrize(("begin", "end"), [(-1, 1), (0, 257), (256, 257), (300, 301)])
def test_range_that_leaves_the_tensor_is_the_callers_mistake(path, begin, end):
    with (
        open_checkpoint(path) as checkpoint,
        pytest.raises(ValueError, match=r"b\.weight"),
    ):
        read(checkpoint, checkpoint.tensors["b.weight"], begin, end)


def test_what_was_read_cannot_be_edited_by_mistake(path):
    with open_checkpoint(path) as checkpoint:
        with pytest.raises(TypeError):
            checkpoint.tensors["x"] = None
        with pytest.raises(TypeError):
            checkpoint.metadata["x"] = "y"


def test_file_changed_while_open_is_noticed(path):
    with open_checkpoint(path) as checkpoint:
        checkpoint.check_unchanged()
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(InputError) as caught:
            checkpoint.check_unchanged()

    assert caught.value.code == "input-changed"


@pytest.mark.parametrize("name", ["m.ckpt", "m.pt", "m.pth", "m.bin", "m.PKL"])
def test_pickled_file_is_known_by_its_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x80\x02}q\x00.")

    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)

    assert caught.value.code == "format"
    assert "bare pickle" in str(caught.value)


@pytest.mark.parametrize("name", ["m.ckpt", "m.pt", "m.safetensors", "m"])
def test_pickled_file_is_known_by_its_first_bytes(tmp_path, name):
    path = tmp_path / name
    torch.save({"w": torch.arange(3.0)}, path)

    with open_checkpoint(path) as checkpoint:
        assert isinstance(checkpoint, PickledCheckpoint)
        assert read(checkpoint, checkpoint.tensors["w"]) == bytes(6) + bytes.fromhex(
            "803f00000040"
        )


def test_stubs_are_asked_for_by_name(tmp_path):
    path = tmp_path / "m.ckpt"
    torch.save({"state_dict": {"w": torch.ones(1)}, "lr": np.float64(1)}, path)

    with pytest.raises(CheckpointError, match="asks to call"):
        open_checkpoint(path)

    with open_checkpoint(path, stub_globals=True) as checkpoint:
        assert list(checkpoint.tensors) == ["w"]


@pytest.mark.parametrize(
    ("open_it", "name"),
    [
        (open_checkpoint, "model.safetensors"),
        (open_checkpoint, "m.ckpt"),
        (open_safetensors, "model.safetensors"),
    ],
)
def test_what_was_sniffed_is_what_is_read_since_the_file_is_opened_once(
    path, tmp_path, monkeypatch, open_it, name
):
    torch.save({"w": torch.arange(3.0)}, tmp_path / "m.ckpt")
    opens, real = [], os.open
    monkeypatch.setattr(
        os, "open", lambda file, *rest: opens.append(file) or real(file, *rest)
    )

    open_it(path.with_name(name)).close()

    assert opens.count(path.with_name(name)) == 1


@pytest.mark.parametrize("name", ["m.ckpt", "m.safetensors"])
def test_pickled_file_is_refused_where_one_safetensors_file_is_needed(tmp_path, name):
    torch.save({"w": torch.arange(3.0)}, tmp_path / name)

    with pytest.raises(InputError) as caught:
        open_safetensors(tmp_path / name)

    assert caught.value.code == "pickled-checkpoint"
    assert "safetensors" in caught.value.hint


def test_safetensors_file_under_a_wrong_suffix_is_named(path, tmp_path):
    wrong = path.rename(tmp_path / "model.ckpt")

    with pytest.raises(CheckpointError, match="safetensors file under another suffix"):
        open_checkpoint(wrong)


@pytest.mark.parametrize(
    ("name", "code"), [("none.safetensors", "not-found"), ("none.ckpt", "not-found")]
)
def test_missing_checkpoint_is_not_found(tmp_path, name, code):
    with pytest.raises(InputError) as caught:
        open_checkpoint(tmp_path / name)

    assert caught.value.code == code


def test_folder_is_not_a_checkpoint(tmp_path):
    with pytest.raises(InputError) as caught:
        open_checkpoint(tmp_path)

    assert caught.value.code == "not-a-file"


@pytest.mark.parametrize("open_it", [open_checkpoint, open_safetensors])
@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
def test_refused_file_is_closed(tmp_path, name, open_it):
    path = tmp_path / name
    path.write_bytes(bytes(100))
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(CheckpointError):
        open_it(path)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
