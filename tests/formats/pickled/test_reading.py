"""The bytes of tensors: any range, any view, either byte order, each verified once."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from release.errors import CheckpointError, InputError
from release.formats.input import InputFile
from release.formats.pickled import gather
from release.formats.pickled.checkpoint import PickledCheckpoint

SHAPE = (24, 10)
NUMBERS = np.arange(240, dtype="<f4").reshape(SHAPE)
VIEWS = {
    "plain": (0, SHAPE, (10, 1)),
    "slice": (30, (5, 10), (10, 1)),
    "turned": (0, (10, 24), (1, 10)),
    "every other": (3, (12, 4), (20, 2)),
    "expanded": (7, (6, 10), (0, 1)),
    "overlapping": (0, (200, 5), (1, 1)),
    "three": (0, (4, 5, 12), (60, 2, 1)),
    "one": (100, (), ()),
    "empty": (240, (0, 3), (3, 1)),
}


def expected(offset, shape, strides, numbers=NUMBERS):
    flat = numbers.reshape(-1)[offset:]
    width = numbers.itemsize
    return np.lib.stride_tricks.as_strided(flat, shape, [width * s for s in strides])


def views_file(kit, numbers=NUMBERS, kind="torch.FloatStorage", **options):
    of = kit.storage(kind, numel=numbers.size)
    value = kit.mapping(
        *((name, kit.tensor(of, *view)) for name, view in VIEWS.items())
    )
    return kit.file(value, {"0": numbers.tobytes()}, **options)


@pytest.mark.parametrize("step", [1, 7, 64, 100, 10_000])
@pytest.mark.parametrize("name", VIEWS)
def test_view_is_read_in_parts_of_any_size(kit, opened, data_of, name, step):
    checkpoint = opened(views_file(kit))

    found = data_of(checkpoint, name, step)

    assert found == expected(*VIEWS[name]).tobytes()


def test_big_endian_values_are_swapped(kit, opened, data_of):
    content = views_file(kit, NUMBERS.astype(">f4"), byteorder=b"big")
    checkpoint = opened(content)

    assert checkpoint.warnings[0].startswith("byteorder:")
    for name, view in VIEWS.items():
        for step in (3, 10_000):
            assert data_of(checkpoint, name, step) == expected(*view).tobytes()
    checkpoint.check_unchanged()


@pytest.mark.parametrize(
    ("kind", "stored", "wanted"),
    [
        ("torch.ByteStorage", b"\1\2\3\4\5\6\7\10", b"\1\2\3\4\5\6\7\10"),
        ("torch.HalfStorage", b"\1\2\3\4\5\6\7\10", b"\2\1\4\3\6\5\10\7"),
        ("torch.LongStorage", b"\1\2\3\4\5\6\7\10", b"\10\7\6\5\4\3\2\1"),
        ("torch.ComplexFloatStorage", b"\1\2\3\4\5\6\7\10", b"\4\3\2\1\10\7\6\5"),
    ],
)
def test_each_width_is_swapped_by_itself(kit, opened, data_of, kind, stored, wanted):
    size = {"Byte": 8, "Half": 4, "Long": 1, "Comp": 1}[kind[6:10]]
    value = kit.mapping(("w", kit.tensor(kit.storage(kind, numel=size), shape=(size,))))

    checkpoint = opened(kit.file(value, {"0": stored}, byteorder=b"big"))

    assert data_of(checkpoint, "w") == wanted


@pytest.mark.parametrize(("begin", "end"), [(-1, 1), (0, 17), (16, 17), (20, 21)])
def test_range_that_leaves_the_tensor_is_the_callers_mistake(kit, opened, begin, end):
    checkpoint = opened(kit.file(kit.GOOD))

    with pytest.raises(ValueError, match="tensor w"):
        checkpoint.read_into(
            checkpoint.tensors["w"], begin, memoryview(bytearray(end - begin))
        )


def test_threads_read_all_views_at_once(kit, opened, data_of):
    checkpoint = opened(views_file(kit))

    with ThreadPoolExecutor(8) as pool:
        names = list(VIEWS) * 6
        found = list(pool.map(lambda name: data_of(checkpoint, name, 12), names))

    assert found == [expected(*VIEWS[name]).tobytes() for name in names]
    checkpoint.check_unchanged()


def test_spread_tensor_that_is_given_up_blocks_nobody(kit, opened, data_of):
    checkpoint = opened(views_file(kit))
    checkpoint.read_into(checkpoint.tensors["turned"], 0, memoryview(bytearray(4)))

    begin = time.monotonic()
    found = data_of(checkpoint, "every other")

    assert found == expected(*VIEWS["every other"]).tobytes()
    assert time.monotonic() - begin < 5


def test_one_spread_tensor_at_a_time_is_in_memory(kit, opened, data_of, monkeypatch):
    monkeypatch.setattr(gather, "_IDLE_SECONDS", 60)
    checkpoint = opened(views_file(kit))
    first = checkpoint.tensors["turned"]
    checkpoint.read_into(first, 0, memoryview(bytearray(4)))
    other = threading.Thread(target=data_of, args=(checkpoint, "every other"))
    other.start()

    other.join(0.2)
    was_waiting = other.is_alive()
    checkpoint.read_into(first, 4, memoryview(bytearray(first.nbytes - 4)))
    other.join(10)

    assert was_waiting
    assert not other.is_alive()


def damaged(content, at):
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


@pytest.fixture
def two(kit):
    """Two tensors of one record, one of another; where the records' data begins."""
    records = {"0": bytes(range(100, 200)), "1": bytes(range(200, 240))}
    of = kit.storage(numel=25)
    value = kit.mapping(
        ("a", kit.tensor(of, 0, (10,))),
        ("b", kit.tensor(of, 12, (5,))),
        ("c", kit.tensor(kit.storage(key="1", numel=10), shape=(10,))),
    )
    content = kit.file(value, records)
    return content, content.index(records["0"]), content.index(records["1"])


def test_damaged_record_is_found_while_it_is_read(two, opened, data_of):
    content, _, begin = two
    checkpoint = opened(damaged(content, begin + 39))

    with pytest.raises(CheckpointError) as caught:
        data_of(checkpoint, "c", 16)

    assert caught.value.code == "crc"
    assert "data of c: CRC-32" in str(caught.value)


@pytest.mark.parametrize("at", [0, 39, 44, 48, 67, 99])
def test_damage_beside_the_views_of_a_record_is_found_too(two, opened, data_of, at):
    content, begin, _ = two
    checkpoint = opened(damaged(content, begin + at))
    data_of(checkpoint, "a")
    data_of(checkpoint, "b")

    with pytest.raises(CheckpointError) as caught:
        checkpoint.check_unchanged()

    assert caught.value.code == "crc"
    assert "data of a, b" in str(caught.value)


def test_all_damaged_records_are_told_at_once(two, opened):
    content, first, second = two
    checkpoint = opened(damaged(damaged(content, first), second))

    with pytest.raises(CheckpointError, match="data of a, b, c"):
        checkpoint.check_unchanged()


def test_damage_of_a_spread_tensor_is_found(kit, opened, data_of):
    value = kit.mapping(("w", kit.tensor(strides=(1, 2))))
    content = kit.file(value)
    checkpoint = opened(damaged(content, content.index(bytes(range(16)))))

    with pytest.raises(CheckpointError, match="data of w"):
        data_of(checkpoint, "w")


@pytest.fixture
def counted(monkeypatch):
    """The sizes of all readings of files, as they happen."""
    counts = []
    real = InputFile.read_into

    def count(file, offset, buffer):
        counts.append(buffer.nbytes)
        real(file, offset, buffer)

    monkeypatch.setattr(InputFile, "read_into", count)
    return counts


def test_each_byte_is_read_once_when_tensors_are_read_in_order(
    two, opened, data_of, counted
):
    content, _, _ = two
    checkpoint = opened(content)

    data_of(checkpoint, "c", 8)
    checkpoint.check_unchanged()
    assert sum(counted) == 140
    data_of(checkpoint, "a", 8)
    checkpoint.check_unchanged()
    assert sum(counted) == 180


def test_parts_that_overlap_leave_nothing_to_read_again(two, opened, counted):
    content, _, _ = two
    checkpoint = opened(content)
    entry = checkpoint.tensors["c"]

    checkpoint.read_into(entry, 0, memoryview(bytearray(24)))
    checkpoint.read_into(entry, 16, memoryview(bytearray(24)))
    checkpoint.check_unchanged()

    assert sum(counted) == 24 + 24 + 100


BACK_AND_FORTH = (*range(36, -4, -4), *range(0, 40, 4), 2, 11)


def test_records_read_backwards_or_twice_are_verified_without_another_reading(
    two, opened, counted
):
    content, _, _ = two
    checkpoint = opened(content)
    entry = checkpoint.tensors["c"]

    for offset in BACK_AND_FORTH:
        part = bytearray(4)
        checkpoint.read_into(entry, offset, memoryview(part))
        assert part == bytes(range(200 + offset, 204 + offset))
    checkpoint.check_unchanged()

    assert sum(counted) == 4 * len(BACK_AND_FORTH) + 100


def test_damage_is_found_in_whatever_order_a_record_is_read(two, opened):
    content, _, begin = two
    checkpoint = opened(damaged(content, begin + 38))
    entry = checkpoint.tensors["c"]

    def read_all():
        for offset in BACK_AND_FORTH:
            checkpoint.read_into(entry, offset, memoryview(bytearray(4)))

    with pytest.raises(CheckpointError, match="data of c: CRC-32") as caught:
        read_all()

    assert caught.value.code == "crc"


def test_record_without_a_crc_is_read_with_a_warning(kit, opened, data_of):
    entries = kit.changed(kit.members(kit.GOOD), "data/0", crc=0)
    checkpoint = opened(kit.archive(entries))

    assert data_of(checkpoint, "w") == bytes(range(16))
    assert checkpoint.warnings[0].startswith("no-crc: 1 records")
    checkpoint.check_unchanged()


def test_file_that_changes_meanwhile_is_noticed(two, opened):
    content, _, begin = two
    checkpoint = opened(content)
    with checkpoint.path.open("r+b") as file:
        file.seek(begin)
        file.write(b"x")

    with pytest.raises(InputError) as caught:
        checkpoint.check_unchanged()

    assert caught.value.code == "input-changed"


def test_file_that_is_cut_meanwhile_is_noticed(two, opened, data_of):
    content, _, begin = two
    checkpoint = opened(content)
    os.truncate(checkpoint.path, begin)

    with pytest.raises(InputError) as caught:
        data_of(checkpoint, "c")

    assert caught.value.code == "input-changed"


def test_checkpoint_says_what_it_is(kit, opened, tmp_path):
    with opened(kit.file(kit.GOOD)) as checkpoint:
        assert checkpoint.path == tmp_path / "m.ckpt"
        assert checkpoint.files == (checkpoint.path,)
        assert checkpoint.nbytes == checkpoint.path.stat().st_size
        assert dict(checkpoint.metadata) == {}
        with pytest.raises(TypeError):
            checkpoint.tensors["x"] = None
    checkpoint.close()


def sparse_file(kit, path):
    """A record of more than 4 GiB, all hole, and a small one behind it."""
    nbytes = 2**32 + 64
    large = kit.storage("torch.ByteStorage", key="1", numel=nbytes)
    value = kit.mapping(
        ("large", kit.tensor(large, shape=(nbytes,))), ("small", kit.tensor())
    )
    head = kit.members(value)
    pickled, others = head[:1], head[1:]
    hole = kit.Entry("m/data/1", b"", nbytes=nbytes, crc=0)
    with path.open("wb") as file:
        directory = []
        for entry in (*pickled, hole, *others):
            place = file.tell()
            directory.append(kit.central_record(entry, place))
            record = kit.local_record(entry, place)
            if entry is hole:
                record = record[:38]
            file.write(record)
            if entry is hole:
                file.seek(nbytes, os.SEEK_CUR)
        place, raw = file.tell(), b"".join(directory)
        file.write(raw + kit.end_records(len(directory), len(raw), place, wide=True))
    return nbytes


def test_record_of_more_than_4_gib_is_read(kit, tmp_path, data_of):
    path = tmp_path / "large.pt"
    nbytes = sparse_file(kit, path)

    with PickledCheckpoint(path) as checkpoint:
        assert checkpoint.tensors["large"].nbytes == nbytes
        assert data_of(checkpoint, "small") == bytes(range(16))
        end = bytearray(b"x" * 100)
        checkpoint.read_into(checkpoint.tensors["large"], nbytes - 100, memoryview(end))
        checkpoint.check_unchanged()

    assert end == bytes(100)
    assert path.stat().st_size > 2**32
    assert path.stat().st_blocks * 512 < 2**20
