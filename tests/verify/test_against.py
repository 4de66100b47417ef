"""Files against what the user says they are, and files that are something else."""

import json
import shutil
import subprocess

import pytest
import safetensors.torch
import torch

from release.claims.named import HubRevision, read_named
from release.errors import InputError, IntegrityError, UsageError
from release.progress import NoProgress
from release.verify.report import raise_if_bad
from release.verify.verify import verify

FP16, FP8 = "small-fp16.safetensors", "small-fp8.safetensors"
WEIGHT = "model.diffusion_model.out.2.weight"


def check(path, against, level="xxh3"):
    return verify(
        path,
        level=level,
        threads=2,
        progress=NoProgress(),
        against=read_named(str(against)),
    )


def only(path, against, level="xxh3"):
    (file,) = check(path, against, level).files
    return file


def sha256_of(path):
    command = ["sha256sum", path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()[0].removeprefix("\\")


def read(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def write(path, header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture
def alone(folder, tmp_path):
    """A published file in a folder of its own."""
    (tmp_path / "own").mkdir()
    return shutil.copy(folder / FP16, tmp_path / "own" / FP16)


@pytest.fixture
def sums(folder):
    """Sums files of the release, as the tools of the system write them."""
    for command, name in (("sha256sum", "SHA256SUMS"), ("xxh128sum", "XXH128SUMS")):
        with (folder / name).open("w") as out:
            subprocess.run([command, FP16, FP8], cwd=folder, stdout=out, check=True)
    return folder


@pytest.mark.parametrize("shorten", [10, 64])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_digest_is_enough(alone, shorten, case):
    found = only(alone, case(sha256_of(alone)[:shorten]))

    assert found.verdict == "intact"
    assert found.reached.compared == ("sha256" if shorten == 64 else "autov2")


@pytest.mark.parametrize("digits", [10, 64])
def test_file_of_another_digest_is_another_file(alone, digits):
    found = only(alone, "1" * digits)

    assert found.verdict == "not what it claims"
    assert sha256_of(alone)[:10].upper() in found.detail.upper()
    assert "it is whole" in found.detail


def test_ten_digits_are_no_identity(alone):
    found = only(alone, sha256_of(alone)[:10], level="sha256")

    assert found.verdict == "unknown"
    assert "nobody says what its SHA-256 is" in found.detail


@pytest.mark.parametrize("level", ["xxh3", "sha256"])
def test_size_of_a_listed_file_alone_is_nothing(folder, tmp_path, level):
    stranger = tmp_path / "stranger.safetensors"
    header = {"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    write(stranger, header, b"x")
    document = json.loads((folder / "manifest.json").read_text())
    entry = next(each for each in document["files"] if each["name"] == "README.md")
    entry["nbytes"] = stranger.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(document))

    found = only(stranger, folder / "manifest.json", level)

    assert found.verdict == "not what it claims"


@pytest.mark.parametrize("level", ["xxh3", "sha256"])
def test_renamed_file_is_found_by_its_digests(folder, alone, level):
    renamed = alone.rename(alone.with_name("model.bak"))

    found = only(renamed, folder / "manifest.json", level)

    assert (found.verdict, found.known_as) == ("intact", FP16)
    assert f"there it is called {FP16}" in found.detail
    assert found.reached.source.kind == "named manifest"


def test_variant_under_the_name_of_another_is_told(folder, alone):
    shutil.copy(folder / FP8, alone)

    report = check(alone, folder / "manifest.json")

    assert report.files[0].verdict == "another variant"
    assert "is the variant fp8" in report.files[0].detail
    with pytest.raises(IntegrityError) as caught:
        raise_if_bad(report)
    assert caught.value.code == "other-variant"


def test_variant_that_the_manifest_does_not_know_is_told_by_its_header(
    folder, release_folder, alone
):
    manifest = json.loads((folder / "manifest.json").read_text())
    name = "kohaku-xl-gamma-rev2-fp8.safetensors"
    del manifest["checkpoints"][1]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    shutil.copy(release_folder / name, alone)

    found = only(alone, folder / "manifest.json")

    assert found.verdict == "another variant"
    assert "is the variant fp8 of gamma-rev2 by its own header" in found.detail


def test_whole_file_of_somebody_else_is_not_what_it_claims(folder, alone):
    tensors = safetensors.torch.load_file(alone)
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    safetensors.torch.save_file(other, alone)

    found = only(alone, folder / "manifest.json")

    assert found.verdict == "not what it claims"
    assert "0 of 5 tensors equal" in found.detail


def test_damaged_copy_under_another_name_is_damaged(folder, alone):
    renamed = alone.rename(alone.with_name("model.bak"))
    flip(renamed, -1)

    found = only(renamed, folder / "manifest.json")

    assert found.verdict == "damaged"
    assert len(found.tensors) == 1


@pytest.mark.parametrize("name", ["SHA256SUMS", "XXH128SUMS"])
@pytest.mark.parametrize("level", ["xxh3", "sha256"])
def test_sums_vouch_as_far_as_they_can(sums, alone, name, level):
    found = only(alone, sums / name, level)

    is_known = name == "SHA256SUMS" or level == "xxh3"
    assert found.verdict == ("intact" if is_known else "unknown")
    assert found.reached.compared == ("sha256" if name == "SHA256SUMS" else "xxh3")


@pytest.mark.parametrize("name", ["SHA256SUMS", "XXH128SUMS"])
def test_damage_that_sums_find_is_placed_by_the_files_own_digests(sums, alone, name):
    flip(alone, -1)

    found = only(alone, sums / name)

    assert found.verdict == "damaged"
    assert len(found.tensors) == 1
    assert found.reached.source.kind == "header"


def test_cut_file_against_sums_is_truncated(sums, alone):
    alone.write_bytes(alone.read_bytes()[:-3])

    found = only(alone, sums / "SHA256SUMS")

    assert (found.verdict, found.whole.n_whole) == ("truncated", 4)


def test_file_that_sums_do_not_know_is_not_what_it_claims(sums, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")

    found = only(path, sums / "SHA256SUMS")

    assert found.verdict == "not what it claims"


def test_sums_beside_a_file_vouch_for_it(sums, alone):
    shutil.copy(sums / "XXH128SUMS", alone.parent)

    (found,) = verify(alone, level="xxh3", threads=1, progress=NoProgress()).files

    assert found.verdict == "intact"
    assert found.reached.source.kind == "sums beside"
    assert "it came with the file" in found.reached.sentence


def test_sums_beside_a_file_are_asked_before_its_own_header(sums, alone):
    shutil.copy(sums / "SHA256SUMS", alone.parent)

    (found,) = verify(alone, level="xxh3", threads=1, progress=NoProgress()).files

    assert (found.reached.source.kind, found.reached.compared) == (
        "sums beside",
        "sha256",
    )


@pytest.mark.parametrize("edit", ["", "edited"])
def test_cut_file_is_truncated_also_when_its_header_was_edited(folder, alone, edit):
    header, data = read(alone)
    header["__metadata__"]["note"] = edit
    write(alone, header, data[:-1])

    found = only(alone, folder / "manifest.json")

    assert (found.verdict, found.whole.n_whole) == ("truncated", 4)


def test_cut_file_of_somebody_else_is_not_what_it_claims(folder, alone):
    safetensors.torch.save_file({"other": torch.ones(99)}, alone)
    alone.write_bytes(alone.read_bytes()[:-1])

    found = only(alone, folder / "manifest.json")

    assert found.verdict == "not what it claims"


def test_pickled_file_can_be_compared_with_sums(tmp_path):
    path = tmp_path / "old.ckpt"
    path.write_bytes(b"PK\x03\x04 no model")

    assert only(path, sha256_of(path)).verdict == "intact"


def test_files_that_the_list_names_and_that_are_not_there_are_missing(sums):
    (sums / FP8).unlink()

    report = check(sums, sums / "SHA256SUMS")

    assert {file.name: file.verdict for file in report.files} == {
        FP16: "intact",
        FP8: "missing",
    }


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("KBlueLeaf/Kohaku-XL-gamma", HubRevision("KBlueLeaf/Kohaku-XL-gamma", "main")),
        ("a/b@v1.0", HubRevision("a/b", "v1.0")),
        ("hf://a/b@refs", HubRevision("a/b", "refs")),
    ],
)
def test_repository_is_told_from_a_path(what, named):
    assert read_named(what) == named


@pytest.mark.parametrize(
    "what", ["", "x", "a/b/c", "a/b@", "0123456789a", "g" * 10, "a b", "e3b0c44298"]
)
def test_what_is_nothing_is_refused_with_the_forms(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError) as caught:
        read_named(what or "\0")

    assert caught.value.code == "against"
    assert caught.value.hint


@pytest.mark.parametrize("what", ["no/manifest.json", "SHA256SUMS", "a/XXH128SUMS"])
def test_list_that_is_not_there_is_not_looked_for_on_the_hub(
    what, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError) as caught:
        read_named(what)

    assert caught.value.code == "not-found"


def test_folder_without_a_manifest_is_no_list(tmp_path):
    with pytest.raises(InputError) as caught:
        read_named(str(tmp_path))

    assert caught.value.code == "not-a-file"
    assert "name a manifest.json" in caught.value.hint


def test_release_folder_stands_for_its_manifest(folder, alone):
    assert only(alone, folder).verdict == "intact"


@pytest.mark.parametrize("what", ["", " "])
def test_nothing_is_no_list(what, alone, krelease):
    code, _, err = krelease("verify", alone, "--against", what)

    assert code == 2
    assert "--against: is empty" in err


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_file_that_holds_a_digest_alone_is_one(alone, tmp_path, end):
    path = tmp_path / "it.sha256"
    path.write_bytes((sha256_of(alone) + end).encode())

    assert only(alone, path).reached.compared == "sha256"
    path.write_bytes(b"1" * 64 + end.encode())
    assert only(alone, path).verdict == "not what it claims"


def test_digest_may_name_its_algorithm(alone):
    assert only(alone, f"sha256:{sha256_of(alone)}").verdict == "intact"


def test_list_that_has_neither_name_nor_digest_is_said_to_have_neither(sums, alone):
    header, data = read(alone)
    header["__metadata__"]["note"] = "edited"
    edited = alone.with_name("edited.safetensors")
    write(edited, header, data)

    found = only(edited, sums / "SHA256SUMS")

    assert found.verdict == "not what it claims"
    assert f"has neither edited.safetensors nor the SHA-256 {sha256_of(edited)}" in (
        found.detail
    )
    assert f"it has {FP16}, {FP8}" in found.detail
    assert "so it is whole" in found.detail
    assert sha256_of(alone) not in found.detail


@pytest.mark.parametrize("name", ["../out", "SMALL-fp16.safetensors"])
def test_name_that_sums_must_not_have_is_shown_with_its_line(sums, alone, name):
    path = sums / "SHA256SUMS"
    with path.open("a") as file:
        file.write(f"{'1' * 64}  {name}\n")

    with pytest.raises(IntegrityError) as caught:
        only(alone, path)

    assert str(caught.value).startswith(f"{path}: line 3: ")


def test_list_of_another_program_shows_the_line(folder, alone):
    (folder / "LIST").write_text(f"SHA1 ({FP16}) = 0123\n")

    with pytest.raises(IntegrityError) as caught:
        only(alone, folder / "LIST")

    assert f"line 1: got 'SHA1 ({FP16}) = 0123'" in str(caught.value)


def test_release_that_the_user_names_is_shown_by_the_command(folder, alone, krelease):
    flip(alone, -1)

    code, out, err = krelease("verify", alone, "--against", folder / "manifest.json")

    nbytes = alone.stat().st_size
    assert code == 5
    assert out.startswith(f"damaged  {FP16}  1 tensor is damaged: ")
    assert f"bytes 0 to {nbytes - 1:,}: " in out
    assert "by chunks of 1 MiB" in out
    assert "anyone can make another file with the same value" in out
    assert "error: " in err


def test_json_says_where_and_who_says_so(folder, alone, krelease):
    flip(alone, -1)

    code, out, _ = krelease(
        "verify", alone, "--against", folder / "manifest.json", "--json"
    )

    (found,) = json.loads(out)["files"]
    assert code == 5
    assert found["verdict"] == "damaged"
    assert found["source"] == "named manifest"
    assert found["compared"] == "xxh3"
    assert found["damage"]["ranges"] == [[0, alone.stat().st_size]]
    assert [each["name"] for each in found["damage"]["tensors"]] == found["tensors"]
