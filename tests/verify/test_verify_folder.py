"""A release folder against its manifest: one damage, one finding."""

import json
import shutil
from contextlib import nullcontext

import pytest
import safetensors.torch

from release.errors import InputError, IntegrityError
from release.progress import NoProgress
from release.verify.report import raise_if_bad
from release.verify.verify import verify

FP16, FP8 = "small-fp16.safetensors", "small-fp8.safetensors"
WEIGHT = "model.diffusion_model.out.2.weight"
VAE = "first_stage_model.decoder.conv_in.weight"
LEVELS = ["xxh3", "sha256"]


def check(path, level="xxh3", threads=2):
    return verify(path, level=level, threads=threads, progress=NoProgress())


def verdicts(report):
    return {file.name: file.verdict for file in report.files}


INTACT = dict.fromkeys((FP16, FP8, "README.md", "small.zip"), "intact")


def read_header(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def write_header(path, header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def flip_in_tensor(path, tensor, at=0):
    data = bytearray(path.read_bytes())
    header, _ = read_header(path)
    begin, end = header[tensor]["data_offsets"]
    length = int.from_bytes(data[:8], "little")
    place = 8 + length + (begin + at if at >= 0 else end + at)
    data[place] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize(("level", "threads"), [("xxh3", 5), ("sha256", 1)])
def test_true_release_is_intact(release_folder, level, threads):
    report = check(release_folder, level, threads)

    assert report.is_intact
    assert {file.verdict for file in report.files} == {"intact"}
    assert len(report.files) == 8
    assert report.extra == ()
    assert report.release == "gamma-rev2"
    assert report.level == level
    raise_if_bad(report)


@pytest.mark.parametrize("level", LEVELS)
def test_small_release_is_intact(folder, level):
    report = check(folder, level)

    assert verdicts(report) == INTACT
    assert [file.variant for file in report.files[:2]] == ["fp16", "fp8"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [FP16, FP8])
@pytest.mark.parametrize("tensor", [WEIGHT, VAE, "ids"])
@pytest.mark.parametrize("at", [0, -1])
def test_bit_in_a_weight_is_found_and_its_tensor_named(folder, level, name, tensor, at):
    flip_in_tensor(folder / name, tensor, at)

    report = check(folder, level)

    assert verdicts(report) == {**INTACT, name: "damaged"}
    (bad,) = report.bad
    assert bad.tensors == (tensor,)
    assert bad.detail == f"1 tensor is damaged: {tensor}"


def test_every_damaged_tensor_is_named(folder):
    for tensor in (WEIGHT, VAE):
        flip_in_tensor(folder / FP16, tensor)

    (bad,) = check(folder).bad

    assert bad.tensors == (VAE, WEIGHT)


@pytest.mark.parametrize("level", LEVELS)
def test_edited_metadata_is_not_called_damage(folder, level):
    header, data = read_header(folder / FP16)
    header["__metadata__"]["note"] = "edited by another program"
    write_header(folder / FP16, header, data)

    report = check(folder, level)

    assert verdicts(report) == {**INTACT, FP16: "header edited"}
    # The weights are the same; the file, and so its SHA-256, is another one.
    assert [file.name for file in report.bad] == ([FP16] if level == "sha256" else [])


def test_file_saved_again_by_the_safetensors_library_has_the_same_weights(folder):
    with safetensors.safe_open(folder / FP8, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(folder / FP8)
    safetensors.torch.save_file(tensors, folder / FP8, {**metadata, "x": "y"})

    assert verdicts(check(folder)) == {**INTACT, FP8: "header edited"}


def relabel(header):
    header[WEIGHT]["dtype"] = "BF16"


def reshape(header):
    header[WEIGHT]["shape"].reverse()


def rename(header):
    header[f"{WEIGHT}x"] = header.pop(WEIGHT)


@pytest.mark.parametrize("edit", [relabel, reshape, rename])
def test_weights_under_another_name_dtype_or_shape_are_damaged(folder, edit):
    header, data = read_header(folder / FP16)
    edit(header)
    write_header(folder / FP16, header, data)

    report = check(folder)

    assert verdicts(report) == {**INTACT, FP16: "damaged"}
    assert WEIGHT in report.bad[0].tensors


CUTS = {
    "last byte": (lambda data: data[:-1], "truncated", "4 of 5 tensors are whole"),
    "half": (lambda data: data[: len(data) // 2], "truncated", "of 5 tensors"),
    "in the header": (lambda data: data[:99], "truncated", "inside the header"),
    "in the length": (lambda data: data[:5], "truncated", "0 of 5 tensors"),
    "all": (lambda data: data[:0], "truncated", "ends after 0 of"),
    "a byte too many": (lambda data: data + b"x", "damaged", "follow the last tensor"),
    "an error page": (
        lambda _data: b"<!DOCTYPE html><html>" * 9,
        "not what it claims",
        "web page",
    ),
}


@pytest.mark.parametrize("case", CUTS)
def test_file_of_another_length_is_told_from_a_damaged_one(folder, case):
    cut, verdict, words = CUTS[case]
    (folder / FP16).write_bytes(cut((folder / FP16).read_bytes()))

    report = check(folder)

    assert verdicts(report) == {**INTACT, FP16: verdict}
    assert words in report.bad[0].detail


@pytest.mark.parametrize("name", INTACT)
def test_missing_file_is_told(folder, name):
    (folder / name).unlink()

    report = check(folder)

    assert verdicts(report) == {**INTACT, name: "missing"}


def test_folder_in_the_place_of_a_file_is_a_missing_file(folder):
    (folder / "README.md").unlink()
    (folder / "README.md").mkdir()

    assert verdicts(check(folder)) == {**INTACT, "README.md": "missing"}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["README.md", "small.zip"])
def test_changed_file_is_damaged(folder, level, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)

    assert verdicts(check(folder, level)) == {**INTACT, name: "damaged"}


def test_shorter_file_is_told_with_both_sizes(folder):
    (folder / "README.md").write_text("short")
    nbytes = len("text of README.md\n") * 50

    (bad,) = check(folder).bad

    assert bad.detail == f"has 5 bytes; expected {nbytes}"


def test_file_that_is_not_part_of_the_release_is_listed_and_no_damage(folder):
    (folder / "notes.txt").write_text("mine")

    report = check(folder)

    assert report.extra == ("notes.txt",)
    assert report.is_intact


def test_all_damage_is_found_before_anything_is_raised(folder):
    flip_in_tensor(folder / FP8, WEIGHT)
    (folder / "README.md").unlink()

    report = check(folder)
    with pytest.raises(IntegrityError) as caught:
        raise_if_bad(report)

    assert caught.value.exit_code == 5
    assert caught.value.code == "damaged"
    assert caught.value.hint
    assert f"{FP8}: 1 tensor is damaged: {WEIGHT}" in str(caught.value)
    assert "README.md: is not there" in str(caught.value)


def test_identity_is_compared_only_when_asked_for(folder):
    edit_manifest(
        folder, lambda document: document["checkpoints"][0].update(sha256=64 * "0")
    )

    assert check(folder, "xxh3").is_intact
    report = check(folder, "sha256")
    assert verdicts(report) == {**INTACT, FP16: "not what it claims"}
    assert "SHA-256 is" in report.bad[0].detail


def edit_manifest(folder, edit):
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def set_name(name):
    return lambda document: document["files"][0].update(name=name)


HOSTILE = {
    "climbs out": (set_name("../outside"), "path"),
    "absolute": (set_name("/etc/passwd"), "path"),
    "climbs inside": (set_name("a/../../outside"), "path"),
    "backslash": (set_name("..\\outside"), "path"),
    "control character": (set_name("READ\nME.md"), "path"),
    "device": (set_name("con.txt"), "path"),
    "twice": (set_name("SMALL.zip"), "path"),
    "checkpoint climbs out": (
        lambda document: document["checkpoints"][0].update(name="../x.safetensors"),
        "path",
    ),
    "other schema": (
        lambda document: document.update(schema="krelease.manifest/2"),
        "manifest",
    ),
    "no schema": (lambda document: document.pop("schema"), "manifest"),
    "unknown field": (lambda document: document.update(extra=1), "manifest"),
    "digest of another length": (
        lambda document: document["files"][0].update(sha256="00"),
        "manifest",
    ),
    "negative size": (
        lambda document: document["files"][0].update(nbytes=-1),
        "manifest",
    ),
    "size as text": (
        lambda document: document["files"][0].update(nbytes="900"),
        "manifest",
    ),
    "nothing to check": (
        lambda document: document.update(checkpoints=[], files=[]),
        "manifest",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_manifest_is_refused(folder, case):
    edit, code = HOSTILE[case]
    (folder.parent / "outside").write_text("text of README.md\n" * 50)
    edit_manifest(folder, edit)

    with pytest.raises(IntegrityError) as caught:
        check(folder)

    assert (caught.value.code, caught.value.exit_code) == (code, 5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": NaN}', b"[" * 100_000],
    ids=["empty", "cut", "a list", "null", "not UTF-8", "NaN", "deep"],
)
def test_manifest_that_is_no_json_object_is_refused(folder, text):
    (folder / "manifest.json").write_bytes(text)

    with pytest.raises(IntegrityError) as caught:
        check(folder)

    assert caught.value.code == "manifest"


def test_huge_manifest_is_refused_unread(folder):
    with (folder / "manifest.json").open("r+b") as sparse:
        sparse.truncate(64 * 2**20 + 1)

    with pytest.raises(IntegrityError) as caught:
        check(folder)

    assert caught.value.code == "manifest-too-large"


def test_folder_without_anything_to_verify_is_refused(folder):
    (folder / "manifest.json").unlink()
    for path in folder.glob("*.safetensors"):
        path.unlink()

    with pytest.raises(InputError) as caught:
        check(folder)

    assert (caught.value.code, caught.value.exit_code) == ("no-manifest", 4)


def test_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        check(tmp_path / "nowhere")

    assert caught.value.code == "not-found"


def test_release_may_be_moved_and_renamed_as_a_folder(folder):
    moved = shutil.move(folder, folder.parent / "elsewhere")

    assert verdicts(check(folder.parent / "elsewhere")) == INTACT
    assert moved


def test_progress_adds_up_to_what_is_read(folder):
    planned, steps = [], []

    class Counting:
        def stage(self, _label, nbytes):
            planned.append(nbytes)
            return nullcontext(steps.append)

    verify(folder, level="sha256", threads=2, progress=Counting())

    headers = 2 * len(read_header(folder / FP16)[0])
    assert len(planned) == 1
    assert 0 <= planned[0] - sum(steps) < 20_000 + headers
