"""Manifests and records, beside a file or named."""

import json
import shutil
from pathlib import Path

import pytest

from release.claims.beside import claims_beside, record_claims
from release.claims.carried import read_carried_claim
from release.claims.catalog import catalog_claims
from release.claims.claim import Source
from release.claims.manifest import read_manifest_claims
from release.errors import InputError, IntegrityError
from release.formats.header import read_header
from release.formats.input import InputFile
from release.numeric.digest import xxh3_64, xxh3_128

SOURCE = Source("named manifest", "m")
FP8 = "kohaku-xl-gamma-rev2-fp8.safetensors"


def header_of(path):
    with InputFile(path) as file:
        return read_header(file)


def edited(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def manifest(release_folder, tmp_path):
    return shutil.copy(release_folder / "manifest.json", tmp_path / "m.json")


def test_manifest_of_a_release_says_what_every_file_is(release_folder):
    claims = read_manifest_claims(release_folder / "manifest.json", SOURCE)

    assert {each.name for each in claims} == {
        path.name for path in release_folder.iterdir() if path.name != "manifest.json"
    }
    assert {each.release for each in claims} == {"gamma-rev2"}


def test_places_and_digests_are_those_of_the_bytes(release_folder):
    claims = read_manifest_claims(release_folder / "manifest.json", SOURCE)
    claim = next(each for each in claims if each.name == FP8)
    data = (release_folder / FP8).read_bytes()

    assert claim.variant == "fp8"
    assert claim.nbytes == len(data)
    assert claim.xxh3_128 == xxh3_128(data)
    assert claim.header_xxh3_128 == xxh3_128(data[: claim.header_nbytes])
    assert claim.chunks == tuple(
        xxh3_64(data[at : at + 2**20]) for at in range(0, len(data), 2**20)
    )
    assert all(
        xxh3_128(data[each.offset : each.offset + each.nbytes]) == each.xxh3_128
        for each in claim.tensors
    )


def test_record_beside_a_converted_file_is_found(converted):
    (claim,) = claims_beside(converted)

    assert claim.name == converted.name
    assert claim.source.kind == "manifest beside"
    assert claim.xxh3_128 == xxh3_128(converted.read_bytes())
    assert claim.sha256 is None


def test_manifest_comes_before_sums(release_folder):
    kinds = [each.source.kind for each in claims_beside(release_folder / FP8)]

    assert list(dict.fromkeys(kinds)) == ["manifest beside", "sums beside"]


@pytest.mark.parametrize("name", [f"{'x' * 243}.safetensors", ".", "/", "a\0b"])
def test_name_that_no_record_can_have_has_none(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)

    assert record_claims(Path(name)) == ()


def test_catalog_knows_the_published_file():
    *_, known = catalog_claims()

    assert known.sha256_prefix == "38942904e9"
    assert known.release == "gamma-rev2"


def test_header_says_what_its_tensors_are(converted):
    data = converted.read_bytes()
    carried = read_carried_claim(header_of(converted))

    assert carried.source.kind == "header"
    assert [each.name for each in carried.tensors] == ["a.weight", "b.bias"]
    assert all(
        xxh3_128(data[each.offset : each.offset + each.nbytes]) == each.xxh3_128
        for each in carried.tensors
    )


def test_manifest_of_another_program_is_passed_over(converted):
    converted.with_name("manifest.json").write_text('{"name": "an extension"}')
    converted.with_name("small-fp16.krelease.json").unlink()

    assert claims_beside(converted) == ()


def test_symlinks_beside_a_file_are_passed_over(converted, tmp_path):
    record = tmp_path / "small-fp16.krelease.json"
    record.rename(tmp_path / "elsewhere")
    record.symlink_to(tmp_path / "elsewhere")

    assert claims_beside(converted) == ()


def set_name(name):
    return lambda document: document["files"][0].update(name=name)


def set_first(**fields):
    return lambda document: document["checkpoints"][0].update(fields)


def shift_tensor(document):
    document["checkpoints"][0]["tensors"][3]["offset"] += 1


def rename_tensor(document):
    first, second, *_ = document["checkpoints"][0]["tensors"]
    second["name"] = first["name"]


HOSTILE = {
    "climbs out": (set_name("../m"), "path", "relative"),
    "absolute": (set_name("/etc/passwd"), "path", "empty, relative"),
    "tensor elsewhere": (shift_tensor, "manifest", "offset is"),
    "two tensors of one name": (rename_tensor, "manifest", "one name"),
    "no chunk size": (set_first(chunk_nbytes=0), "manifest", "chunk_nbytes is 0"),
    "a chunk too few": (set_first(chunks="0" * 16), "manifest", "16 digits"),
    "another size": (set_first(nbytes=1), "manifest", "digits, expected 16"),
    "newer schema": (
        lambda document: document.update(schema="krelease.manifest/2", new=1),
        "manifest",
        "schema is krelease.manifest/2, expected krelease.manifest/1",
    ),
    "100,000 files": (
        lambda document: document.update(files=document["files"] * 20_000),
        "manifest",
        "files, expected at most 10,000",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_manifest_is_refused(manifest, case):
    edit, code, words = HOSTILE[case]

    with pytest.raises(IntegrityError) as caught:
        read_manifest_claims(edited(manifest, edit), SOURCE)

    assert caught.value.code == code
    assert words in str(caught.value)


def test_newer_schema_is_told_to_be_newer(manifest):
    path = edited(
        manifest, lambda document: document.update(schema="krelease.manifest/2")
    )

    with pytest.raises(IntegrityError) as caught:
        read_manifest_claims(path, SOURCE)

    assert "newer krelease" in caught.value.hint


def test_record_of_a_newer_schema_is_refused(converted):
    record = converted.with_name("small-fp16.krelease.json")
    edited(record, lambda document: document.update(schema="krelease.conversion/2"))

    with pytest.raises(IntegrityError) as caught:
        claims_beside(converted)

    assert "newer krelease" in caught.value.hint


def test_folder_in_the_place_of_a_manifest_is_told(tmp_path):
    with pytest.raises(InputError) as caught:
        read_manifest_claims(tmp_path, SOURCE)

    assert caught.value.code == "not-a-file"
