"""Seeded mutants of sound files: refused by a code, or read as PyTorch reads them.

Nothing is ever run: PyTorch's loader is asked about accepted mutants only, restricted.
"""

import io
import random
import struct
import zlib

import torch

from release.formats.pickled.child import answer
from release.formats.pickled.faults import FAULTS
from release.formats.pickled.plan import decode_answer
from release.formats.refused import RefusedError

READ = "read as PyTorch does"
N_PICKLES = 8_000
N_ARCHIVES = 4_000

RECORDS = {"0": bytes(range(16)), "1": bytes(range(8))}
TOKENS = [
    b".", b"(", b")", b"]", b"}", b"N", b"0", b"R", b"b", b"Q", b"a", b"e", b"s", b"u",
    b"t", b"\x85", b"\x86", b"\x87", b"\x88", b"\x89", b"2", b"1", b"q\0", b"q\1",
    b"h\0", b"h\1", b"h\2", b"K\0", b"K\1", b"K\x10", b"M\xff\xff",
    b"J\xff\xff\xff\xff",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x8a\0", b"X\0\0\0\0", b"X\1\0\0\0w",
    b"G\0\0\0\0\0\0\0\0", b"\x8f", b"\x93", b"\x81", b"\x80\2", b"\x80\4",
    b"cos\nsystem\n", b"ctorch\nHalfStorage\n", b"ctorch\nfloat32\n",
    b"ccollections\nOrderedDict\n", b"\xff", b"\0",
]  # fmt: skip


def seeds(k):
    untyped = k.storage("torch.storage.UntypedStorage", key="1", numel=8)
    return [
        k.GOOD,
        k.mapping(("a", k.tensor() + b"q\0"), ("b", k.tensor(strides=(1, 2)) + b"q\1")),
        k.mapping(
            ("state_dict", k.ordered() + b"q\2" + k.text("w") + k.tensor() + b"s"),
            ("epoch", k.number(3)),
            ("x", b"](K\1K\2e"),
        ),
        k.mapping(
            ("f", k.tensor_v3("torch.float8_e4m3fn", untyped, shape=(8,))),
            (
                "p",
                k.call("torch._utils._rebuild_parameter", k.tensor(), k.TRUE, k.NONE),
            ),
        ),
    ]


def mutate(rng, raw, tokens):
    body = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(body))
        match rng.randrange(5):
            case 0:
                body[at] ^= 1 << rng.randrange(8)
            case 1:
                body[at] = rng.randrange(256)
            case 2:
                del body[at : at + rng.choice((1, 1, 2, 4, 9))]
            case 3:
                body[at:at] = rng.choice(tokens)
            case 4:
                token = rng.choice(tokens)
                body[at : at + len(token)] = token
        body = body or bytearray(b".")
    return bytes(body)


class Bytes:
    """A file in memory, in the place of a `Source`."""

    def __init__(self, content):
        self.content = content
        self.nbytes = len(content)

    def read(self, offset, nbytes):
        assert 0 <= offset <= offset + nbytes <= self.nbytes, "a read beyond the file"
        return self.content[offset : offset + nbytes]


def verdict_on(content):
    """Return the code of the refusal, or how the plan compares with PyTorch."""
    raw = answer(Bytes(content), stub_globals=False)
    try:
        plan = decode_answer(raw, len(content))
    except RefusedError as refusal:
        return refusal.code
    if not all(is_intact(content, record) for record in plan.records):
        return "crc while reading"
    found = torch.load(  # noqa: TID251 - the oracle
        io.BytesIO(content), map_location="cpu", weights_only=True
    )
    state = found.get("state_dict", found)
    same = all(is_same(content, plan, view, state[view.name]) for view in plan.views)
    return READ if same else "read differently"


def is_intact(content, record):
    found = zlib.crc32(content[record.begin : record.begin + record.nbytes])
    return record.crc in {None, found}


def is_same(content, plan, view, tensor):
    """Compare shape and bytes; views that are spread only by their shape."""
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    begin, end = (plan.records[view.record].begin + at for at in view.span)
    spread = not view.is_contiguous or plan.is_big_endian
    return tuple(tensor.shape) == view.shape and (spread or content[begin:end] == raw)


def own_codes(verdicts):
    """Return whether the child found all there is to find; no check of the parent."""
    return verdicts <= FAULTS.keys() - {"pickle-reader"} | {READ, "crc while reading"}


def test_mutants_of_pickles_are_refused_or_read(kit):
    rng = random.Random(20251)  # noqa: S311
    programs = [kit.program(seed) for seed in seeds(kit)]
    verdicts = set()

    for _ in range(N_PICKLES):
        pickled = mutate(rng, rng.choice(programs), TOKENS)
        # \x80 first, so that the builder takes it as a whole program.
        content = kit.file(b"\x80\2" + pickled[2:], RECORDS)
        verdicts.add(verdict_on(content))

    assert own_codes(verdicts)
    assert {READ, "global", "opcode", "pickle", "shape", "size-mismatch"} < verdicts


def test_mutants_of_archives_are_refused_or_read(kit):
    rng = random.Random(20252)  # noqa: S311
    sound = [kit.file(seed, RECORDS) for seed in seeds(kit)]
    sound += [kit.file(seed, RECORDS, {"wide": True})
              for seed in seeds(kit)]  # fmt: skip
    words = [
        b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\xff" * 4, b"\xff" * 8,
        b"\xff\xff", bytes(8), b"m/", b"../", b"data.pkl", b"\1\0\x10\0", b"\x08",
        struct.pack("<L", zlib.crc32(bytes(16))),
    ]  # fmt: skip
    verdicts = set()

    for _ in range(N_ARCHIVES):
        verdicts.add(verdict_on(mutate(rng, rng.choice(sound), words)))

    assert own_codes(verdicts)
    assert {"format", "zip-mismatch", "crc", READ} < verdicts
