"""What cannot be converted: its exit code, its code, one line, a hint, no output."""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

UNET = "model.diffusion_model."
GOOD = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
DATA = b"\1\2\3\4"


def raw(header: str | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def file_of(members: Mapping[str, object], data: bytes = DATA) -> bytes:
    return raw(json.dumps(members), data)


def one(data: bytes = DATA, **fields: object) -> bytes:
    """A file of one tensor, with some fields of its entry replaced."""
    return file_of({"a": GOOD | fields}, data)


def pair(first: tuple[int, int], second: tuple[int, int], nbytes: int) -> bytes:
    """A file of two tensors at these places."""
    entries = {
        name: GOOD | {"shape": [end - begin], "data_offsets": [begin, end]}
        for name, (begin, end) in {"a": first, "b": second}.items()
    }
    return file_of(entries, bytes(nbytes))


VALID = one()
ENTRY = json.dumps(GOOD)

MALFORMED = {
    "empty file": (b"", "too-short", "holds 0 bytes"),
    "length beyond the file": (
        raw("{}", bytes(56), length=10_000),
        "header-length",
        "10,000",
    ),
    "length of 2^63": (raw("{}", length=2**63), "header-too-large", "100,000,000"),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:"
        + b"0" * 64
        + b"\nsize 1\n",
        "lfs-pointer",
        "LFS",
    ),
    "web page": (b"<!DOCTYPE html><html>404</html>", "header-too-large", "web page"),
    "crash image": (bytes(4096), "header-json", "header"),
    "last byte missing": (VALID[:-1], "truncated", "byte"),
    "one byte more": (VALID + b"\0", "trailing-bytes", "1 byte"),
    "zip behind it": (VALID + b"PK\3\4" + bytes(60), "trailing-bytes", "64 bytes"),
    "name that is no UTF-8": (
        raw(b'{"\xc3\x28":' + ENTRY.encode() + b"}", DATA),
        "header-utf8",
        "UTF-8",
    ),
    "trailing comma": (raw('{"a":' + ENTRY + ",}", DATA), "header-json", "JSON"),
    "NaN in a shape": (
        raw('{"a":' + ENTRY.replace("[4]", "[NaN]") + "}", DATA),
        "header-json",
        "NaN",
    ),
    "100,000 arrays in one another": (
        raw("[" * 100_000 + "]" * 100_000),
        "header-json",
        "",
    ),
    "dimension of 5,000 digits": (
        raw('{"a":' + ENTRY.replace("[4]", f"[{'9' * 5000}]") + "}", DATA),
        "header-json",
        "",
    ),
    "one name twice": (
        raw('{"a":' + ENTRY + ',"a":' + ENTRY + "}", DATA),
        "duplicate-key",
        "a",
    ),
    "dtype twice": (
        raw('{"a":' + ENTRY[:-1] + ',"dtype":"U8"}}', DATA),
        "duplicate-key",
        "dtype",
    ),
    "no shape": (
        file_of({"a": {"dtype": "U8", "data_offsets": [0, 4]}}),
        "tensor-entry",
        "shape",
    ),
    "offsets as text": (one(data_offsets=["0", "4"]), "tensor-entry", "a"),
    "offsets as truth": (
        one(shape=[1], data_offsets=[False, True], data=b"\0"),
        "tensor-entry",
        "a",
    ),
    "dtype F128": (one(dtype="F128"), "dtype", "F128"),
    "dtype in lower case": (one(dtype="f32", shape=[1]), "dtype", "f32"),
    "three elements of 4 bits": (
        one(dtype="F4", shape=[3], data_offsets=[0, 1], data=b"\0"),
        "sub-byte",
        "a",
    ),
    "shape whose product wraps": (
        one(shape=[2**32, 2**32, 4]),
        "overflow",
        "a",
    ),
    "rank of 100,000": (one(shape=[1] * 100_000), "rank", "a"),
    "two names on one range": (pair((0, 4), (0, 4), 4), "overlap", "b"),
    "gap between tensors": (pair((0, 4), (8, 12), 12), "hole", "b"),
    "offsets that run backwards": (one(data_offsets=[4, 0]), "offsets", "a"),
    "shape that needs more bytes": (
        one(dtype="F32", shape=[2, 2]),
        "size-mismatch",
        "a",
    ),
    "number in the metadata": (
        file_of({"__metadata__": {"k": 1}, "a": GOOD}),
        "metadata",
        "k",
    ),
    "metadata that is a list": (
        file_of({"__metadata__": ["k"], "a": GOOD}),
        "metadata",
        "__metadata__",
    ),
    "name of 1 MB": (file_of({"a" * 10**6: GOOD}), "name-length", "aaa"),
    "no tensors": (raw("{}"), "no-tensors", "holds no tensors"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_file_is_refused(refused, workplace, case):
    content, code, words = MALFORMED[case]
    (workplace / "model.safetensors").write_bytes(content)

    found = refused("model.safetensors", "--to=fp16", "--to=fp8")

    assert (found.exit_code, found.code) == (4, code)
    assert found.message.startswith("model.safetensors: ")
    assert words in found.message + found.hint
    assert "\n" not in found.message
    assert len(found.message) < 2000


def test_what_is_odd_but_legal_is_converted(convert, workplace, save):
    names = ("z", "../../x", "/etc/passwd", "a b\u202ec")
    header, data = {}, b""
    for at, name in enumerate(names):  # unsorted, and nothing is aligned
        content = struct.pack("<f", at) * at
        offsets = [len(data) + 1, len(data) + 1 + len(content)]
        header[name] = {"dtype": "F32", "shape": [at], "data_offsets": offsets}
        data += content
    header["byte"] = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    (workplace / "odd.safetensors").write_bytes(file_of(header, b"\7" + data))

    convert("odd.safetensors", "--to", "fp16")

    assert {path.name for path in workplace.iterdir()} == {
        "odd.safetensors",
        "odd-fp16.safetensors",
        "odd-fp16.krelease.json",
    }
    with (workplace / "odd-fp16.safetensors").open("rb") as file:
        found = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert found.keys() - {"__metadata__"} == header.keys()
    assert {found[name]["dtype"] for name in names} == {"F16"}


UNOPENABLE = {
    "nothing there": (Path.exists, "not-found", "not found"),
    "folder": (Path.mkdir, "not-a-file", "is a folder"),
    "pipe": (os.mkfifo, "not-a-file", "named pipe"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not-a-file", "device"),
    "symlink to itself": (lambda path: path.symlink_to(path.name), "not-a-file", ""),
    "secret": (
        lambda path: (path.touch(0o000), path.chmod(0)),
        "too-short" if os.geteuid() == 0 else "not-readable",
        "",
    ),
}


@pytest.mark.parametrize("case", UNOPENABLE)
def test_what_is_no_readable_file_is_refused(krelease, workplace, case):
    make, code, words = UNOPENABLE[case]
    make(workplace / "m.safetensors")
    before = sorted(workplace.iterdir())

    exit_code, out, err = krelease("convert", "m.safetensors", "--to", "fp16", "--json")

    assert (exit_code, json.loads(out)["code"]) == (4, code)
    assert words in err
    assert sorted(workplace.iterdir()) == before


class Touch:
    """Pickles as a call of `os.system`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self._path}",)


HOSTILE = {
    "call beside the weights": (lambda evil: {"w": torch.ones(2), "x": evil}, "global"),
    "call as the whole file": (lambda evil: evil, "global"),
    "call as a key": (lambda evil: {(1, evil): torch.ones(2)}, "global"),
    "class as a value": (
        lambda evil: {"w": torch.ones(2), "x": type(evil)},
        "global",
    ),
    "no weights": (lambda _: {"epoch": 3}, "no-tensors"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".safetensors"])
def test_hostile_pickle_is_refused_and_nothing_of_it_runs(
    refused, workplace, tmp_path, case, suffix
):
    make, code = HOSTILE[case]
    marker = tmp_path / "MARKER"
    torch.save(make(Touch(str(marker))), workplace / f"model{suffix}")

    found = refused(f"model{suffix}", "--to", "fp16")

    assert (found.exit_code, found.code) == (4, code)
    assert found.message.startswith(f"model{suffix}: ")
    assert not marker.exists()


def test_damage_in_a_pickle_is_found_before_anything_is_visible(refused, workplace):
    path = workplace / "model.ckpt"
    torch.save({"w": torch.arange(1000.0)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 500.0))] ^= 1
    path.write_bytes(data)

    found = refused("model.ckpt", "--to", "fp16")

    assert (found.exit_code, found.code) == (4, "crc")
    assert "w" in found.message


RULES = {
    "unknown key": ('[[rule]]\npatern = "x"\ndtype = "F16"\n', "rules", "patern"),
    "unknown key of the file": ('sufix = "x"\n', "rules", "sufix"),
    "unknown dtype": ('[[rule]]\ndtype = "F61"\n', "rules", "F61"),
    "pattern that fits nothing": (
        f'[[rule]]\npattern = "{UNET}output_blocks.*"\ndtype = "F16"\n',
        "rule-unused",
        f"{UNET}output_blocks.*",
    ),
    "rule for what is never cast": (
        '[[rule]]\npattern = "*.position_ids"\ndtype = "F16"\n',
        "rule-copied",
        "position_ids",
    ),
    "no TOML": ("[[rule", "rules-file", "not TOML"),
    "no rules": ('summary = "x"\n', "rules", "rule"),
    "suffix that is a path": (
        'suffix = "../x"\n[[rule]]\ndtype = "F16"\n',
        "rules",
        "../x",
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_bad_rules_are_refused(refused, save, sd1, workplace, case):
    text, code, words = RULES[case]
    save(sd1)
    (workplace / "my.toml").write_text(text)

    found = refused("model.safetensors", "--to", "fp8", "--rules", "my.toml")

    assert (found.exit_code, found.code) == (3, code)
    assert found.message.startswith("my.toml: ")
    assert words in found.message


USAGE = {
    "unknown preset": (["--to=fp61"], "unknown-preset", "unknown preset 'fp61'"),
    "no preset": ([], "usage", "--to"),
    "shard of nothing": (["--to=fp16", "--shard=0"], "shard-size", "--shard 0:"),
    "shard of apples": (["--to=fp16", "--shard=5 apples"], "shard-size", "5 apples"),
    "shard below zero": (["--to=fp16", "--shard=-5GB"], "shard-size", "-5GB"),
    "shard without end": (
        ["--to=fp16", f"--shard={'9' * 400}GB"],
        "shard-size",
        "--shard 999",
    ),
    "threshold that is no number": (
        ["--to=fp8", "--min-snr=nan"],
        "usage",
        "--min-snr",
    ),
    "endless threshold": (["--to=fp8", "--min-snr=inf"], "decibels", "--min-snr inf"),
    "limit that is no number": (
        ["--to=fp8", "--fail-below=nan"],
        "usage",
        "--fail-below",
    ),
    "endless limit": (["--to=fp8", "--fail-below=inf"], "decibels", "--fail-below"),
    "limit below zero": (["--to=fp8", "--fail-below=-1"], "usage", "--fail-below"),
    "unknown EMA mode": (["--to=fp8", "--ema=burn"], "usage", "--ema"),
}


@pytest.mark.parametrize("case", USAGE)
def test_impossible_option_is_refused(refused, save, sd1, case):
    arguments, code, words = USAGE[case]
    save(sd1)

    found = refused("model.safetensors", *arguments)

    assert (found.exit_code, found.code) == (2, code)
    assert words in found.message


@pytest.mark.parametrize(
    "option", [["--keep-layout"], ["--folder-variant", "fp16"]], ids=lambda o: o[0]
)
def test_option_of_folders_is_refused_for_a_file(refused, save, sd1, option):
    save(sd1)

    found = refused("model.safetensors", "--to", "fp16", *option)

    assert (found.exit_code, found.code) == (4, "not-a-pipeline")
    assert option[0] in found.message + found.hint


def test_rules_file_that_is_not_there_is_refused(refused, save, sd1):
    save(sd1)

    found = refused("model.safetensors", "--to", "fp8", "--rules", "no.toml")

    assert (found.exit_code, found.code) == (3, "rules-file")


def test_ema_that_is_not_there_cannot_be_used(refused, save, sd1):
    save(sd1)

    found = refused("model.safetensors", "--to", "fp16", "--ema", "use")

    assert (found.exit_code, found.code) == (4, "no-ema")


@pytest.mark.parametrize(
    ("value", "word"), [(float("nan"), "NaN"), (float("-inf"), "infinity")]
)
def test_value_that_is_not_finite_is_named_with_its_place(
    refused, save, sd1, value, word
):
    name = f"{UNET}input_blocks.1.1.proj_in.weight"
    sd1[name][7, 3] = value
    save(sd1)

    found = refused("model.safetensors", "--to", "fp32", "--to", "fp8-scaled")

    assert (found.exit_code, found.code) == (4, "values")
    assert f"{name} (source holds {word} at element 59)" in found.message
    assert found.message.startswith("model.safetensors: ")


def test_place_of_a_bad_value_is_right_beyond_the_first_chunk(refused, save):
    weight = torch.ones(300_001)
    weight[300_000] = float("inf")
    save({"w": weight})

    found = refused("model.safetensors", "--to", "fp16")

    assert "w (source holds infinity at element 300,000)" in found.message


@pytest.mark.parametrize("to", ["fp16", "fp8"])
def test_overflow_of_float16_is_refused_and_names_the_tensor(refused, save, sd1, to):
    sd1["first_stage_model.decoder.conv_in.weight"][0, 0, 0, 0] = 65520.0
    save(sd1)

    found = refused("model.safetensors", "--to", to)

    assert (found.exit_code, found.code) == (4, "values")
    assert "decoder.conv_in.weight (reaches 65520, beyond F16's 65504)" in found.message
    assert "--clamp" in found.hint


def test_loss_below_the_limit_is_refused_and_makes_no_folder(refused, save, sd1):
    save(sd1)

    found = refused(
        "model.safetensors",
        "--to=fp16",
        "--to=fp8",
        "--fail-below=40",
        "--out=new/folder",
    )

    assert (found.exit_code, found.code) == (6, "snr-below")
    assert "model.safetensors as fp8" in found.message
    assert "below 40 dB" in found.message
    assert "--min-snr 40" in found.hint


SCALES = {
    "no marker": {
        "a.weight": torch.ones(4, 4).to(torch.float8_e4m3fn),
        "a.weight_scale": torch.tensor(0.5),
    },
    "legacy without marker": {
        "a.weight": torch.ones(4, 4).to(torch.float8_e4m3fn),
        "a.scale_weight": torch.tensor(0.5),
    },
}


@pytest.mark.parametrize("case", SCALES)
def test_scales_without_explanation_are_refused_unless_assumed(
    refused, convert, save, case
):
    save(SCALES[case])

    found = refused("model.safetensors", "--to", "fp16")
    done = convert("model.safetensors", "--to", "fp16", "--assume-scaled")

    assert (found.exit_code, found.code) == (4, "orphan-scales")
    assert "--assume-scaled" in found.hint
    assert "warning: " in done.said
    tensors = safetensors_of(done.path("fp16"))
    assert tensors.keys() == {"a.weight"}
    assert torch.equal(tensors["a.weight"], torch.full((4, 4), 0.5).half())


def safetensors_of(path):
    import safetensors.torch

    return safetensors.torch.load_file(path)
