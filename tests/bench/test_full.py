"""What is measured at full size, with invented runs in an empty folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import full
import pytest
from measures import Bench
from scratch import Material, NoRoomError
from table import Figure
from timing import Sample


def test_the_source_is_gone_before_the_way_back_needs_its_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bench.material.source
    source.write_text("source")
    there = {}

    def step(name: str) -> list[Figure]:
        kept = bench.material.folder / "kept"
        there[name] = (source.exists(), kept.exists())
        return [Figure(name, "x", (1.0,))]

    @contextmanager
    def kept_fp8(_: Bench) -> Iterator[tuple[Path, Path]]:
        folder = bench.material.folder / "kept"
        folder.mkdir()
        yield folder, folder
        folder.rmdir()

    monkeypatch.setattr(full, "kept_fp8", kept_fp8)
    monkeypatch.setattr(full, "measure_second_variant", lambda _: step("second"))
    monkeypatch.setattr(full, "measure_to_fp8", lambda *_: step("first"))
    monkeypatch.setattr(full, "measure_to_fp16", lambda *_: step("back"))

    figures = full.measure_full_conversions(bench)

    assert there == {
        "second": (True, False),
        "first": (True, True),
        "back": (False, True),
    }
    assert [figure.what for figure in figures] == ["first", "second", "back"]
    assert list(bench.material.folder.iterdir()) == []


def test_an_audit_without_room_for_its_ingredients_is_one_line_of_the_table(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NoRoomError("35 GB are needed")

    monkeypatch.setattr(full, "lacks", lambda _: "")
    monkeypatch.setattr(full, "material_on_disk", refuse)

    figure = full.measure_full_audit(bench, None)

    assert figure.missing == "35 GB are needed"


def test_an_audit_without_its_command_makes_no_ingredients(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full, "lacks", lambda command: f"no {command}")
    monkeypatch.setattr(full, "material_on_disk", pytest.fail)

    assert full.measure_full_audit(bench, None).missing == "no audit"


def test_the_audit_has_a_bar_in_seconds_and_says_where_it_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in bench.material.ingredients.values():
        path.write_bytes(bytes(1000))

    @contextmanager
    def made(*_: object, **__: object) -> Iterator[Material]:
        yield Material(bench.material.folder, 32, "xfs")

    def merge_into(folder: Path, *_: object) -> None:
        (folder / "merge-fp16.safetensors").write_bytes(bytes(1000))

    monkeypatch.setattr(full, "lacks", lambda _: "")
    monkeypatch.setattr(full, "material_on_disk", made)
    monkeypatch.setattr(full.merge_runs, "merge_into", merge_into)
    monkeypatch.setattr(
        full.proof_runs, "audit", lambda *_: Sample(12.5, peak_nbytes=1)
    )

    figure = full.measure_full_audit(bench, None)

    assert (figure.value, figure.unit, figure.verdict) == (12.5, "s", "bar met")
    assert figure.what == "audit --sample of rev2, out of 0 GB on xfs"
