"""Checkpoints cut into several files, with an index and without."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from release.errors import CheckpointError, InputError
from release.formats import sharded as sharded_module
from release.formats.open import open_checkpoint
from release.formats.sharded import (
    ShardedCheckpoint,
    encode_index,
    is_index_name,
    is_shard_name,
)

INDEX = "model.safetensors.index.json"
FIRST, SECOND = (f"model-0000{n}-of-00002.safetensors" for n in (1, 2))


def values(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


SHARDS = {
    FIRST: {"b.weight": values(1, 8, 4), "a.bias": values(2, 3).astype(np.float16)},
    SECOND: {"c": values(3, 5), "ids": np.arange(7)},
}
ARRAYS = {name: array for shard in SHARDS.values() for name, array in shard.items()}
WEIGHT_MAP = {name: shard for shard, arrays in SHARDS.items() for name in arrays}


def save(folder, shards=SHARDS, metadata=()):
    for name, arrays in shards.items():
        path = folder / name
        safetensors.numpy.save_file(arrays, path, dict(metadata).get(name))


def index(folder, weight_map=WEIGHT_MAP, name=INDEX):
    path = folder / name
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=2))
    return path


def read(checkpoint, name, begin=0, end=None):
    entry = checkpoint.tensors[name]
    buffer = bytearray((entry.nbytes if end is None else end) - begin)
    checkpoint.read_into(entry, begin, memoryview(buffer))
    return bytes(buffer)


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        ShardedCheckpoint(path)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


@pytest.fixture
def folder(tmp_path):
    save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [INDEX, "model.safetensors.index.fp16.json"])
def test_index_gives_all_tensors_of_its_shards(folder, name):
    path = index(folder, name=name)

    with ShardedCheckpoint(path) as checkpoint:
        found = {name: read(checkpoint, name) for name in checkpoint.tensors}

        assert found == {name: array.tobytes() for name, array in ARRAYS.items()}
        assert checkpoint.path == checkpoint.index_path == path
        assert checkpoint.files == (path, folder / FIRST, folder / SECOND)
        sizes = [(folder / shard).stat().st_size for shard in SHARDS]
        assert checkpoint.nbytes == sum(sizes)
        assert checkpoint.file_of("c") == folder / SECOND
        assert checkpoint.tensors["b.weight"].shape == (8, 4)


@pytest.mark.parametrize("given", [FIRST, SECOND])
def test_any_numbered_shard_stands_for_all(folder, given):
    with ShardedCheckpoint(folder / given) as checkpoint:
        found = {name: read(checkpoint, name) for name in checkpoint.tensors}

        assert found == {name: array.tobytes() for name, array in ARRAYS.items()}
        assert checkpoint.files == (folder / FIRST, folder / SECOND)
        assert checkpoint.path == folder / given
        assert checkpoint.index_path is None


def test_entries_lie_one_after_the_other_in_the_order_of_the_shards(folder):
    with ShardedCheckpoint(index(folder)) as checkpoint:
        entries = list(checkpoint.tensors.values())

    assert [entry.name for entry in entries] == ["b.weight", "a.bias", "ids", "c"]
    assert [entry.begin for entry in entries] == [0, 128, 134, 190]
    assert [entry.end for entry in entries] == [128, 134, 190, 210]


def test_part_of_a_tensor_is_read_by_several_threads(folder):
    with (
        ShardedCheckpoint(folder / FIRST) as checkpoint,
        ThreadPoolExecutor(8) as pool,
    ):
        parts = list(
            pool.map(lambda at: read(checkpoint, "ids", at, at + 2), range(0, 56, 2))
        )

    assert b"".join(parts) == ARRAYS["ids"].tobytes()


def test_equal_metadata_is_kept_and_differing_is_named(folder):
    save(
        folder,
        metadata={
            FIRST: {"format": "pt", "step": "1", "one": "x"},
            SECOND: {"format": "pt", "step": "2"},
        },
    )

    with ShardedCheckpoint(folder / FIRST) as checkpoint:
        assert dict(checkpoint.metadata) == {"format": "pt", "one": "x"}
        (warning,) = checkpoint.warnings

    assert warning.startswith("metadata: ")
    assert "step" in warning


def test_warning_of_a_shard_names_the_shard(folder):
    save(folder, {SECOND: {**SHARDS[SECOND], "odd\u202ename": values(4, 1)}})

    with ShardedCheckpoint(folder / FIRST) as checkpoint:
        (warning,) = checkpoint.warnings

    assert warning.startswith(f"name: {SECOND}: ")


def test_shard_behind_a_symlink_is_read(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    save(blobs)
    for shard in SHARDS:
        (snapshot / shard).symlink_to(blobs / shard)

    with ShardedCheckpoint(index(snapshot)) as checkpoint:
        assert read(checkpoint, "c") == ARRAYS["c"].tobytes()


def test_change_of_any_shard_is_noticed(folder):
    with ShardedCheckpoint(index(folder)) as checkpoint:
        checkpoint.check_unchanged()
        os.truncate(folder / SECOND, 100)
        with pytest.raises(InputError) as caught:
            checkpoint.check_unchanged()

    assert caught.value.code == "input-changed"
    assert SECOND in str(caught.value)


@pytest.mark.parametrize(
    "shard",
    [
        "../outside.safetensors",
        "/etc/x.safetensors",
        "sub/x.safetensors",
        "..",
        "",
        "x.bin",
        "a\\b.safetensors",
        "c:x.safetensors",
        "x\u202e.safetensors",
        "con.safetensors",
    ],
)
def test_shard_name_that_is_no_plain_file_name_is_refused(folder, shard):
    error = refusal(index(folder, {**WEIGHT_MAP, "b.weight": shard}))

    assert error.code == "shard-name"


def test_shard_names_that_differ_in_case_only_are_refused(folder):
    error = refusal(index(folder, {**WEIGHT_MAP, "c": FIRST.upper().lower().title()}))

    assert error.code == "shard-name"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"metadata": {}}', "index"),
        (b'{"weight_map": {}}', "index"),
        (b'{"weight_map": ["a"]}', "index"),
        (b'{"weight_map": {"a": 1}}', "index"),
        (b'{"weight_map": {"a": null}}', "index"),
        (b'{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "json"),
        (b'{"weight_map": {"a": "\xff"}}', "json"),
        (b'{"weight_map": {"a": NaN}}', "json"),
        (b"[1]", "json"),
        (b"", "json"),
        (b"[" * 100_000, "json"),
        (b'{"weight_map":' * 100_000, "json"),
    ],
)
def test_index_that_is_no_strict_map_is_refused(folder, content, code):
    path = folder / INDEX
    path.write_bytes(content)

    assert refusal(path).code == code


def test_index_beyond_the_limit_is_refused_unread(folder, monkeypatch):
    monkeypatch.setattr(sharded_module, "INDEX_NBYTES_MAX", 50)

    error = refusal(index(folder))

    assert error.code == "json-too-large"
    assert "at most 50" in str(error)


def test_missing_shards_are_all_named(folder):
    (folder / FIRST).unlink()

    from_index = refusal(index(folder))
    from_shard = refusal(folder / SECOND)

    assert [from_index.code, from_shard.code] == ["shard-missing"] * 2
    assert FIRST in str(from_index)
    assert "1 of 2 shards" in str(from_shard)


def test_tensor_that_its_shard_lacks_is_named(folder):
    error = refusal(index(folder, {**WEIGHT_MAP, "gone": SECOND}))

    assert error.code == "index-tensors"
    assert "gone" in str(error)
    assert SECOND in str(error)


def test_tensor_in_another_shard_than_the_index_says_is_named(folder):
    error = refusal(index(folder, {**WEIGHT_MAP, "c": FIRST}))

    assert error.code == "index-tensors"
    assert "1 tensors are not in the file that the index names: c" in str(error)


def test_tensor_that_the_index_lacks_is_named(folder):
    rest = {name: shard for name, shard in WEIGHT_MAP.items() if name != "ids"}

    error = refusal(index(folder, rest))

    assert error.code == "index-tensors"
    assert "not in the index: ids" in str(error)


def test_name_in_two_shards_is_refused(folder):
    save(folder, {SECOND: {**SHARDS[SECOND], "b.weight": values(1, 8, 4)}})

    for path in (index(folder), folder / FIRST):
        error = refusal(path)
        assert error.code == "duplicate-tensor"
        assert "b.weight" in str(error)
        assert FIRST in str(error)
        assert SECOND in str(error)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("m-00003-of-00002.safetensors", "shard-number"),
        ("m-00000-of-00002.safetensors", "shard-number"),
        ("m-00001-of-00000.safetensors", "shard-number"),
        ("m-00001-of-99999.safetensors", "too-many-shards"),
        ("m.safetensors", "not-sharded"),
    ],
)
def test_impossible_number_is_refused(tmp_path, name, code):
    save(tmp_path, {name: SHARDS[FIRST]})

    assert refusal(tmp_path / name).code == code


def test_index_of_too_many_shards_is_refused(tmp_path):
    weight_map = {str(n): f"s{n}.safetensors" for n in range(513)}

    assert refusal(index(tmp_path, weight_map)).code == "too-many-shards"


def test_damaged_shard_is_refused_by_its_own_name_and_all_are_closed(folder):
    (folder / SECOND).write_bytes(b"\x08" + bytes(7) + b"{broken}")
    before = len(list(Path("/proc/self/fd").iterdir()))

    error = refusal(index(folder))

    assert error.code == "header-json"
    assert SECOND in str(error)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_refused_index_leaves_no_file_open(folder):
    path = index(folder, {**WEIGHT_MAP, "gone": SECOND})
    before = len(list(Path("/proc/self/fd").iterdir()))

    refusal(path)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_tensors_of_all_shards_count_together(folder, monkeypatch):
    monkeypatch.setattr("release.formats.joined.TENSORS_MAX", 3)

    assert refusal(folder / FIRST).code == "too-many-tensors"


def test_metadata_of_all_shards_counts_together(folder, monkeypatch):
    save(folder, metadata={FIRST: {"a": "x" * 60}, SECOND: {"b": "y" * 60}})
    monkeypatch.setattr("release.formats.joined.METADATA_NBYTES_MAX", 100)

    assert refusal(folder / FIRST).code == "metadata-size"


def test_shards_with_a_variant_before_or_behind_the_number_belong_together(tmp_path):
    for pattern in ("m.fp16-0000{}-of-00002{}", "m-0000{}-of-00002.fp16{}"):
        names = [pattern.format(n, ".safetensors") for n in (1, 2)]
        save(tmp_path, dict(zip(names, SHARDS.values(), strict=True)))

        with ShardedCheckpoint(tmp_path / names[1]) as checkpoint:
            assert checkpoint.tensors.keys() == ARRAYS.keys()


@pytest.mark.parametrize(
    ("name", "is_index", "is_shard"),
    [
        (INDEX, True, False),
        ("d.safetensors.index.fp16.json", True, False),
        ("d.safetensors.fp16.index.json", True, False),
        ("model_index.json", False, False),
        ("pytorch_model.bin.index.json", False, False),
        (FIRST, False, True),
        ("m.fp16-00001-of-00002.safetensors", False, True),
        ("m-00001-of-00002.fp16.safetensors", False, True),
        ("m-1-of-2.safetensors", False, False),
        ("m-00001-of-00002.bin", False, False),
        ("m.safetensors", False, False),
    ],
)
def test_names_say_what_a_file_is(name, is_index, is_shard):
    assert (is_index_name(name), is_shard_name(name)) == (is_index, is_shard)


def test_written_index_is_read_back(folder):
    path = folder / INDEX
    path.write_bytes(encode_index(WEIGHT_MAP, data_nbytes=210))

    with ShardedCheckpoint(path) as checkpoint:
        assert checkpoint.tensors.keys() == ARRAYS.keys()
    assert json.loads(path.read_text())["metadata"] == {"total_size": 210}


def test_folder_with_one_file_is_opened_as_that_file(tmp_path):
    safetensors.numpy.save_file({"a": values(1, 3)}, tmp_path / "model.safetensors")

    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.tensors.keys() == {"a"}


@pytest.mark.parametrize("indexed", [True, False])
def test_folder_of_shards_is_opened_as_the_checkpoint_in_it(tmp_path, indexed):
    for number in (1, 2):
        safetensors.numpy.save_file(
            {f"t{number}": values(number, 3)},
            tmp_path / f"m-0000{number}-of-00002.safetensors",
        )
    if indexed:
        places = {f"t{n}": f"m-0000{n}-of-00002.safetensors" for n in (1, 2)}
        (tmp_path / "m.safetensors.index.json").write_bytes(
            encode_index(places, data_nbytes=24)
        )

    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.tensors.keys() == {"t1", "t2"}


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([], "not-a-file"),
        (["a.safetensors", "b.safetensors"], "not-a-file"),
        (
            ["a-00001-of-00002.safetensors", "b-00001-of-00001.safetensors"],
            "ambiguous-shards",
        ),
        (["a.safetensors.index.json", "b.safetensors.index.json"], "ambiguous-shards"),
    ],
)
def test_folder_that_is_not_one_checkpoint_is_refused(tmp_path, names, code):
    for name in names:
        (tmp_path / name).touch()

    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path)

    assert caught.value.code == code
