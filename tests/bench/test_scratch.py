"""Where the benchmark works, and that nothing of it is left."""

import tempfile
import tomllib
from pathlib import Path

import pytest
import scratch
from scratch import CATALOG, NoRoomError, derive
from timing import BenchError


def test_the_definition_differs_from_the_catalogs_in_its_variants_only() -> None:
    text = CATALOG.read_text(encoding="utf-8")

    derived = tomllib.loads(derive(text, ["fp16"]))

    original = tomllib.loads(text)
    assert derived["release"].pop("variants") == ["fp16"]
    assert derived["release"].pop("archives") == []
    del original["release"]["variants"], original["release"]["archives"]
    assert derived == original


def test_a_definition_of_another_form_is_refused() -> None:
    with pytest.raises(BenchError, match="not where expected"):
        derive('[release]\nvariants = [\n "fp16"\n]\n', ["fp16"])


def test_the_material_is_removed_when_the_measurement_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "MEMORY", tmp_path)

    with pytest.raises(KeyboardInterrupt):
        interrupted_measurement(tmp_path)

    assert list(tmp_path.iterdir()) == []


def interrupted_measurement(place: Path) -> None:
    with scratch.material(32) as made:
        assert made.folder.parent == place
        assert all(path.is_file() for path in made.ingredients.values())
        raise KeyboardInterrupt


def test_the_named_folder_is_used_and_emptied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_file_system", lambda _: "ext4")

    with scratch.source_alone(32, place=tmp_path) as made:
        assert made.folder.parent == tmp_path
        assert [path.name for path in made.folder.iterdir()] == ["beta7.safetensors"]
        assert made.is_on_disk

    assert list(tmp_path.iterdir()) == []


GB = 1_000_000_000


def test_the_full_width_is_measured_in_memory_if_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "MEMORY", tmp_path)
    monkeypatch.setattr(scratch, "_free", lambda _: 22 * GB)

    assert scratch.choose_place_of_source(1, None) == tmp_path


def test_without_room_in_memory_the_full_width_is_measured_on_a_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = {scratch.MEMORY: 18 * GB, Path(tempfile.gettempdir()): 30 * GB}
    monkeypatch.setattr(scratch, "_free", free.__getitem__)
    monkeypatch.setattr(scratch, "_file_system", lambda _: "ext4")
    monkeypatch.setattr(scratch, "available_memory", lambda: 18 * GB)

    assert scratch.choose_place_of_source(1, None) == Path(tempfile.gettempdir())


def test_the_full_width_in_a_named_place_that_is_memory_needs_room_for_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_file_system", lambda _: "tmpfs")
    monkeypatch.setattr(scratch, "available_memory", lambda: 18 * GB)

    with pytest.raises(NoRoomError, match="19 GB are needed"):
        scratch.choose_place_of_source(1, tmp_path)


def test_the_full_width_without_memory_for_the_script_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_file_system", lambda _: "ext4")
    monkeypatch.setattr(scratch, "available_memory", lambda: 999)

    with (
        pytest.raises(NoRoomError, match="GB of memory are needed"),
        scratch.source_alone(32, place=tmp_path),
    ):
        pytest.fail("measured without memory")


def test_ingredients_that_do_not_fit_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_free", lambda _: 34 * GB)

    with (
        pytest.raises(NoRoomError, match="35 GB are needed"),
        scratch.material_on_disk(1, place=tmp_path),
    ):
        pytest.fail("made without room")


@pytest.mark.parametrize(
    ("name", "needed", "message"),
    [("", 1 << 60, "name another folder"), ("absent", 1, "not a folder")],
)
def test_a_named_folder_that_will_not_do_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    needed: int,
    message: str,
) -> None:
    monkeypatch.setattr(scratch, "_file_system", lambda _: "ext4")

    with pytest.raises(NoRoomError, match=message):
        scratch._roomy(tmp_path / name, needed)


def test_without_room_in_memory_the_checkout_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "CACHE", tmp_path / ".bench")
    monkeypatch.setattr(scratch, "MEMORY", tmp_path / "absent")

    assert scratch.choose_place(1000) == tmp_path / ".bench"


def test_without_room_anywhere_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "CACHE", tmp_path)

    with pytest.raises(BenchError, match="have no room"):
        scratch.choose_place(1 << 60)
