"""A release folder: complete, true to its manifest, and there as a whole or not."""

import json
import os
import shutil
import subprocess
import zipfile
from hashlib import sha256  # noqa: TID251 - an oracle of its own
from pathlib import Path

import pytest
import safetensors
import xxhash

from release import folder as folder_module
from release.card.presentation import Presentation, presentation_of
from release.errors import CardError, OutputError, OutputExistsError, WriteError
from release.folder import build_folder
from release.formats.output import OutputFile
from release.ingredients import locate
from release.progress import NoProgress

STEM = "kohaku-xl-gamma-rev2"
FP16, FP8, ZIP = (
    f"{STEM}-fp16.safetensors",
    f"{STEM}-fp8.safetensors",
    f"{STEM}-fp8.zip",
)
SMALL = ("LICENSE", "README.md", "SHA256SUMS", "XXH128SUMS", "lineage.svg")
MIB = 2**20


@pytest.fixture(scope="module")
def manifest(release_folder):
    return json.loads((release_folder / "manifest.json").read_text())


def build(definition, ingredients, target, *, overwrite=False, progress=None):
    located = locate(definition, ingredients, base=Path(), connection=None)
    return build_folder(
        definition,
        located,
        target,
        threads=2,
        progress=progress or NoProgress(),
        overwrite=overwrite,
        presentation=presentation_of(definition, Path()),
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_folder_holds_these_files_and_no_others(release_folder):
    names = sorted(path.name for path in release_folder.iterdir())

    assert names == sorted([FP16, FP8, ZIP, *SMALL, "manifest.json"])
    assert [path.name for path in release_folder.parent.iterdir()] == ["gamma-rev2"]


def test_manifest_describes_every_other_file(release_folder, manifest):
    records = [*manifest["checkpoints"], *manifest["files"]]

    assert sorted(record["name"] for record in records) == sorted(
        [FP16, FP8, ZIP, *SMALL]
    )
    for record in records:
        data = (release_folder / record["name"]).read_bytes()
        assert record["nbytes"] == len(data)
        assert record["sha256"] == sha256(data).hexdigest()
        assert record["xxh3_128"] == xxhash.xxh3_128_hexdigest(data)


def test_manifest_describes_every_tensor(release_folder, manifest):
    for record in manifest["checkpoints"]:
        data = (release_folder / record["name"]).read_bytes()
        tensors = dict(safetensors.deserialize(data))
        assert {tensor["name"] for tensor in record["tensors"]} == tensors.keys()
        for tensor in record["tensors"]:
            begin, end = tensor["offset"], tensor["offset"] + tensor["nbytes"]
            found = tensors[tensor["name"]]
            assert data[begin:end] == found["data"]
            assert tensor["xxh3_128"] == xxhash.xxh3_128_hexdigest(data[begin:end])
            assert (tensor["dtype"], tensor["shape"]) == (
                found["dtype"],
                found["shape"],
            )


def test_manifest_describes_header_data_and_chunks(release_folder, manifest):
    for record in manifest["checkpoints"]:
        data = (release_folder / record["name"]).read_bytes()
        end = record["header_nbytes"]
        chunks = [data[at : at + MIB] for at in range(0, len(data), MIB)]
        assert end == 8 + int.from_bytes(data[:8], "little")
        assert record["header_xxh3_128"] == xxhash.xxh3_128_hexdigest(data[:end])
        assert record["data_sha256"] == sha256(data[end:]).hexdigest()
        assert record["chunk_nbytes"] == MIB
        assert record["chunks"] == "".join(map(xxhash.xxh3_64_hexdigest, chunks))


def test_manifest_describes_the_ingredients_and_not_where_they_lay(
    manifest, ingredients
):
    text = json.dumps(manifest)

    assert [record["name"] for record in manifest["ingredients"]] == list(ingredients)
    for record in manifest["ingredients"]:
        assert record["nbytes"] == ingredients[record["name"]].stat().st_size
        assert record["dtypes"] == {"F16": 2514, "I64": 1}
    assert str(ingredients["anxl2"].parent) not in text
    assert os.uname().nodename not in manifest.values()
    assert "/tmp" not in text  # noqa: S108


def test_manifest_is_canonical_json(release_folder):
    text = (release_folder / "manifest.json").read_text()

    document = json.loads(text)

    assert text == json.dumps(document, sort_keys=True, indent=1) + "\n"
    assert document["schema"] == "krelease.manifest/1"
    assert document["rehearsal"] is True  # the ingredients are stand-ins


def test_sha256_sums_are_what_coreutils_checks(release_folder):
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=release_folder,
        check=True,
        capture_output=True,
        text=True,
    )

    assert sorted(checked.stdout.splitlines()) == sorted(
        f"{name}: OK"
        for name in (FP16, FP8, ZIP, "LICENSE", "README.md", "lineage.svg")
    )


def test_xxh128_sums_have_the_form_that_xxh128sum_checks(release_folder):
    lines = (release_folder / "XXH128SUMS").read_text().splitlines()

    expected = {
        name: xxhash.xxh128_hexdigest((release_folder / name).read_bytes())
        for name in (FP16, FP8, ZIP, "LICENSE", "README.md", "lineage.svg")
    }
    assert lines == [f"{expected[name]}  {name}" for name in sorted(expected)]


def test_zip_holds_the_checkpoint_the_licence_and_a_word_for_the_reader(release_folder):
    with zipfile.ZipFile(release_folder / ZIP) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["LICENSE", "README.txt", FP8]
        assert archive.read(FP8) == (release_folder / FP8).read_bytes()
        assert archive.read("LICENSE") == (release_folder / "LICENSE").read_bytes()
        assert FP16 in archive.read("README.txt").decode()
        assert {item.compress_type for item in archive.infolist()} == {
            zipfile.ZIP_STORED
        }
        assert {item.date_time for item in archive.infolist()} == {
            (1980, 1, 1, 0, 0, 0)
        }


STEPS = {
    "merge": ("execute", RuntimeError("injected"), RuntimeError),
    "card": ("render_hub_pages", KeyboardInterrupt(), KeyboardInterrupt),
    "lint": ("check_card", KeyboardInterrupt(), KeyboardInterrupt),
}


@pytest.fixture
def older(tmp_path, release_folder):
    """A release that is already there."""
    return Path(shutil.copytree(release_folder, tmp_path / "gamma-rev2"))


@pytest.mark.parametrize("step", STEPS)
def test_failure_at_any_step_keeps_the_older_release(
    older, ingredients, gamma_rev2, monkeypatch, step
):
    name, error, expected = STEPS[step]
    before = contents(older)

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(folder_module, name, fail)

    with pytest.raises(expected):
        build(gamma_rev2, ingredients, older, overwrite=True)

    assert contents(older) == before
    assert [path.name for path in older.parent.iterdir()] == ["gamma-rev2"]


def test_page_that_cannot_be_made_is_refused_before_anything_is_merged(
    tmp_path, ingredients, gamma_rev2, monkeypatch
):
    own = tmp_path / "own" / "card"
    own.mkdir(parents=True)
    (own / "title.md.j2").write_text("{{ nothing }}")
    monkeypatch.setattr(folder_module, "execute", None)
    located = locate(gamma_rev2, ingredients, base=Path(), connection=None)

    with pytest.raises(CardError, match="'nothing' is undefined"):
        build_folder(
            gamma_rev2,
            located,
            tmp_path / "out",
            threads=1,
            progress=NoProgress(),
            presentation=Presentation(templates=own.parent),
        )

    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_manifest_is_written_last_and_its_failure_leaves_nothing(
    tmp_path, ingredients, gamma_rev2, monkeypatch
):
    publish = OutputFile.publish
    order = []

    def fail_at_manifest(file):
        order.append(file.path.name)
        if file.path.name == "manifest.json":
            raise WriteError("injected")
        publish(file)

    monkeypatch.setattr(OutputFile, "publish", fail_at_manifest)

    with pytest.raises(WriteError):
        build(gamma_rev2, ingredients, tmp_path / "out")

    assert sorted(order[:-1]) == sorted([FP16, FP8, ZIP, *SMALL])
    assert order[-1] == "manifest.json"
    assert list(tmp_path.iterdir()) == []


def test_older_release_is_replaced_by_the_same_bytes_under_any_path_and_umask(
    older, ingredients, gamma_rev2, release_folder, monkeypatch
):
    (older / "README.md").write_text("older")
    (older / "old-variant.safetensors").write_text("x")
    monkeypatch.chdir(older.parent)
    before = os.umask(0o027)

    try:
        build(gamma_rev2, ingredients, Path(older.name), overwrite=True)
    finally:
        os.umask(before)

    assert contents(older) == contents(release_folder)
    assert {path.stat().st_mode & 0o777 for path in older.iterdir()} == {0o640}
    assert [path.name for path in older.parent.iterdir()] == ["gamma-rev2"]


def occupied_by_release(target):
    target.mkdir()
    (target / "manifest.json").write_text("{}")


def occupied_by_others(target):
    target.mkdir()
    (target / "thesis.txt").write_text("years")


def occupied_by_file(target):
    target.write_text("mine")


TARGETS = {
    "an older release": (occupied_by_release, OutputExistsError, "output-exists"),
    "foreign files": (occupied_by_others, OutputError, "foreign-folder"),
    "a file": (occupied_by_file, OutputError, "not-a-folder"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_target_that_is_taken_is_refused_before_anything_is_read(
    tmp_path, ingredients, gamma_rev2, case
):
    occupy, error, code = TARGETS[case]
    target = tmp_path / "gamma-rev2"
    occupy(target)
    before = sorted(tmp_path.rglob("*"))

    class Untouched:
        def stage(self, label, nbytes):
            raise AssertionError(label, nbytes)

    with pytest.raises(error) as caught:
        build(gamma_rev2, ingredients, target, progress=Untouched())

    assert (caught.value.code, caught.value.exit_code) == (code, 9)
    assert caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before
