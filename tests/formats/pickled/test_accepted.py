"""What is accepted: files of PyTorch and by hand, and PyTorch reads them just so."""

import collections
import struct

import pytest
import torch

from release.errors import CheckpointError
from release.formats.pickled.checkpoint import PickledCheckpoint

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu, torch.complex64, torch.int64, torch.int32, torch.int16,
    torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool,
]  # fmt: skip
CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0", "complex64": "C64", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16",
    "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def loaded_by_torch(path):
    """The state dict as PyTorch's own restricted loader gives it."""
    found = torch.load(  # noqa: TID251 - the oracle
        path, map_location="cpu", weights_only=True
    )
    for _ in range(2):
        inner = [found[key] for key in WRAPPERS if isinstance(found.get(key), dict)]
        found = inner[0] if inner else found
    return {key: value for key, value in found.items() if torch.is_tensor(value)}


WRAPPERS = (
    "state_dict",
    "model",
    "module",
    "model_state_dict",
    "params",
    "params_ema",
)


def facts_of(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    name = str(tensor.dtype).removeprefix("torch.")
    return CODES[name], tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()


def agreed(checkpoint, data_of):
    """Assert that both readers see the same; return the names."""
    ours = {
        name: (entry.dtype.code, entry.shape, data_of(checkpoint, name, 100))
        for name, entry in checkpoint.tensors.items()
    }
    theirs = loaded_by_torch(checkpoint.path)
    assert ours == {name: facts_of(tensor) for name, tensor in theirs.items()}
    checkpoint.check_unchanged()
    return set(ours)


@pytest.fixture
def saved(tmp_path, opened):
    """Save with PyTorch, open with krelease."""

    def save(value, name="saved.pt", **options):
        path = tmp_path / name
        torch.save(value, path, **options)
        return opened(path.read_bytes(), name)

    return save


def of_dtype(dtype, *shape):
    numbers = torch.arange(1, 1 + torch.Size(shape).numel())
    return (numbers % 2 if dtype is torch.bool else numbers).to(dtype).reshape(shape)


def test_tensors_of_every_dtype_are_read(saved, data_of):
    state = {str(dtype): of_dtype(dtype, 3, 5) for dtype in DTYPES}

    checkpoint = saved(state)

    assert agreed(checkpoint, data_of) == state.keys()
    assert checkpoint.warnings == ()


def test_tensors_of_every_shape_are_read(saved, data_of):
    shapes = [(), (0,), (1,), (2, 0, 3), (1, 7, 1), (2, 3, 4, 5), (1,) * 40, (2,) * 10]
    state = {str(shape): torch.rand(shape) for shape in shapes}

    assert agreed(saved(state), data_of) == state.keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_views_are_written_in_full(saved, data_of, dtype):
    base = of_dtype(dtype, 6, 4, 5)
    state = {
        "transposed": base.permute(2, 0, 1),
        "one matrix": base[3],
        "column": base[:, 1, 2],
        "every other": base[::2, :, 1::2],
        "expanded": base[:1].expand(7, 4, 5),
        "diagonal": base[0, :, :4].diagonal(),
        "unfolded": base.reshape(-1).unfold(0, 10, 3),
        "channels last": base.reshape(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "nothing": base[2:2],
    }

    checkpoint = saved(state)

    assert agreed(checkpoint, data_of) == state.keys()
    assert [line.split(":")[0] for line in checkpoint.warnings] == ["shared-storage"]


def test_slice_of_a_large_storage_is_read(saved, data_of):
    assert agreed(saved({"w": torch.rand(100_000)[500:510]}), data_of) == {"w"}


def test_tied_weights_are_both_written(saved, data_of):
    weight = torch.rand(4, 4)
    checkpoint = saved({"embed": weight, "head": weight, "turned": weight.t()})

    assert agreed(checkpoint, data_of) == {"embed", "head", "turned"}
    assert checkpoint.warnings[0].startswith("shared-storage: 3 tensors")


def test_modules_and_parameters_are_read(saved, data_of):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)

    assert len(agreed(saved(model.state_dict(), "a.pt"), data_of)) == 7
    parameters = {"a": torch.nn.Parameter(torch.ones(2)), "b": frozen}
    assert agreed(saved(parameters, "b.pt"), data_of) == {"a", "b"}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_training_checkpoint_is_unwrapped(saved, data_of, wrapper):
    model = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(model.parameters())
    model(torch.ones(3)).sum().backward()
    adam.step()
    state = {
        wrapper: model.state_dict(),
        "optimizer_states": [adam.state_dict()],
        "epoch": 3,
        "lr": 1e-4,
        "shape": torch.Size([1, 2]),
        "dtype": torch.float8_e5m2,
        "device": torch.device("cuda"),
        "tags": {"a": [1, "x", None, (2.5, True)], 3: 2**70},
    }

    checkpoint = saved(state, "m.ckpt")

    assert agreed(checkpoint, data_of) == {"weight", "bias"}
    assert [line.split(":")[0] for line in checkpoint.warnings] == ["dropped"]


def test_ordered_state_dict_with_odd_names_is_read(saved, data_of):
    names = ["", "ä.weight", "../../x", "a\nb", "\u202e", "x" * 1024, "日本"]
    state = collections.OrderedDict((name, torch.rand(2)) for name in names)

    assert agreed(saved(state), data_of) == set(names)


def test_tensors_are_in_the_order_of_their_bytes(saved):
    state = {f"w{i}": torch.rand(7 - i) for i in range(7)}

    entries = list(saved(dict(reversed(state.items()))).tensors.values())

    assert [entry.name for entry in entries] == list(reversed(state))
    ends = [0, *(entry.end for entry in entries)]
    assert [entry.begin for entry in entries] == ends[:-1]


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_two_ways_to_write_are_refused_by_name(tmp_path, saved):
    with pytest.raises(CheckpointError, match=r"before 1\.6"):
        saved({"w": torch.rand(2)}, _use_new_zipfile_serialization=False)

    script = torch.jit.script(torch.nn.Linear(2, 2))
    script.save(tmp_path / "script.pt")
    with pytest.raises(CheckpointError) as caught:
        PickledCheckpoint(tmp_path / "script.pt")
    assert caught.value.code == "torchscript"


REFUSED = {
    "sparse": (lambda: torch.eye(3).to_sparse(), "layout"),
    "csr": (lambda: torch.eye(3).to_sparse_csr(), "layout"),
    "meta": (lambda: torch.ones(3, device="meta"), "meta"),
    "complex128": (lambda: torch.ones(3, dtype=torch.complex128), "dtype"),
    "conjugate": (lambda: torch.ones(3, dtype=torch.complex64).conj(), "layout"),
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
        "dtype",
    ),
    "negative": (lambda: torch.ones(3, dtype=torch.complex64).conj().imag, "layout"),
    "list": (lambda: [torch.ones(3)], "structure"),
    "module": (lambda: torch.nn.Linear(2, 2), "global"),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:.*deprecated")
@pytest.mark.parametrize("case", REFUSED)
def test_tensor_that_is_no_plain_array_is_refused(saved, case):
    make, code = REFUSED[case]

    with pytest.raises(CheckpointError) as caught:
        saved({"w": make()})

    # A module's class is met before the opcode that would make one of it.
    assert caught.value.code == code


def with_members(*extra, **changes):
    """A case: the usual members, more of them, and end record changes."""
    return lambda k: k.archive(
        [*k.members(k.GOOD), *(k.Entry(name, data) for name, data in extra)], **changes
    )


def one_changed(member, **changes):
    return lambda k: k.archive(k.changed(k.members(k.GOOD), member, **changes))


ODD = {
    "comment": (with_members(comment=b"hello"), "zip-member"),
    "bytes behind": (with_members(trailing=b"\0" * 100), "trailing-bytes"),
    "code": (with_members(("m/code/x.py", b"evil")), "zip-member"),
    "unused record": (
        lambda k: k.file(k.GOOD, {"0": bytes(16), "1": b""}), "zip-member"
    ),
    "no checksum": (one_changed("data/0", crc=0), "no-crc"),
    "big-endian": (lambda k: k.file(k.GOOD, byteorder=b"big"), "byteorder"),
    "unknown device": (
        lambda k: k.file(k.mapping(("w", k.tensor(k.storage(location="moon:1"))))),
        "location",
    ),
    "wrapped twice": (
        lambda k: k.file(k.mapping(("model", k.mapping(("state_dict", k.GOOD))))),
        "structure",
    ),
    "epoch beside": (
        lambda k: k.file(k.mapping(("state_dict", k.GOOD), ("epoch\x1b", k.number(3)))),
        "dropped",
    ),
    "number within": (
        lambda k: k.file(k.mapping(("w", k.tensor()), ("step", k.number(3)))), "dropped"
    ),
    "averages beside": (
        lambda k: k.file(k.mapping(("params", k.GOOD), ("params_ema", k.GOOD))), "ema"
    ),
    "tied": (
        lambda k: k.file(k.mapping(("w", k.tensor()), ("v", k.tensor()))),
        "shared-storage",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_legal_oddity_is_read_with_one_warning(kit, opened, data_of, case):
    make, word = ODD[case]

    checkpoint = opened(make(kit))

    assert [line.split(":")[0] for line in checkpoint.warnings] == [word]
    assert "\x1b" not in "".join(checkpoint.warnings)
    # PyTorch refuses archives with a comment.
    names = checkpoint.tensors if case == "comment" else agreed(checkpoint, data_of)
    assert "w" in names


PLAIN = {
    "as PyTorch writes it": lambda k: k.file(k.GOOD),
    "before PyTorch 2.0": lambda k: k.file(k.GOOD, byteorder=None),
    "with ZIP64 end records": lambda k: k.file(k.GOOD, end={"wide": True}),
    "sizes in the local header": lambda k: k.archive(
        [k.Entry(e.name, e.data, flags=0) for e in k.members(k.GOOD)]
    ),
    "another root": lambda k: k.archive(k.members(k.GOOD, root="näme v1.5")),
    "wrapped": lambda k: k.file(k.mapping(("state_dict", k.GOOD))),
    "wrapped and averaged": lambda k: k.file(k.mapping(("params_ema", k.GOOD))),
    "one part on another device": lambda k: k.file(
        k.mapping(("w", k.tensor(k.storage(location="cuda:3"))))
    ),
    "shape that is a Size": lambda k: k.file(
        k.mapping(
            (
                "w",
                k.name("torch._utils._rebuild_tensor_v2")
                + k.sequence(
                    k.storage(),
                    k.number(0),
                    k.call("torch.Size", k.sizes((2, 2))),
                    k.sizes((2, 1)),
                    k.FALSE,
                    k.ordered(),
                )
                + k.REDUCE,
            )
        )
    ),
    "parameter": lambda k: k.file(
        k.mapping(
            ("w", k.call("torch._utils._rebuild_parameter", k.tensor(), k.TRUE, k.NONE))
        )
    ),
    "with attributes": lambda k: k.file(
        k.ordered() + k.text("w") + k.tensor() + b"s" + k.GOOD + k.BUILD
    ),
}


@pytest.mark.parametrize("case", PLAIN)
def test_sound_file_is_read_without_a_warning(kit, opened, data_of, case):
    checkpoint = opened(PLAIN[case](kit))

    assert checkpoint.warnings == ()
    assert agreed(checkpoint, data_of) == {"w"}
    assert data_of(checkpoint, "w") == bytes(range(16))


def test_ten_thousand_members_are_read(kit, parsed):
    names = [str(i) for i in range(10_000)]
    value = kit.mapping(
        *((n, kit.tensor(kit.storage(key=n, numel=1), shape=(1,))) for n in names)
    )

    plan = parsed(kit.file(value, {n: struct.pack("<f", int(n)) for n in names}))

    assert len(plan.views) == 10_000
    assert [line.split(":")[0] for line in plan.warnings] == ["zip-member"]
