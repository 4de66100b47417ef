"""Any range of a change, read on any thread, holds the same bytes."""

import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from release.errors import InputError, ValueRangeError
from release.formats.lora import checkpoint as lora_checkpoint
from release.formats.lora.places import Place

NAMES = {
    "lora.weight": (Place("lora"),),
    "core.weight": (Place("core"),),
    "loha.weight": (Place("loha"),),
    "lokr.weight": (Place("lokr"),),
    "full.weight": (Place("full"),),
    "q.weight": (Place("packed", 0, 3),),
    "v.weight": (Place("packed", 2, 3),),
    "turned.weight": (Place("turned", transposed=True),),
}
MODEL = {
    "lora": (37, 50),
    "core": (20, 7, 3, 3),
    "loha": (30, 44),
    "lokr": (24, 35),
    "full": (19, 23),
    "packed": (30, 21),
    "turned": (18, 26),
}


@pytest.fixture
def tensors(draw, stored):
    shapes = {
        "lora.lora_up.weight": (37, 9),
        "lora.lora_down.weight": (9, 50),
        "core.lora_up.weight": (20, 4, 1, 1),
        "core.lora_mid.weight": (4, 4, 3, 3),
        "core.lora_down.weight": (4, 7, 1, 1),
        "loha.hada_w1_a": (30, 5),
        "loha.hada_w1_b": (5, 44),
        "loha.hada_w2_a": (30, 5),
        "loha.hada_w2_b": (5, 44),
        "lokr.lokr_w1": (8, 5),
        "lokr.lokr_w2_a": (3, 2),
        "lokr.lokr_w2_b": (2, 7),
        "full.diff": (19, 23),
        "q.lora_up.weight": (10, 2),
        "q.lora_down.weight": (2, 21),
        "v.diff": (10, 21),
        "turned.lora_up.weight": (26, 3),
        "turned.lora_down.weight": (3, 18),
    }
    made = {name: stored(draw(shape)) for name, shape in shapes.items()}
    return {**made, "lora.alpha": np.array(3.5, "<f4")}


@pytest.fixture
def lora(kit, tensors):
    with kit.open(tensors, MODEL, NAMES) as opened:
        yield opened


@pytest.mark.parametrize("name", sorted(MODEL))
@pytest.mark.parametrize("block", [1, 64, 2**18])
def test_ranges_of_bytes_are_those_of_the_whole(kit, lora, name, block, monkeypatch):
    whole = kit.whole(lora, name).tobytes()
    monkeypatch.setattr(lora_checkpoint, "_BLOCK_ELEMENTS", block)
    random = np.random.default_rng(8)
    places = np.sort(random.integers(0, len(whole) + 1, (25, 2)), axis=1)

    for start, stop in [*places.tolist(), (0, 1), (len(whole) - 1, len(whole))]:
        buffer = bytearray(stop - start)
        lora.read_into(lora.tensors[name], start, memoryview(buffer))
        assert bytes(buffer) == whole[start:stop]


@pytest.fixture
def often_switching():
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("often_switching")
@pytest.mark.parametrize("n_threads", [2, 8])
def test_threads_read_the_same_bytes(kit, lora, n_threads):
    expected = {name: kit.whole(lora, name).tobytes() for name in MODEL}
    barrier = threading.Barrier(n_threads)

    def read_all(number):
        barrier.wait()
        found = {}
        names = sorted(MODEL)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            entry = lora.tensors[name]
            buffer = bytearray(entry.nbytes)
            for start in range(0, entry.nbytes, 700):
                part = memoryview(buffer)[start : start + 700]
                lora.read_into(entry, start, part)
            found[name] = bytes(buffer)
        return found

    with ThreadPoolExecutor(n_threads) as pool:
        for found in pool.map(read_all, range(n_threads)):
            assert found == expected


def test_every_thread_keeps_the_factors_of_its_own_tensor(kit, lora, monkeypatch):
    prepared = []
    prepare = lora_checkpoint._prepare
    monkeypatch.setattr(
        lora_checkpoint,
        "_prepare",
        lambda base, target: prepared.append(target) or prepare(base, target),
    )

    with ThreadPoolExecutor(1) as other:
        kit.whole(lora, "lora")
        other.submit(kit.whole, lora, "full").result()
        kit.whole(lora, "lora")
        other.submit(kit.whole, lora, "full").result()

    assert [target.entry.name for target in prepared] == ["lora", "full"]


def test_empty_range_reads_nothing(lora):
    lora.read_into(lora.tensors["lora"], 8, memoryview(bytearray()))


@pytest.mark.parametrize(
    ("offset", "count"), [(-1, 4), (0, 37 * 50 * 4 + 1), (7397, 4)]
)
def test_range_that_leaves_the_tensor_is_refused(lora, offset, count):
    with pytest.raises(ValueError, match="tensor lora: bytes"):
        lora.read_into(lora.tensors["lora"], offset, memoryview(bytearray(count)))


def test_large_change_is_never_in_memory(kit):
    up, down = np.ones((4096, 2), "<f2"), np.ones((2, 4096), "<f2")
    tensors = {"m.lora_up.weight": up, "m.lora_down.weight": down}
    buffer = memoryview(bytearray(2**24))

    with kit.open(tensors, {"w.weight": (4096, 4096)}) as lora:
        entry = lora.tensors["w.weight"]
        tracemalloc.start()
        for start in range(0, entry.nbytes, len(buffer)):
            lora.read_into(entry, start + 4, buffer[: entry.nbytes - start - 4])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert entry.nbytes == 64 * 2**20
    assert peak < 8 * 2**20


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["m.lora_up.weight", "m.lora_down.weight"])
def test_factor_that_is_not_finite_is_named(kit, name, value):
    tensors = {
        "m.lora_up.weight": np.ones((3, 2), "<f2"),
        "m.lora_down.weight": np.ones((2, 3), "<f2"),
    }
    tensors[name].flat[4] = value

    with (
        kit.open(tensors, {"w.weight": (3, 3)}) as lora,
        pytest.raises(ValueRangeError, match=f"{name} is .* at element 4") as caught,
    ):
        kit.whole(lora, "w.weight")

    assert caught.value.code == "not-finite"


def test_difference_that_is_not_finite_is_named_by_its_place_in_the_tensor(kit):
    diff = np.ones((3, 3), "<f4")
    diff[2, 1] = np.nan

    with (
        kit.open({"m.diff": diff}, {"w.weight": (3, 3)}) as lora,
        pytest.raises(ValueRangeError, match=r"m\.diff is nan at element 7"),
    ):
        lora.read_into(lora.tensors["w.weight"], 24, memoryview(bytearray(12)))


def test_change_beyond_f32_is_infinite_without_a_warning(kit):
    factor = np.full((1, 1), 3e38, "<f4")

    found = kit.change(
        {"m.lora_up.weight": factor, "m.lora_down.weight": factor}, (1, 1)
    )

    assert np.isposinf(found).all()


def test_file_that_is_cut_while_open_is_an_error(kit, lora):
    kit.path.write_bytes(kit.path.read_bytes()[:2000])

    with pytest.raises(InputError) as changed:
        lora.check_unchanged()
    with pytest.raises(InputError):
        kit.whole(lora, "turned")

    assert changed.value.code == "input-changed"


def test_second_close_does_nothing(lora):
    lora.close()
    lora.close()


def test_pickled_lora_gives_the_same_change(kit, draw, tmp_path):
    up, down = draw((5, 2)).astype("<f2"), draw((2, 7)).astype("<f2")
    tensors = {"m.lora_up.weight": up, "m.lora_down.weight": down}
    expected = kit.change(tensors, (5, 7))
    kit.path = tmp_path / "style.pt"
    kit.write = lambda *_: (
        torch.save(
            {name: torch.from_numpy(array) for name, array in tensors.items()}, kit.path
        )
        or kit.path
    )

    assert (kit.change(tensors, (5, 7)) == expected).all()
