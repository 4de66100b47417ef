"""A damaged file and another copy on disk: always the original, never a byte more."""

import errno
import fcntl
import json
import os
import shutil

import pytest
from numpy.random import default_rng
from safetensors.numpy import save_file

from release.repair.source import FileSource

MIB = 2**20
NAME = "model-fp16.safetensors"
RECORD = "model-fp16.krelease.json"


def flip(*positions):
    def change(content):
        for position in positions:
            content[position] ^= 1 << (position % 8)
        return content

    return change


def zero(begin, nbytes):
    def change(content):
        content[begin : begin + nbytes] = bytes(nbytes)
        return content

    return change


def cut(part):
    return lambda content: content[: int(len(content) * part)]


def insert(position, what=b"\x2a"):
    return lambda content: content[:position] + what + content[position:]


def remove(position):
    return lambda content: content[:position] + content[position + 1 :]


def append(what):
    return lambda content: content + what


DAMAGES = {
    "one bit": (flip(7 * MIB + 5), MIB),
    "two bits in neighbours": (flip(3 * MIB - 1, 3 * MIB), 2 * MIB),
    "five bits": (flip(MIB, 3 * MIB, 5 * MIB, 7 * MIB, 11 * MIB + 9), 5 * MIB),
    "last byte": (flip(-1), MIB),
    "4 MiB zeroed": (zero(5 * MIB, 4 * MIB), 4 * MIB),
    "4 MiB zeroed across chunks": (zero(5 * MIB + 77, 4 * MIB), 5 * MIB),
    "cut at half": (cut(0.5), 7 * MIB),
    "cut in the header": (cut(0.00001), 12 * MIB),
    "cut to nothing": (cut(0), 12 * MIB),
    "cut by one byte": (lambda content: content[:-1], MIB),
    "length field": (flip(3), MIB),
    "header": (flip(500), MIB),
    "header zeroed": (zero(0, 300), MIB),
    "byte inserted": (insert(8 * MIB), 4 * MIB),
    "byte removed": (remove(8 * MIB), 4 * MIB),
    "bytes behind the end": (append(b"<html>"), 0),
    "bit and bytes behind the end": (lambda c: flip(9 * MIB)(c) + b"x" * 5000, MIB),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_chunks_of_a_record_lead_to_the_original(damage, repaired, lone, case):
    change, nbytes_max = DAMAGES[case]
    damage(change)

    report = repaired("--from", lone)

    assert report["outcome"] == "repaired"
    assert report["fetched_nbytes"] <= nbytes_max
    assert report["fetched_nbytes"] == report["to_fetch_nbytes"]
    assert report["told_by"] == RECORD
    assert report["checked"] == "SHA-256"


@pytest.mark.parametrize("case", sorted(DAMAGES.keys() - {"header"}))
def test_tensors_of_a_header_lead_to_the_original(damage, repaired, lone, case):
    change, _ = DAMAGES[case]
    damage(change, record=False)

    report = repaired("--from", lone, "--by-parts")

    assert report["outcome"] == "repaired"
    assert report["checked"] == "the xxh3 of header and tensors"
    assert report["fetched_nbytes"] == report["to_fetch_nbytes"]


def other_digit(content):
    """Change one digit of a tensor's digest in the header to another digit."""
    at = content.index(b'"krelease.tensors_xxh3_128":"') + 40
    content[at] = ord("1") if content[at] == ord("0") else ord("0")
    return content


def other_name(content):
    return content.replace(b'input_blocks.3.weight"', b'input_blocks.9.weight"')


def other_shape(content):
    at = content.index(b'"shape":[') + len(b'"shape":[')
    assert content[at : at + 4] == b"256,"
    end = content.index(b"]", at)
    columns = int(content[at + 4 : end])
    content[at:end] = b"%d,%d" % (columns, 256)
    return content


@pytest.mark.parametrize("change", [other_digit, other_name, other_shape])
def test_header_that_reads_well_and_is_damaged_is_fetched(
    damage, repaired, lone, facts, change
):
    damage(change, record=False)

    report = repaired("--from", lone)

    assert report["fetched_nbytes"] == facts["header_nbytes"]
    assert report["ranges"] == [[0, facts["header_nbytes"]]]


def test_damaged_metadata_is_beyond_what_a_header_tells(krelease, damage, lone):
    at = lone.read_bytes().index(b"something small")
    damage(flip(at), record=False)

    code, out, _ = krelease("repair", NAME, "--from", lone)

    assert (code, out.splitlines()[0]) == (0, f"intact: {NAME}")
    assert "its metadata has no digest" in out


def test_damaged_tensor_is_fetched_alone_with_the_header(damage, repaired, lone, facts):
    damage(flip(8 * MIB), record=False)
    (tensor,) = [
        each
        for each in facts["tensors"]
        if each["offset"] <= 8 * MIB < each["offset"] + each["nbytes"]
    ]

    report = repaired("--from", lone)

    assert report["ranges"] == [[tensor["offset"], tensor["offset"] + tensor["nbytes"]]]
    assert report["fetched_nbytes"] == tensor["nbytes"] + facts["header_nbytes"]


@pytest.mark.parametrize("record", [True, False])
def test_intact_file_is_left_alone_and_nothing_is_fetched(
    damage, repaired, lone, record
):
    path = damage(record=record)
    before = path.stat()

    report = repaired("--from", lone)

    assert (report["outcome"], report["fetched_nbytes"]) == ("intact", 0)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )


def test_second_repair_finds_the_file_intact(damage, repaired, lone):
    damage(flip(9 * MIB))

    first, second = repaired("--from", lone), repaired("--from", lone)

    assert (first["outcome"], second["outcome"]) == ("repaired", "intact")


def test_people_are_told_what_was_fetched_of_how_much(krelease, damage, lone):
    damage(flip(9 * MIB))

    code, out, _ = krelease("repair", NAME, "--from", lone, "--quiet", "--dry-run")
    assert (code, out) == (0, f"{NAME}\n")
    code, out, err = krelease("repair", NAME, "--from", lone)

    assert code == 0, err
    size = lone.stat().st_size
    assert f"fetched 1,048,576 bytes (1.05 MB) of {size:,} bytes (12." in out
    assert f"MB) from {lone}\n" in out
    assert "checked by SHA-256 " in out
    assert f"told by {RECORD}" in out
    assert "fetch: 1.05 MB" in err


@pytest.mark.parametrize("record", [True, False])
def test_dry_run_says_what_a_repair_then_fetches(
    krelease, damage, repaired, lone, here, record
):
    path = damage(flip(2 * MIB, 10 * MIB), record=record)
    before = sorted(here.iterdir()), path.stat().st_mtime_ns, path.stat().st_ino

    code, out, err = krelease("repair", NAME, "--json", "--dry-run", "--from", lone)

    assert code == 0, err
    planned = json.loads(out)
    after = sorted(here.iterdir()), path.stat().st_mtime_ns, path.stat().st_ino
    assert after == before
    assert planned["outcome"] == "damaged"
    done = repaired("--from", lone)
    assert planned["to_fetch_nbytes"] == done["fetched_nbytes"]
    assert planned["ranges"] == done["ranges"]


def test_damaged_file_is_kept_when_asked_for(damage, repaired, lone, here):
    content = damage(flip(9 * MIB)).read_bytes()

    report = repaired("--from", lone, "--keep")

    assert report["kept"] == f"{NAME}.damaged"
    assert (here / report["kept"]).read_bytes() == content


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_damaged_file_is_kept_where_files_have_one_name_only(
    damage, repaired, lone, here, monkeypatch, number
):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("release.repair.keep.os.link", refuse)
    content = damage(flip(9 * MIB)).read_bytes()

    report = repaired("--from", lone, "--keep")

    assert (here / report["kept"]).read_bytes() == content


def test_kept_file_never_replaces_one_that_appears_meanwhile(
    damage, krelease, lone, here, monkeypatch
):
    path = damage(flip(9 * MIB))
    content = path.read_bytes()
    read_range = FileSource.read_range

    def change(source, begin, end):
        (here / f"{NAME}.damaged").write_text("mine")
        yield from read_range(source, begin, end)

    monkeypatch.setattr("release.repair.source.FileSource.read_range", change)

    code, _, _ = krelease("repair", NAME, "--from", lone, "--keep")

    assert code == 9
    assert path.read_bytes() == content
    assert (here / f"{NAME}.damaged").read_text() == "mine"


def test_kept_file_never_replaces_another(damage, refused, lone, here):
    damage(flip(9 * MIB))
    (here / f"{NAME}.damaged").write_text("mine")

    assert refused("--from", lone, "--keep")[:2] == (9, "output-exists")
    assert (here / f"{NAME}.damaged").read_text() == "mine"


def test_repaired_file_has_the_permissions_of_the_damaged(damage, repaired, lone):
    path = damage(flip(9 * MIB))
    path.chmod(0o640)

    repaired("--from", lone)

    assert path.stat().st_mode & 0o777 == 0o640


def test_renamed_file_is_known_by_its_header(krelease, damage, lone, here, sha256sum):
    damage(flip(9 * MIB)).rename(here / "other.safetensors")

    code, _, err = krelease(
        "repair", "other.safetensors", "--from", lone, "--against", RECORD
    )

    assert code == 0, err
    assert sha256sum(here / "other.safetensors") == sha256sum(lone)


def test_folder_is_searched_for_the_files_name(damage, repaired, lone):
    damage(flip(9 * MIB))

    assert repaired("--from", lone.parent)["source"] == str(lone)


def test_record_beside_the_other_copy_is_believed_too(damage, repaired, whole):
    damage(flip(9 * MIB), record=False)

    report = repaired("--from", whole)

    assert report["fetched_nbytes"] == MIB


@pytest.mark.parametrize(
    "case", ["one bit", "cut at half", "header", "bytes behind the end"]
)
def test_clone_of_the_damaged_file_is_mended_where_there_are_clones(
    damage, repaired, lone, monkeypatch, case
):
    def clone(output, source):
        output.write_at(0, source.read(0, source.nbytes))
        return True

    monkeypatch.setattr("release.formats.kept_output.KeptOutput.clone", clone)
    change, nbytes_max = DAMAGES[case]
    damage(change)

    assert repaired("--from", lone)["fetched_nbytes"] <= nbytes_max


def test_file_that_changes_meanwhile_stays_as_it_was_made(
    damage, krelease, lone, monkeypatch
):
    path = damage(flip(9 * MIB))
    read_range = FileSource.read_range

    def change(source, begin, end):
        path.write_bytes(b"changed")
        yield from read_range(source, begin, end)

    monkeypatch.setattr("release.repair.source.FileSource.read_range", change)

    code, out, _ = krelease("repair", NAME, "--json", "--from", lone)

    assert (code, json.loads(out)["code"]) == (4, "input-changed")
    assert path.read_bytes() == b"changed"


def test_part_that_the_disk_refuses_to_read_is_fetched(
    damage, repaired, lone, monkeypatch, here
):
    path = damage()
    inode = path.stat().st_ino
    preadv = os.preadv

    def refuse(descriptor, buffers, offset):
        if os.fstat(descriptor).st_ino == inode and offset // MIB == 4:
            raise OSError(5, "Input/output error")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr("release.formats.input.os.preadv", refuse)

    report = repaired("--from", lone)

    assert report["ranges"] == [[4 * MIB, 5 * MIB]]


class TestMostlyDamaged:
    def test_it_is_said_and_nothing_done(self, damage, refused, lone):
        damage(zero(2 * MIB, 7 * MIB))

        code, word, message = refused("--from", lone)

        assert (code, word) == (5, "mostly-damaged")
        assert "7,340,032 of " in message

    def test_by_parts_fetches_the_damaged_ones(self, damage, repaired, lone):
        damage(zero(2 * MIB, 7 * MIB))

        assert repaired("--from", lone, "--by-parts")["fetched_nbytes"] == 7 * MIB

    def test_full_fetches_everything(self, damage, repaired, lone):
        damage(zero(2 * MIB, 7 * MIB))

        report = repaired("--from", lone, "--full")

        assert report["fetched_nbytes"] == lone.stat().st_size

    def test_a_cut_file_is_completed_without_being_asked(self, damage, repaired, lone):
        damage(cut(0.1))

        assert repaired("--from", lone)["fetched_nbytes"] < lone.stat().st_size


class TestWrongSource:
    def test_another_size_is_another_file(self, damage, refused, tmp_path, lone):
        damage(flip(9 * MIB))
        other = tmp_path / "other.safetensors"
        other.write_bytes(lone.read_bytes() + b"\0")

        assert refused("--from", other)[:2] == (5, "different-file")

    def test_other_bytes_are_refused(self, damage, refused, tmp_path, lone):
        damage(flip(9 * MIB))
        other = tmp_path / "other.safetensors"
        other.write_bytes(flip(9 * MIB + 7)(bytearray(lone.read_bytes())))

        code, word, message = refused("--from", other, leaves=True)

        assert (code, word) == (5, "source-bytes")
        assert "bytes 9,437,184 to 10,485,760" in message

    def test_tensor_with_other_bytes_is_named(self, damage, refused, tmp_path, lone):
        damage(flip(2 * MIB), record=False)
        other = tmp_path / "other.safetensors"
        other.write_bytes(flip(3 * MIB)(bytearray(lone.read_bytes())))

        code, word, message = refused("--from", other, leaves=True)

        assert (code, word) == (5, "source-bytes")
        assert ": tensor model.diffusion_model.input_blocks.2.weight, bytes" in message

    def test_damage_elsewhere_in_the_source_does_not_matter(
        self, damage, repaired, tmp_path, lone
    ):
        damage(flip(9 * MIB))
        other = tmp_path / "other.safetensors"
        other.write_bytes(flip(8 * MIB)(bytearray(lone.read_bytes())))

        assert repaired("--from", other)["fetched_nbytes"] == MIB

    def test_two_damaged_copies_make_one_whole(
        self, damage, repaired, refused, tmp_path, lone
    ):
        damage(flip(5 * MIB, 8 * MIB))
        content = bytearray(lone.read_bytes())
        (tmp_path / "a").write_bytes(flip(8 * MIB)(bytearray(content)))
        (tmp_path / "b").write_bytes(flip(5 * MIB)(bytearray(content)))

        assert refused("--from", tmp_path / "a", leaves=True)[1] == "source-bytes"
        assert repaired("--from", tmp_path / "b")["fetched_nbytes"] == MIB

    def test_header_of_another_checkpoint_is_refused(
        self, damage, refused, tmp_path, lone
    ):
        damage(flip(8 * MIB), record=False)
        (tmp_path / "other").write_bytes(other_digit(bytearray(lone.read_bytes())))

        assert refused("--from", tmp_path / "other")[:2] == (5, "different-file")

    @pytest.mark.parametrize(
        ("record", "word"), [(True, "source-bytes"), (False, "different-file")]
    )
    def test_another_checkpoint_of_the_same_form_is_refused(
        self, damage, refused, stranger, record, word
    ):
        damage(flip(2 * MIB), record=record)

        assert refused("--from", stranger, leaves=record)[:2] == (5, word)

    def test_no_safetensors_at_all_is_refused(self, damage, refused, tmp_path, lone):
        damage(zero(0, 100), record=False)
        (tmp_path / "other").write_bytes(bytes(lone.stat().st_size))

        assert refused("--from", tmp_path / "other")[:2] == (5, "source-header")

    def test_the_file_itself_is_no_source(self, damage, refused):
        path = damage(flip(9 * MIB))

        assert refused("--from", path)[:2] == (2, "same-file")

    def test_missing_copy_is_named(self, damage, refused):
        damage(flip(9 * MIB))

        assert refused("--from", "./no-such-file")[:2] == (4, "not-found")

    @pytest.mark.parametrize("name", [".", "/", "no-such-file"])
    def test_what_is_no_file_is_told_before_anything_is_asked(self, krelease, name):
        code, out, _ = krelease("repair", name, "--from", "maker/model", "--json")

        assert code == 4
        assert json.loads(out)["code"] in {"not-a-file", "not-found"}


class TestWithoutDigestsOfParts:
    @pytest.fixture
    def bare(self, tmp_path, here):
        """A file of another program, damaged here and whole elsewhere."""
        whole = tmp_path / NAME
        save_file({"w": default_rng(3).random(500_000)}, whole)
        shutil.copy(whole, here / NAME)
        with (here / NAME).open("r+b") as file:
            file.seek(2_000_000)
            file.write(b"damage")
        return whole

    def test_nothing_known_at_all_is_said(self, bare, refused):
        code, word, message = refused("--from", bare)

        assert (code, word) == (5, "no-digests")
        assert "no digests exist for this file" in message

    def test_sums_alone_need_consent_to_fetch_everything(
        self, bare, refused, here, sha256sum
    ):
        (here / "SHA256SUMS").write_text(f"{sha256sum(bare)}  {NAME}\n")

        code, word, message = refused("--from", bare)

        assert (code, word) == (5, "no-piece-digests")
        assert "cannot be found by comparing ranges" in message

    def test_full_fetches_everything_and_compares_the_sum(
        self, bare, krelease, here, sha256sum
    ):
        (here / "SHA256SUMS").write_text(f"{sha256sum(bare)}  {NAME}\n")

        code, out, err = krelease("repair", NAME, "--json", "--full", "--from", bare)

        assert code == 0, err
        assert json.loads(out)["fetched_nbytes"] == bare.stat().st_size
        assert json.loads(out)["digest"] == sha256sum(bare) == sha256sum(here / NAME)

    def test_full_from_a_damaged_copy_is_refused(self, bare, refused, here, sha256sum):
        (here / "SHA256SUMS").write_text(f"{sha256sum(bare)}  {NAME}\n")
        with bare.open("r+b") as file:
            file.write(b"\0\0\0")

        assert refused("--full", "--from", bare)[:2] == (5, "repaired-bytes")

    def test_intact_by_its_sum_is_said(self, bare, krelease, here, sha256sum):
        (here / "SHA256SUMS").write_text(f"{sha256sum(bare)}  {NAME}\n")
        shutil.copy(bare, here / NAME)

        code, out, _ = krelease("repair", NAME, "--json", "--from", bare)

        assert (code, json.loads(out)["outcome"]) == (0, "intact")

    def test_sums_and_the_own_header_work_together(
        self, damage, repaired, lone, here, sha256sum
    ):
        damage(flip(2 * MIB), record=False)
        (here / "SHA256SUMS").write_text(f"{sha256sum(lone)}  {NAME}\n")

        report = repaired("--from", lone)

        assert report["checked"] == "SHA-256"
        assert report["fetched_nbytes"] < 3 * MIB


class TestInTheWay:
    def test_symlink_is_refused_and_its_target_named(self, damage, refused, here, lone):
        path = damage(flip(9 * MIB))
        path.rename(here / "blob")
        path.symlink_to("blob")

        assert refused("--from", lone)[:2] == (4, "symlink")

    @pytest.mark.parametrize("kind", ["folder", "fifo", "symlink"])
    def test_something_else_under_the_copys_name_is_refused(
        self, damage, krelease, here, lone, kind
    ):
        path = damage(flip(9 * MIB))
        content = path.read_bytes()
        left = here / f".{NAME}.repair"
        {
            "folder": left.mkdir,
            "fifo": lambda: os.mkfifo(left),
            "symlink": lambda: left.symlink_to(here / RECORD),
        }[kind]()

        code, out, _ = krelease("repair", NAME, "--json", "--from", lone)

        assert code == 9
        assert json.loads(out)["hint"]
        assert path.read_bytes() == content
        assert json.loads((here / RECORD).read_text())

    def test_second_name_of_another_file_is_not_written(
        self, damage, refused, here, lone, tmp_path
    ):
        damage(flip(9 * MIB))
        other = tmp_path / "mine"
        other.write_text("mine")
        os.link(other, here / f".{NAME}.repair")

        assert refused("--from", lone)[:2] == (9, "not-a-file")
        assert other.read_text() == "mine"

    @pytest.mark.parametrize("content", [b"", b"rubbish", bytes(20 * MIB)])
    def test_rubbish_under_the_copys_name_is_overwritten(
        self, damage, repaired, here, lone, content
    ):
        damage(flip(9 * MIB))
        (here / f".{NAME}.repair").write_bytes(content)

        assert repaired("--from", lone)["fetched_nbytes"] == MIB

    def test_copy_that_is_being_written_is_left_alone(
        self, damage, refused, here, lone
    ):
        damage(flip(9 * MIB))
        with (here / f".{NAME}.repair").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

            assert refused("--from", lone)[:2] == (9, "output-busy")

    def test_folder_that_may_not_be_written_is_named(
        self, damage, refused, lone, monkeypatch
    ):
        damage(flip(9 * MIB))
        opened = os.open

        def refuse(path, flags, *rest, **more):
            if flags & os.O_CREAT and str(path).endswith(".repair"):
                raise PermissionError(13, "Permission denied", str(path))
            return opened(path, flags, *rest, **more)

        monkeypatch.setattr("release.formats.kept_output.os.open", refuse)

        assert refused("--from", lone)[:2] == (9, "write")

    def test_full_disk_is_an_error_before_anything_is_fetched(
        self, damage, refused, lone, monkeypatch
    ):
        damage(flip(9 * MIB))

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("release.formats.output.os.posix_fallocate", full)

        assert refused("--from", lone)[:2] == (9, "no-space")
