"""Every name of a file, against coreutils, xxh128sum, git and values known before."""

import hashlib  # noqa: TID251 - an oracle of its own
import json
import os
import shutil
import subprocess
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import safetensors

from release.errors import InputError
from release.inspection.hashes import hash_files
from release.numeric.digest import xxh3_128
from release.progress import NoProgress

MIB = 2**20

KNOWN_HEADER = (
    b'{"__metadata__":{"modelspec.title":"t"},"a":{"dtype":"F16","shape":[2],'
    b'"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[1,2],"data_offsets":[4,8]}}    '
)
KNOWN_DATA = bytes.fromhex("003c004000420044")


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A file of 168 bytes whose names were computed by other programs."""
    path = tmp_path / "known.safetensors"
    path.write_bytes(
        len(KNOWN_HEADER).to_bytes(8, "little") + KNOWN_HEADER + KNOWN_DATA
    )
    return path


@pytest.fixture
def binary(tmp_path: Path):
    """Write a file of so many random bytes."""

    def write(nbytes: int) -> Path:
        path = tmp_path / f"{nbytes}.bin"
        path.write_bytes(np.random.default_rng(nbytes).bytes(nbytes))
        return path

    return write


def names(path, *, threads=2):
    (found,) = hash_files([path], threads=threads, progress=NoProgress())
    return found


def first_word(*command):
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return run.stdout.split()[0]


def test_known_file_has_its_known_names(known):
    found = names(known)

    assert found.sha256 == (
        "ea017327cd627ec31650243d2a94023f17715a9f822fe9dc5b4a74b86e14a4f6"
    )
    assert found.autov2 == "EA017327CD"
    assert found.data_sha256 == (
        "df5841b1f3e41c4055420b2d3f7914bc17c897f83bdd649eb6437e2482ad6496"
    )
    assert found.autov3 == "DF5841B1F3E4"
    assert found.modelspec == f"0x{found.data_sha256}"
    assert found.git_blob == "2e4ba43829a946abada92685cd854bfbc153ebc2"
    assert found.git_lfs_pointer == "4a31f9a13d26c3dbc5b01de2dc6ef9e3641cca32"
    lines = (
        f'["a","F16",[2],"{xxh3_128(KNOWN_DATA[:4])}"]\n'
        f'["b","F16",[1,2],"{xxh3_128(KNOWN_DATA[4:])}"]\n'
    )
    assert found.tensor_set_xxh3_128 == xxh3_128(lines.encode())


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("nbytes", [0, 1, MIB, 4 * MIB, 12 * MIB + 5])
def test_names_of_any_file_are_those_of_the_usual_programs(binary, nbytes, threads):
    path = binary(nbytes)

    found = names(path, threads=threads)

    assert found.nbytes == nbytes
    assert found.sha256 == first_word("sha256sum", path)
    assert found.xxh3_128 == first_word("xxh128sum", path)
    small = nbytes <= 10 * MIB
    content = b"blob %d\0" % nbytes + path.read_bytes()
    blob = hashlib.sha1(content).hexdigest()  # noqa: S324 - git's choice
    assert found.git_blob == (blob if small else None)
    assert found.data_sha256 is found.autov3 is found.tensor_set_xxh3_128 is None
    assert found.absent["data_sha256"].startswith("not a safetensors file: ")


@pytest.mark.parametrize(
    ("nbytes", "is_there", "on_civitai"),
    [
        (MIB, False, False),
        (MIB + 1, True, False),
        (2 * MIB - 1, True, False),
        (2 * MIB, True, True),
        (5 * MIB, True, True),
    ],
)
def test_autov1_is_of_64_kib_and_absent_from_small_files(
    binary, nbytes, is_there, on_civitai
):
    path = binary(nbytes)

    found = names(path)

    window = hashlib.sha256(path.read_bytes()[MIB : MIB + 0x10000]).hexdigest()
    assert found.autov1 == (window[:8].upper() if is_there else None)
    assert ("e3b0c442" in found.absent.get("autov1", "")) is not is_there
    assert found.is_autov1_on_civitai is on_civitai


def test_names_of_data_survive_an_edited_header_and_the_others_do_not(
    ingredients, tmp_path
):
    path, edited = ingredients["beta7"], tmp_path / "edited.safetensors"
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"]["note"] = "x" * 1000
    text = json.dumps(header).encode()
    edited.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])

    before, after = names(path), names(edited)

    assert before.data_sha256 == hashlib.sha256(content[end:]).hexdigest()
    assert before.data_sha256 == after.data_sha256
    assert before.tensor_set_xxh3_128 == after.tensor_set_xxh3_128
    assert before.sha256 != after.sha256
    assert before.xxh3_128 != after.xxh3_128


def test_tensor_set_is_the_one_that_krelease_writes_into_its_files(release_folder):
    path = next(release_folder.glob("*-fp8.safetensors"))
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()

    found = names(path)

    assert found.tensor_set_xxh3_128 == metadata["krelease.tensor_set_xxh3_128"]
    assert found.modelspec == metadata["modelspec.hash_sha256"]


def test_file_without_data_is_not_called_by_the_hash_of_nothing(tmp_path):
    path = tmp_path / "empty.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")

    found = names(path)

    assert found.data_sha256 is found.autov3 is found.modelspec is None
    assert "the data section is empty" in found.absent["data_sha256"]


def test_cut_checkpoint_has_no_names_of_data_and_says_why(known):
    known.write_bytes(known.read_bytes()[:-1])

    found = names(known)

    assert found.data_sha256 is None
    assert found.absent["data_sha256"].startswith("not a safetensors file: ")
    assert found.sha256 == first_word("sha256sum", known)


def test_file_that_changes_while_it_is_read_is_refused(binary):
    path = binary(9 * MIB)

    class Meddler(NoProgress):
        def stage(self, label, nbytes):
            del label, nbytes
            return nullcontext(lambda _: os.utime(path, ns=(1, 1)))

    with pytest.raises(InputError) as caught:
        hash_files([path], threads=2, progress=Meddler())
    assert caught.value.code == "input-changed"


def test_every_file_is_looked_at_before_the_first_is_read(binary, tmp_path):
    class Unreached(NoProgress):
        def stage(self, label, nbytes):
            pytest.fail(f"{label} of {nbytes} bytes began")

    with pytest.raises(InputError) as caught:
        hash_files([binary(5), tmp_path / "none"], threads=1, progress=Unreached())
    assert caught.value.code == "not-found"


def test_no_thread_is_left(binary):
    before = threading.active_count()

    names(binary(9 * MIB))

    assert threading.active_count() == before


# The command.


def test_document_has_every_name_and_reasons_for_those_that_are_absent(
    krelease, known, binary
):
    code, out, _ = krelease("hash", known, binary(7), "--json")

    assert code == 0
    document = json.loads(out)
    assert document["schema"] == "krelease.hash/1"
    first, second = document["files"]
    assert first["hashes"]["modelspec"].startswith("0xdf5841b1f3e4")
    assert first["absent"].keys() == {"autov1"}
    assert second["absent"].keys() == {
        key for key, value in second["hashes"].items() if value is None
    }
    assert all(second["absent"].values())


def test_text_shows_names_and_says_what_is_missing(krelease, known):
    code, out, _ = krelease("hash", known)

    assert code == 0
    assert f"{known}: 168 B (168 bytes)" in out
    assert "  AutoV2        EA017327CD  " in out
    assert "  no AutoV1: it is taken from byte 1,048,576 on" in out


def test_quiet_lines_are_those_of_sha256sum(krelease, known, binary, tmp_path):
    odd = shutil.copy(known, tmp_path / "two\nlines")
    paths = [known, binary(100), odd]

    _, out, err = krelease("hash", *paths, "--quiet")

    expected = subprocess.run(
        ["sha256sum", *paths], check=True, capture_output=True, text=True
    )
    assert (out, err) == (expected.stdout, "")


def test_folder_and_missing_file_are_refused(krelease, tmp_path):
    folder, _, err = krelease("hash", tmp_path)
    missing, _, _ = krelease("hash", tmp_path / "no\nne")

    assert (folder, missing) == (4, 4)
    assert "is a directory, expected a regular file" in err
