"""The picture: what is in its cells, and that its file is only about the report."""

import importlib.util
import re
import struct

import numpy as np
import pytest

from release.architecture.contents import Part
from release.errors import OutputExistsError, ReleaseError, UsageError
from release.parity.cells import cells_of
from release.parity.plot import Plot, _short

UNET, VAE = "model.diffusion_model.", "first_stage_model."


def half(*values):
    return "F16", (len(values),), np.array(values, "<f2").tobytes()


@pytest.fixture
def report(write, compared):
    """Cells that are equal, apart, missing, partly missing, odd, and hostile."""
    shared = {
        f"{UNET}input_blocks.0.0.weight": half(1, 2),
        f"{UNET}out.0.weight": half(1, 2),
        "a.3.$x_{1}$.weight": half(1),
        "\u4e00\u202e\n.weight": half(1),
    }
    first = write(
        "a",
        {
            **shared,
            f"{UNET}input_blocks.1.0.weight": half(3, 4),
            f"{VAE}encoder.down.0.block.0.bias": half(1),
            f"{VAE}encoder.down.0.block.1.bias": half(1),
            f"{VAE}encoder.down.1.block.0.bias": half(1),
            f"{VAE}position_ids": ("I64", (1,), bytes(8)),
            f"{VAE}nan.0.bias": half(1),
        },
    )
    second = write(
        "b",
        {
            **shared,
            f"{UNET}input_blocks.1.0.weight": half(3, 4.5),
            f"{VAE}encoder.down.0.block.0.bias": half(1),
            f"{VAE}position_ids": ("I64", (1,), bytes(7) + b"\1"),
            f"{VAE}nan.0.bias": half(float("nan")),
        },
    )
    return compared(first, second)


def test_cells_are_the_blocks_of_each_component_in_order(report):
    cells = cells_of(report, rows_max=100)

    found = {
        part: [(c.label, c.has_same_values, c.n_absent) for c in column]
        for part, column in cells.items()
    }
    assert found[Part.UNET] == [
        ("input_blocks.0", True, 0),
        ("input_blocks.1", False, 0),
        ("out.0", True, 0),
    ]
    assert found[Part.VAE] == [
        ("encoder.down.0", True, 1),
        ("encoder.down.1", True, 1),
        ("nan.0", False, 0),
        ("position_ids", False, 0),
    ]
    snr = [cell.group.snr for cell in cells[Part.UNET]]
    assert snr == [None, pytest.approx(20.0), None]


def test_blocks_without_room_share_the_last_cell(ingredients, converted, compared):
    report = compared(ingredients["beta7"], converted["fp8"])
    whole = cells_of(report, rows_max=100)[Part.UNET]

    short = cells_of(report, rows_max=5)[Part.UNET]

    assert [cell.label for cell in short] == [
        *(cell.label for cell in whole[:4]),
        "18 more blocks",
    ]
    assert sum(cell.group.n_tensors for cell in short) == 1680


def test_svg_is_the_same_every_time_and_says_nothing_of_the_machine(report, tmp_path):
    paths = [tmp_path / "one.svg", tmp_path / "two.svg"]

    for path in paths:
        Plot(path, overwrite=False).draw(report)

    first, second = (path.read_bytes() for path in paths)
    assert first == second
    text = first.decode()
    assert str(tmp_path) not in text
    assert not re.search(r"\d{4}-\d\d-\d\dT|<dc:date>|[Mm]atplotlib v", text)
    assert text.count('id="patch_') > 10


def test_png_is_a_picture_of_all_rows(ingredients, converted, compared, tmp_path):
    path = tmp_path / "p.PNG"

    report = compared(ingredients["beta7"], converted["fp8"])
    Plot(path, overwrite=False).draw(report)

    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert 1000 < width < 3000
    assert 1000 < height < 3000
    assert b"Software" not in data


def test_colours_of_equal_missing_and_odd_cells_differ(report, tmp_path):
    path = tmp_path / "p.svg"

    Plot(path, overwrite=False).draw(report)

    text = path.read_text()
    for colour in ("#e3e3e3", "#c0392b", "#ffffff"):
        assert colour in text
    assert "<pattern" in text


def test_report_without_any_tensor_is_drawn_too(write, compared, tmp_path):
    report = compared(write("a", {"x": half(1)}), write("b", {"y": half(1)}))

    Plot(tmp_path / "p.svg", overwrite=False).draw(report)

    assert (tmp_path / "p.svg").stat().st_size > 1000


@pytest.mark.parametrize("name", ["p", "p.jpg", "p.svgz", "png"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(UsageError) as caught:
        Plot(tmp_path / name, overwrite=False)

    assert caught.value.code == "plot-format"


def test_absent_matplotlib_is_said_with_what_to_install(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "matplotlib" else find(name, *rest),
    )

    with pytest.raises(ReleaseError) as caught:
        Plot(tmp_path / "p.svg", overwrite=False)

    assert caught.value.code == "plots-extra"
    assert caught.value.hint == "run: pip install 'krelease[plots]'"


def test_picture_that_is_there_is_kept_unless_it_may_be_replaced(report, tmp_path):
    path = tmp_path / "p.svg"
    path.write_text("mine")

    with pytest.raises(OutputExistsError):
        Plot(path, overwrite=False)
    assert path.read_text() == "mine"

    Plot(path, overwrite=True).draw(report)
    assert path.read_text().startswith("<?xml")


def test_long_labels_lose_their_middle():
    label = "text_model.embeddings.position_embedding"

    short = _short(label)

    assert len(short) == 24
    begin, end = short.split("..")
    assert label.startswith(begin)
    assert label.endswith(end)
    assert min(len(begin), len(end)) > 5
