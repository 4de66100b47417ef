"""A whole file, or a damaged one, is never replaced by one that it was not."""

import json

import pytest
from safetensors.numpy import load_file, save_file

MIB = 2**20
NAME = "model-fp16.safetensors"
RECORD = "model-fp16.krelease.json"


def flip(position):
    def change(content):
        content[position] ^= 1
        return content

    return change


def edit_header(content):
    """Add a note, as another program would: the header becomes longer."""
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    header["__metadata__"]["note"] = "edited by somebody else"
    raw = json.dumps(header, separators=(",", ":")).encode()
    return len(raw).to_bytes(8, "little") + raw + content[8 + n :]


@pytest.fixture
def licence(tmp_path, sha256sum):
    """A licence in a folder whose sums know it."""
    path = tmp_path / "release" / "LICENSE"
    path.parent.mkdir()
    path.write_text("do what you want\n")
    (path.parent / "SHA256SUMS").write_text(f"{sha256sum(path)}  LICENSE\n")
    return path


@pytest.mark.parametrize("change", [bytearray, flip(9 * MIB)])
def test_licence_never_takes_the_place_of_a_checkpoint(
    damage, refused, licence, change
):
    damage(change, record=False)

    code, word, _ = refused("--from", licence, "--full")

    assert (code, word) == (5, "source-header")


def test_licence_never_takes_the_place_of_a_checkpoint_with_a_broken_header(
    damage, refused, licence
):
    damage(flip(2), record=False)

    assert refused("--from", licence, "--full")[:2] == (5, "source-header")


@pytest.mark.parametrize("option", ["--full", "--by-parts"])
@pytest.mark.parametrize("change", [bytearray, flip(9 * MIB), flip(2 * MIB)])
def test_another_checkpoint_never_takes_the_place(
    damage, refused, known_stranger, change, option
):
    damage(change, record=False)

    code, word, message = refused("--from", known_stranger, option)

    assert (code, word) == (5, "different-file")
    assert "0 of 8 tensors that the file's own header names" in message


def test_another_checkpoint_without_a_list_never_takes_the_place(
    damage, refused, tmp_path, whole
):
    damage(flip(9 * MIB), record=False)
    path = tmp_path / "plain.safetensors"
    save_file({k: v + 1 for k, v in load_file(whole).items()}, path)

    assert refused("--from", path, "--full")[:2] == (5, "different-file")


def test_list_beside_the_source_is_called_so(damage, repaired, whole):
    damage(flip(9 * MIB), record=False)

    assert repaired("--from", whole)["told_by"] == f"{RECORD} beside the source"


def test_file_without_header_is_not_replaced_by_one_of_another_name(
    krelease, here, licence
):
    (here / "card.txt").write_text("my own text")

    code, out, _ = krelease("repair", "card.txt", "--from", licence, "--full", "--json")

    assert (code, json.loads(out)["code"]) == (5, "different-file")
    assert (here / "card.txt").read_text() == "my own text"


def test_against_is_asked_before_the_files_own_header(damage, refused, lone, whole):
    path = damage(record=False)
    path.write_bytes(edit_header(path.read_bytes()))

    code, word, message = refused("--from", lone, "--against", whole.with_name(RECORD))

    assert (code, word) == (5, "header-edited")
    assert "another program has edited the header" in message


def test_edited_header_is_replaced_where_against_says_what_it_was(
    damage, repaired, lone, whole
):
    path = damage(record=False)
    path.write_bytes(edit_header(path.read_bytes()))

    report = repaired("--from", lone, "--full", "--against", whole.with_name(RECORD))

    assert (report["outcome"], report["checked"]) == ("repaired", "SHA-256")


def test_renamed_file_with_an_edited_header_is_known_by_its_tensors(
    damage, krelease, here, lone, whole
):
    path = damage(record=False)
    path.write_bytes(edit_header(path.read_bytes()))
    path.rename(here / "x.safetensors")

    code, out, _ = krelease(
        "repair", "x.safetensors", "--from", lone, "--against",
        whole.with_name(RECORD), "--json",
    )  # fmt: skip

    assert (code, json.loads(out)["code"]) == (5, "header-edited")


def test_list_that_does_not_know_the_file_is_refused(
    damage, krelease, here, lone, known_stranger
):
    damage(lambda c: c[: 5 * MIB], record=False).rename(here / "x.safetensors")

    code, out, _ = krelease(
        "repair", "x.safetensors", "--from", lone, "--against",
        known_stranger.with_name(RECORD), "--json",
    )  # fmt: skip

    assert (code, json.loads(out)["code"]) == (5, "not-named")


def test_full_repair_of_a_cut_file_reports_what_was_missing(
    damage, repaired, lone, whole_sum, tmp_path
):
    size = lone.stat().st_size
    damage(lambda content: content[: 5 * MIB], record=False)

    report = repaired("--from", lone, "--full", "--against", whole_sum)

    assert report["missing_nbytes"] == size - 5 * MIB
    assert report["ranges"] == [[5 * MIB, size]]
    assert report["damaged_nbytes"] == 0


@pytest.fixture
def release(tmp_path, whole, sha256sum):
    """A folder that lists the whole file under the name that it was published by."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / NAME).write_bytes(whole.read_bytes())
    (folder / "SHA256SUMS").write_text(f"{sha256sum(whole)}  {NAME}\n")
    return folder


def test_folder_is_searched_by_the_sum_of_a_renamed_file(
    damage, krelease, here, release, whole_sum, sha256sum
):
    path = damage(flip(9 * MIB), record=False).rename(here / "x.safetensors")

    code, _, err = krelease(
        "repair", path.name, "--from", release, "--against", whole_sum
    )

    assert code == 0, err
    assert sha256sum(path) == whole_sum


def test_folder_is_searched_by_the_tensors_of_a_renamed_file(
    damage, krelease, here, whole, whole_sum, sha256sum
):
    path = damage(flip(9 * MIB), record=False).rename(here / "x.safetensors")

    code, out, err = krelease("repair", path.name, "--from", whole.parent)

    assert code == 0, err
    assert sha256sum(path) == whole_sum
    assert f"told by {RECORD} beside the source" in out


def test_folder_that_does_not_know_the_file_asks_for_the_copy(
    damage, krelease, here, release
):
    damage(flip(2), record=False).rename(here / "x.safetensors")

    code, _, err = krelease("repair", "x.safetensors", "--from", release)

    assert code == 4
    assert "has no x.safetensors" in err
    assert "name the copy itself" in err
