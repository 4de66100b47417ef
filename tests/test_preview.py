"""A dry run says what a build then does, and does nothing itself."""

import zipfile
from pathlib import Path

import pytest

from release.errors import TensorMismatchError
from release.folder import build_folder
from release.ingredients import locate
from release.preview import preview_build
from release.progress import NoProgress

FP16 = "kohaku-xl-gamma-rev2-fp16.safetensors"
FP8 = "kohaku-xl-gamma-rev2-fp8.safetensors"
ZIP = "kohaku-xl-gamma-rev2-fp8.zip"
MEASURED = {"README.md", "manifest.json"}


def preview(definition, ingredients, target):
    located = locate(definition, ingredients, base=Path(), connection=None)
    return preview_build(definition, located, target)


def test_planned_files_and_sizes_are_those_of_the_folder(
    tmp_path, gamma_rev2, ingredients, release_folder
):
    found = preview(gamma_rev2, ingredients, tmp_path / "out")

    planned = {file.name: file.nbytes for file in found.files}
    on_disk = {path.name: path.stat().st_size for path in release_folder.iterdir()}
    assert planned == {**on_disk, **dict.fromkeys(MEASURED)}
    assert found.is_exact
    assert found.warnings == ()


def test_needed_room_covers_the_folder(
    tmp_path, gamma_rev2, ingredients, release_folder
):
    found = preview(gamma_rev2, ingredients, tmp_path / "out")

    on_disk = sum(path.stat().st_size for path in release_folder.iterdir())
    # The reserve of so small a folder: as much again, and 1 %; files whose size is
    # measured are not in the plan.
    assert 1.9 * on_disk < found.needed_nbytes < 2.9 * on_disk
    assert found.free_nbytes > 0


def test_nothing_is_written_not_even_a_folder(tmp_path, gamma_rev2, ingredients):
    preview(gamma_rev2, ingredients, tmp_path / "a" / "b" / "out")

    assert list(tmp_path.iterdir()) == []


def test_without_ingredients_the_sizes_are_those_of_full_sdxl(tmp_path, gamma_rev2):
    found = preview(gamma_rev2, {}, tmp_path / "out")

    planned = {file.name: file.nbytes for file in found.files}
    assert not found.is_exact
    assert {item.state for item in found.located} == {"missing"}
    data = 2 * 3_468_837_868 + 77 * 8
    assert data < planned[FP16] < data + 600_000
    assert 4.36e9 < planned[FP8] < 4.38e9


def test_zip_beyond_4_gib_is_planned_to_the_byte(tmp_path, gamma_rev2, release_folder):
    found = preview(gamma_rev2, {}, tmp_path / "out")
    planned = {file.name: file.nbytes for file in found.files}

    with zipfile.ZipFile(release_folder / ZIP) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    sizes[FP8] = planned[FP8]
    records = sum(30 + 46 + 2 * len(name) for name in sizes) + 22
    zip64 = 20 + 20 + 56 + 20  # two extra fields of two sizes, end record, locator

    assert planned[FP8] > 2**32
    assert planned[ZIP] == sum(sizes.values()) + records + zip64


def test_missing_ingredient_is_taken_to_be_like_the_others(
    tmp_path, gamma_rev2, ingredients, release_folder
):
    some = {name: ingredients[name] for name in ("beta7", "anxl3")}

    found = preview(gamma_rev2, some, tmp_path / "out")

    planned = {file.name: file.nbytes for file in found.files}
    assert not found.is_exact
    assert planned[FP16] == (release_folder / FP16).stat().st_size
    assert [item.name for item in found.located if item.state == "missing"] == [
        "anxl2",
        "base8",
    ]


def test_ingredient_that_does_not_fit_is_refused_in_a_dry_run_too(
    tmp_path, gamma_rev2, ingredients
):
    tiny = tmp_path / "tiny.safetensors"
    tiny.write_bytes((2).to_bytes(8, "little") + b"{}")

    with pytest.raises(TensorMismatchError) as caught:
        preview(gamma_rev2, {**ingredients, "anxl2": tiny}, tmp_path / "out")

    assert caught.value.code == "not-sdxl"


def test_recipe_whose_rows_do_not_sum_to_one_is_warned_of(
    tmp_path, gamma_rev2, ingredients
):
    steps = {"gamma": "beta7 + anxl3 - anxl2 + 0.5 * base8", "rev2": "gamma"}
    recipe = gamma_rev2.recipe.model_copy(update={"steps": steps})
    odd = gamma_rev2.model_copy(update={"recipe": recipe})

    found = preview(odd, ingredients, tmp_path / "out")

    assert len(found.warnings) == 1
    assert "sum to 1.5, not 1" in found.warnings[0]


def test_more_variants_and_archives_are_planned_to_the_byte(
    tmp_path, gamma_rev2, ingredients
):
    release = gamma_rev2.release.model_copy(
        update={"variants": ("bf16", "fp32"), "archives": ("fp32", "bf16")}
    )
    other = gamma_rev2.model_copy(update={"release": release})
    located = locate(other, ingredients, base=Path(), connection=None)
    found = preview_build(other, located, tmp_path / "out")

    build_folder(other, located, tmp_path / "out", threads=2, progress=NoProgress())

    planned = {file.name: file.nbytes for file in found.files}
    on_disk = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert planned == {**on_disk, **dict.fromkeys(MEASURED)}
