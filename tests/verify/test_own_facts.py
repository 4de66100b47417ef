"""What verify says of a file beyond its digests, and of archives' members."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from release.errors import IntegrityError
from release.progress import NoProgress
from release.verify.verify import verify

FP16, FP8 = "small-fp16.safetensors", "small-fp8.safetensors"
WEIGHT = "model.diffusion_model.out.2.weight"
NOTHING = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def check(path, level="xxh3", values=False):
    return verify(
        path, level=level, threads=2, progress=NoProgress(), values=values
    ).files


def codes(file):
    return [(each.code, each.tensors) for each in file.findings]


def read(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def write(path, header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.fixture
def foreign(tmp_path):
    """A file of another program with NaN, infinity and nothing but zeros in it."""
    path = tmp_path / "theirs.safetensors"
    tensors = {
        "nan.weight": torch.tensor([[1.0, float("nan")], [2.0, 3.0]]),
        "inf.weight": torch.tensor([[1.0, 2.0], [float("-inf"), 3.0]]),
        "zero.weight": torch.zeros(4, 4),
        "good.weight": torch.ones(4, 4),
    }
    safetensors.torch.save_file(tensors, path)
    return path


def test_values_of_a_foreign_file_are_looked_at(foreign):
    (found,) = check(foreign)

    assert found.verdict == "unknown"
    assert codes(found) == [
        ("nan", ("nan.weight",)),
        ("infinity", ("inf.weight",)),
        ("all-zero-weights", ("zero.weight",)),
    ]


def test_values_that_krelease_wrote_are_looked_at_when_asked_for(foreign, krelease):
    zero = foreign.with_name("zero.safetensors")
    safetensors.torch.save_file({"zero.weight": torch.zeros(4, 4)}, zero)
    assert krelease("convert", zero, "--to", "fp16", "--quiet")[0] == 0
    converted = zero.with_name("zero-fp16.safetensors")

    (quick,) = check(converted)
    (thorough,) = check(converted, values=True)

    assert (quick.verdict, codes(quick)) == ("intact", [])
    assert thorough.verdict == "intact"
    assert codes(thorough) == [("all-zero-weights", ("zero.weight",))]


def test_values_of_a_damaged_tensor_are_looked_at(folder):
    path = folder / FP16
    header, data = read(path)
    begin, end = header[WEIGHT]["data_offsets"]
    write(path, header, data[:begin] + bytes(end - begin) + data[end:])

    found = next(file for file in check(folder) if file.name == FP16)

    assert found.tensors == (WEIGHT,)
    assert ("all-zero-weights", (WEIGHT,)) in codes(found)


def test_hash_of_nothing_is_told_and_vouches_for_nothing(foreign):
    header, data = read(foreign)
    header["__metadata__"] = {"modelspec.hash_sha256": NOTHING}
    write(foreign, header, data)

    (found,) = check(foreign)

    assert found.verdict == "unknown"
    assert "empty-hash" in [code for code, _ in codes(found)]


def with_stated_hash(path, digest):
    header, data = read(path)
    header["__metadata__"] = {"modelspec.hash_sha256": digest}
    write(path, header, data)


def sha256_of_data(path):
    from hashlib import sha256  # noqa: TID251  # an oracle that is not ours

    return sha256(read(path)[1]).hexdigest()


@pytest.mark.parametrize("level", ["xxh3", "sha256"])
def test_hash_that_another_program_states_of_the_data_vouches(foreign, level):
    with_stated_hash(foreign, "0x" + sha256_of_data(foreign).upper())

    (found,) = check(foreign, level)

    assert found.verdict == "intact"
    assert found.reached.compared == "data"
    assert found.reached.source.kind == "header"


def test_hash_that_another_program_states_and_the_data_refutes(foreign):
    with_stated_hash(foreign, "0x" + "12" * 32)

    (found,) = check(foreign)

    assert found.verdict == "not what it claims"
    assert sha256_of_data(foreign) in found.detail
    assert "data-hash" in [code for code, _ in codes(found)]


def test_findings_are_shown_and_in_the_json(foreign, krelease):
    _, out, _ = krelease("verify", foreign)
    _, document, _ = krelease("verify", foreign, "--json")

    (found,) = json.loads(document)["files"]
    assert "  error: 1 value is NaN, in 1 tensor: nan.weight\n" in out
    assert [each["code"] for each in found["findings"]] == [
        "nan",
        "infinity",
        "all-zero-weights",
    ]


@pytest.fixture
def archive(folder, tmp_path):
    """A stored zip of a checkpoint and a text, in a folder of its own."""
    path = tmp_path / "own" / "model.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.write(folder / FP8, f"model/{FP8}")
        file.writestr("LICENSE", "text")
    return path


def test_members_of_an_archive_are_verified_in_place(archive):
    found = {file.name: file for file in check(archive)}

    assert {name: file.verdict for name, file in found.items()} == {
        f"model.zip/model/{FP8}": "intact",
        "model.zip/LICENSE": "intact",
    }
    assert found[f"model.zip/model/{FP8}"].variant == "fp8"
    assert found["model.zip/LICENSE"].reached.compared == "crc32"


def test_damaged_tensor_in_an_archive_is_named(archive):
    data = bytearray(archive.read_bytes())
    header, _ = read_member(data)
    begin = data.index(b"{") - 8
    length = int.from_bytes(data[begin : begin + 8], "little")
    data[begin + 8 + length + header[WEIGHT]["data_offsets"][0]] ^= 1
    archive.write_bytes(data)

    found = {file.name: file for file in check(archive)}

    assert found[f"model.zip/model/{FP8}"].tensors == (WEIGHT,)


def read_member(data):
    begin = data.index(b"{") - 8
    length = int.from_bytes(data[begin : begin + 8], "little")
    return json.loads(bytes(data[begin + 8 : begin + 8 + length])), begin


def test_damaged_text_in_an_archive_is_found(archive):
    data = archive.read_bytes()
    at = data.index(b"LICENSEtext") + len("LICENSE")
    archive.write_bytes(data[:at] + b"T" + data[at + 1 :])

    found = {file.name: file for file in check(archive)}

    assert found["model.zip/LICENSE"].verdict == "damaged"
    assert "CRC-32" in found["model.zip/LICENSE"].detail


def test_archive_that_a_list_names_is_a_file_like_others(folder):
    (found,) = check(folder / "small.zip")

    assert (found.name, found.verdict) == ("small.zip", "intact")
    assert found.reached.source.kind == "manifest beside"


def test_deflated_checkpoint_is_verified_too(folder, archive):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(folder / FP8, FP8)

    (found,) = check(archive)

    assert (found.verdict, found.variant) == ("intact", "fp8")


@pytest.mark.parametrize(
    "edit", [lambda data: data[:-30], lambda data: data * 2], ids=["cut", "twice"]
)
def test_archive_that_cannot_be_trusted_is_refused(archive, edit):
    archive.write_bytes(edit(archive.read_bytes()))

    with pytest.raises(IntegrityError) as caught:
        check(archive)

    assert caught.value.code == "zip-format"


def test_archive_with_two_members_of_one_name_is_refused(archive, zips, krelease):
    archive.write_bytes(zips.build(zips.Part("a"), zips.Part("a")))

    code, _, err = krelease("verify", archive)

    assert code == 5
    assert "model.zip: " in err
    assert "hint: do not unpack it" in err


def test_bad_archive_does_not_stop_the_others(archive, folder):
    archive.write_bytes(b"PK")

    found = verify(
        [archive, folder / FP16], level="xxh3", threads=1, progress=NoProgress()
    ).files

    assert {file.path.name: file.verdict for file in found} == {
        FP16: "intact",
        "model.zip": "unreadable",
    }


def test_release_folder_inside_a_folder_is_verified_by_its_own_manifest(
    folder, tmp_path
):
    (tmp_path / "all").mkdir()
    inner = Path(shutil.move(folder, tmp_path / "all" / "inner"))
    (inner / "other").mkdir()

    found = {file.name: file for file in check(tmp_path / "all")}

    assert found.keys() == {f"inner/{FP16}", f"inner/{FP8}"}
    assert {file.reached.source.kind for file in found.values()} == {"manifest beside"}
