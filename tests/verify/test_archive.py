"""Release archives, read in place: what is in them, and what is damaged."""

import io
import random
import subprocess
import zipfile
import zlib
from pathlib import PurePosixPath

import pytest

from release.errors import InputError, IntegrityError
from release.formats import archive as written
from release.formats.archive import ZipMember, write_stored_zip
from release.formats.checkpoint import SafetensorsCheckpoint
from release.numeric.digest import Sha256, Xxh3Bits128
from release.verify import archive as room
from release.verify.archive import open_archive
from release.verify.tensors import tensor_digests

RANDOM = random.Random(7)  # noqa: S311
MEMBERS = {
    "LICENSE": b"Apache-2.0\n" * 300,
    "docs/grüße.md": "# grüße\n".encode(),
    "empty": b"",
    "weights.bin": RANDOM.randbytes(3 * 2**20 + 5),
}


class Unseekable(io.BytesIO):
    """A target to which sizes cannot be added later."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation


@pytest.fixture
def saved(tmp_path):
    def save(content):
        path = tmp_path / "release.zip"
        path.write_bytes(content)
        return path

    return save


def sha256sum(data):
    done = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True)
    return done.stdout.decode()[:64]


def contents(path):
    """Name -> bytes of every member, its CRC compared."""
    found = {}
    with open_archive(path) as archive:
        for member in archive.members:
            member.scan()
            with member.open() as file:
                assert file.nbytes == member.nbytes
                found[member.name] = file.read(0, file.nbytes)
                file.check_unchanged()
        archive.check_unchanged()
    return found


KINDS = {
    "stored": {},
    "deflated": {"method": zipfile.ZIP_DEFLATED},
    "zip64": {"force_zip64": True},
    "deflated zip64": {"method": zipfile.ZIP_DEFLATED, "force_zip64": True},
}


@pytest.mark.parametrize("is_stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_archives_of_pythons_library_are_read(saved, zips, kind, is_stream):
    target = Unseekable() if is_stream else None
    path = saved(zips.python_zip(MEMBERS, target=target, **KINDS[kind]))

    assert contents(path) == MEMBERS


def test_our_own_archive_is_read_in_its_order(tmp_path):
    path = tmp_path / "release.zip"
    write_stored_zip(path, [ZipMember(name, data) for name, data in MEMBERS.items()])

    assert contents(path) == MEMBERS
    with open_archive(path) as archive:
        assert [member.name for member in archive.members] == sorted(MEMBERS)
        assert all(member.is_stored for member in archive.members)
        assert (archive.path, archive.nbytes) == (path, path.stat().st_size)


def test_folders_are_no_members_and_a_comment_is_none_either(tmp_path):
    path = tmp_path / "release.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.mkdir("docs")
        file.writestr("docs/a", b"text")
        file.comment = b"made by hand"

    assert contents(path) == {"docs/a": b"text"}


def test_empty_archive_has_no_members(saved, zips):
    assert contents(saved(zips.python_zip({}))) == {}


def test_member_of_five_gibibytes_is_found_where_pythons_library_finds_it(tmp_path):
    path, nbytes = tmp_path / "release.zip", 5 * 2**30
    names = ("large", "small")
    placed = [written._Placed(ZipMember(names[0], b""), b"large", nbytes, 0, None)]
    after = placed[0].end
    placed.append(written._Placed(ZipMember(names[1], b""), b"small", 3, after, None))
    crcs = [1, zlib.crc32(b"abc")]
    with path.open("wb") as file:
        for item, crc in zip(placed, crcs, strict=True):
            file.seek(item.offset)
            file.write(written._local_record(item, crc))
        file.seek(placed[1].data_offset)
        file.write(b"abc" + written._directory(placed, crcs))

    with open_archive(path) as archive, zipfile.ZipFile(path) as theirs:
        sizes = {member.name: member.nbytes for member in archive.members}
        with archive.members[1].open() as small:
            assert small.read(0, 3) == theirs.read("small") == b"abc"

    assert sizes == {each.filename: each.file_size for each in theirs.infolist()}
    assert sizes["large"] == nbytes


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_digests_of_members_are_those_of_the_files(saved, zips, method):
    path, advanced = saved(zips.python_zip(MEMBERS, method)), []
    found = {}

    with open_archive(path) as archive:
        for member in archive.members:
            identity, quick = Sha256(), Xxh3Bits128()
            member.scan(identity, quick, advance=advanced.append)
            found[member.name] = identity.hexdigest()

    assert found == {k: sha256sum(v) for k, v in MEMBERS.items()}
    assert sum(advanced) == sum(map(len, MEMBERS.values()))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_checkpoint_in_an_archive_is_verified_in_place(
    tmp_path, release_folder, method
):
    original = release_folder / "kohaku-xl-gamma-rev2-fp8.safetensors"
    path = tmp_path / "release.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("first", b"something before it")
        file.write(original, "models/a.safetensors")
    with SafetensorsCheckpoint(original) as checkpoint:
        expected = tensor_digests(checkpoint, threads=2, advance=lambda _: None)
        metadata = dict(checkpoint.metadata)

    with open_archive(path) as archive:
        member = archive.members[1]
        with SafetensorsCheckpoint(member.open()) as checkpoint:
            found = tensor_digests(checkpoint, threads=3, advance=lambda _: None)
            checkpoint.check_unchanged()

    assert found == expected
    assert checkpoint.metadata == metadata
    assert PurePosixPath(checkpoint.path).parts[-3:] == (
        "release.zip",
        "models",
        "a.safetensors",
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_is_found_in_its_member_only(saved, zips, method):
    content = bytearray(zips.python_zip(MEMBERS, method))
    content[len(content) // 2] ^= 1

    with open_archive(saved(content)) as archive:
        *whole, damaged = archive.members
        for member in whole:
            member.scan()
        with pytest.raises(IntegrityError) as caught:
            damaged.scan()

    assert damaged.name == "weights.bin"
    assert (caught.value.code, caught.value.exit_code) == ("zip-crc", 5)
    assert "member weights.bin has CRC-32" in str(caught.value)


TEXT = b"some text " * 50

LYING = {
    "more than it says": ({"nbytes": len(TEXT) - 1}, "zip-size"),
    "less than it says": ({"nbytes": len(TEXT) + 1}, "zip-size"),
    "nothing it says": ({"nbytes": 0}, "zip-size"),
    "bytes behind the stream": ({"append": b"more"}, "zip-size"),
    "many bytes behind the stream": ({"append": bytes(3 * 2**20)}, "zip-size"),
    "stream without an end": ({"cut": -1}, "zip-size"),
    "no stream": ({"packed": b"\xff\xff\xff"}, "zip-crc"),
    "other checksum": ({"crc": 1}, "zip-crc"),
}


@pytest.mark.parametrize("case", LYING)
def test_deflated_member_that_lies_is_told(saved, zips, case):
    changes, code = LYING[case]
    changes = dict(changes)
    packed = zips.deflated(TEXT)[: changes.pop("cut", None)]
    packed += changes.pop("append", b"")
    fields = {"packed": packed, "method": 8, **changes}
    path, advanced = saved(zips.build(zips.Part("a.txt", TEXT, **fields))), []

    with pytest.raises(IntegrityError) as caught, open_archive(path) as archive:
        archive.members[0].scan(advance=advanced.append)

    assert caught.value.code == code
    assert sum(advanced) <= changes.get("nbytes", len(TEXT)) + 1
    assert "member a.txt" in str(caught.value)
    assert caught.value.hint


def test_bytes_from_the_next_block_on_are_told(saved, zips):
    packer = zlib.compressobj(0, zlib.DEFLATED, -15)
    data = RANDOM.randbytes(2**20 - 85)
    packed = packer.compress(data) + packer.flush()
    assert len(packed) == 2**20  # of which every reading takes as many
    part = zips.Part("a", data, packed=packed + bytes(9), method=8)

    path = saved(zips.build(part))

    with pytest.raises(IntegrityError) as caught, open_archive(path) as archive:
        archive.members[0].scan()

    assert caught.value.code == "zip-size"


def test_member_that_is_written_to_is_no_damage(saved, zips):
    path = saved(zips.python_zip(MEMBERS))

    with open_archive(path) as archive:
        path.write_bytes(path.read_bytes().replace(b"Apache", b"apache"))
        with pytest.raises(InputError) as caught:
            archive.members[0].scan()

    assert caught.value.code == "input-changed"


def test_large_compressed_member_cannot_be_opened_and_can_be_hashed(
    saved, zips, monkeypatch
):
    monkeypatch.setattr(room, "OPENED_NBYTES_MAX", len(TEXT) - 1)
    path = saved(zips.python_zip({"a.txt": TEXT}, zipfile.ZIP_DEFLATED))
    digest = Sha256()

    with open_archive(path) as archive:
        archive.members[0].scan(digest)
        with pytest.raises(IntegrityError) as caught:
            archive.members[0].open()

    assert digest.hexdigest() == sha256sum(TEXT)
    assert caught.value.code == "zip-compressed"
    assert "unpack it" in caught.value.hint


def test_archive_that_changes_is_told(saved, zips):
    path = saved(zips.python_zip(MEMBERS))

    with open_archive(path) as archive, archive.members[0].open() as file:
        with path.open("r+b") as other:
            other.truncate(1000)
        for check in (archive.check_unchanged, file.check_unchanged):
            with pytest.raises(InputError) as caught:
                check()
            assert caught.value.code == "input-changed"
        with pytest.raises(InputError) as caught:
            archive.members[-1].scan()

    assert caught.value.code == "input-changed"


def test_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(InputError) as caught, open_archive(tmp_path):
        pass

    assert caught.value.code == "not-a-file"


def test_flipped_bits_are_found_or_change_nothing(saved, zips):
    good = {"a/1": b"one", "b": b"two " * 9}
    content = zips.python_zip(good, zipfile.ZIP_DEFLATED)
    missed = {}

    for at in range(8 * len(content)):
        mutant = bytearray(content)
        mutant[at // 8] ^= 1 << at % 8
        path = saved(mutant)
        try:
            found = contents(path)
        except IntegrityError:
            continue
        if found != good:
            missed[at] = found

    assert missed == {}
