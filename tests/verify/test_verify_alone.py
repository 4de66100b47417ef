"""One file, with nothing beside it but the digests in its own header."""

import json
import shutil
import subprocess

import pytest
import safetensors
import safetensors.torch
import torch

from release.errors import IntegrityError
from release.progress import NoProgress
from release.verify.report import raise_if_bad
from release.verify.verify import verify

WEIGHT = "model.diffusion_model.out.2.weight"
LEVELS = ["xxh3", "sha256"]
DIGESTS = ("krelease.tensors_xxh3_128", "krelease.tensor_set_xxh3_128")


@pytest.fixture(params=["fp16", "fp8"])
def path(folder, tmp_path, request):
    """A published file that was renamed and taken out of its folder."""
    return (folder / f"small-{request.param}.safetensors").rename(tmp_path / "x.bak")


def check(path, level="xxh3"):
    (file,) = verify(path, level=level, threads=2, progress=NoProgress()).files
    return file


def read(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def write(path, header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("level", LEVELS)
def test_file_is_intact_under_another_name(path, level):
    found = check(path, level)

    assert found.verdict == "intact"
    assert found.name == "x.bak"
    assert found.variant in {"fp16", "fp8"}
    assert found.detail == "5 tensors equal the digests in the header"


def test_true_release_file_says_what_it_is(release_folder):
    path = release_folder / "kohaku-xl-gamma-rev2-fp8.safetensors"

    report = verify(path, level="sha256", threads=2, progress=NoProgress())

    assert report.is_intact
    assert report.release == "gamma-rev2"
    assert report.files[0].variant == "fp8"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("tensor", [WEIGHT, "ids"])
def test_damaged_tensor_is_named(path, level, tensor):
    header, data = read(path)
    begin, _ = header[tensor]["data_offsets"]
    write(path, header, data[:begin] + bytes([data[begin] ^ 1]) + data[begin + 1 :])

    report = verify(path, level=level, threads=2, progress=NoProgress())

    assert report.files[0].tensors == (tensor,)
    with pytest.raises(IntegrityError) as caught:
        raise_if_bad(report)
    assert tensor in str(caught.value)


@pytest.mark.parametrize("level", LEVELS)
def test_file_saved_again_by_the_safetensors_library_is_still_intact(path, level):
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(path)

    safetensors.torch.save_file(tensors, path, {**metadata, "note": "x"})

    assert check(path, level).verdict == "intact"


@pytest.mark.parametrize("level", LEVELS)
def test_file_whose_tensors_lie_in_another_order_has_the_same_weights(path, level):
    header, data = read(path)
    metadata = header.pop("__metadata__")
    turned, rest = {"__metadata__": metadata}, b""
    for name, entry in reversed(header.items()):
        begin, end = entry["data_offsets"]
        place = [len(rest), len(rest) + end - begin]
        turned[name] = {**entry, "data_offsets": place}
        rest += data[begin:end]

    write(path, turned, rest)

    report = verify(path, level=level, threads=2, progress=NoProgress())

    assert report.files[0].verdict == "re-serialised"
    # The weights are the same; the data section, and so its SHA-256, is another one.
    assert report.is_intact == (level == "xxh3")


def test_other_data_section_is_not_the_identity_that_the_header_states(path):
    header, data = read(path)
    header["__metadata__"]["modelspec.hash_sha256"] = "0x" + "0" * 64
    write(path, header, data)

    assert check(path, "xxh3").verdict == "intact"
    found = check(path, "sha256")
    assert found.verdict == "not what it claims"
    assert "SHA-256 of the data is" in found.detail


@pytest.mark.parametrize("value", [None, "", "00", "x" * 160, "0" * 159, "0" * 192])
def test_file_without_fitting_digests_is_unknown(path, value):
    header, data = read(path)
    header["__metadata__"][DIGESTS[0]] = value
    del header["__metadata__"]["modelspec.hash_sha256"]
    if value is None:
        del header["__metadata__"][DIGESTS[0]]
    write(path, header, data)

    report = verify(path, level="xxh3", threads=2, progress=NoProgress())

    assert report.files[0].verdict == "unknown"
    assert not report.is_intact
    with pytest.raises(IntegrityError) as caught:
        raise_if_bad(report)
    assert caught.value.code == "unverifiable"


def test_file_of_another_program_is_unknown_and_called_by_its_hashes(tmp_path):
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file({"w": torch.ones(3)}, path)

    found = check(path)

    sha256 = subprocess.run(
        ["sha256sum", path], check=True, capture_output=True, text=True
    ).stdout.split()[0]
    assert found.verdict == "unknown"
    assert f"{sha256} (AutoV2 {sha256[:10].upper()})" in found.detail
    assert found.reached is None


def rename(header):
    header[f"{WEIGHT}x"] = header.pop(WEIGHT)


def relabel(header):
    header["first_stage_model.decoder.conv_in.weight"]["dtype"] = "BF16"


def reshape(header):
    header[WEIGHT]["shape"].reverse()


@pytest.mark.parametrize("edit", [rename, relabel, reshape])
def test_damage_to_names_dtypes_and_shapes_is_found(path, edit):
    header, data = read(path)
    edit(header)
    write(path, header, data)

    found = check(path)

    assert found.verdict == "damaged"
    assert "a tensor's name, dtype or shape differs" in found.detail


def test_file_that_was_cut_says_what_is_whole(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1])

    found = check(path)

    last = list(read(path)[0])[-1]
    assert found.verdict == "truncated"
    assert found.tensors == (last,)
    assert found.detail == (
        f"ends after {len(data) - 1:,} of {len(data):,} bytes: 4 of 5 tensors are "
        f"whole; it ends inside {last}"
    )
    assert (found.whole.n_whole, found.whole.n_tensors) == (4, 5)


def test_cut_file_whose_beginning_is_damaged_says_both(path):
    header, data = read(path)
    first = list(header)[1]
    begin, _ = header[first]["data_offsets"]
    broken = bytearray(data)
    broken[begin] ^= 4
    write(path, header, bytes(broken[:-1]))

    found = check(path)

    assert found.verdict == "truncated"
    assert first in found.tensors
    assert "1 of those that are there are damaged" in found.detail


def test_bytes_behind_the_last_tensor_are_damage(path):
    with path.open("ab") as file:
        file.write(b"PK")

    found = check(path)

    assert found.verdict == "damaged"
    assert "2 bytes follow the last tensor" in found.detail


def test_damage_to_the_list_of_digests_is_told_from_damage_to_the_tensor(path):
    header, data = read(path)
    digests = header["__metadata__"][DIGESTS[0]]
    other = "0" if digests[0] != "0" else "1"
    header["__metadata__"][DIGESTS[0]] = other + digests[1:]
    write(path, header, data)

    found = check(path)

    first = min(name for name in header if name != "__metadata__")
    assert found.verdict == "damaged"
    assert found.detail == (
        f"the header is damaged: its digests of 1 tensor ({first}) are wrong"
    )
    assert found.damage.has_header
    assert found.damage.tensors == ()


def test_other_weights_under_the_old_digests_are_not_what_they_claim(path):
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(path)
    other = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    safetensors.torch.save_file(other, path, metadata)

    found = check(path)

    assert found.verdict == "not what it claims"
    assert "another program changed the weights and kept them" in found.detail


def test_data_that_is_all_zeros_behind_a_true_header_is_damaged(path):
    header, data = read(path)
    write(path, header, bytes(len(data)))

    found = check(path)

    assert (found.verdict, len(found.tensors)) == ("damaged", 5)


def test_hostile_metadata_is_shown_harmlessly(path):
    header, data = read(path)
    header["__metadata__"]["krelease.variant"] = "\x1b[2J" + "x" * 500
    write(path, header, data)

    variant = check(path).variant

    assert "\x1b" not in variant
    assert len(variant) < 100


def test_checkpoint_made_of_stand_ins_says_so_outside_its_folder(
    release_folder, tmp_path, krelease
):
    copy = tmp_path / "downloaded.safetensors"
    shutil.copy(release_folder / "kohaku-xl-gamma-rev2-fp16.safetensors", copy)
    krelease("convert", copy, "--to", "fp8", "--quiet")

    for path in (copy, tmp_path / "downloaded-fp8.safetensors"):
        code, out, _ = krelease("verify", path, "--json")
        assert (code, json.loads(out)["rehearsal"]) == (0, True)
