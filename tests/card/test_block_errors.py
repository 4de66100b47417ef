"""The error of every block as a picture and in words, of made-up figures."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from release.card.block_errors import block_errors, block_errors_section
from release.card.presentation import Presentation
from release.card.render import render_hub_pages
from release.definition import Definition
from release.errors import CardError
from release.manifest import Manifest
from release.pictures.file import picture_bytes
from release.pictures.heat_map import Fill, HeatMap

Figures = dict[str, dict[str, str]]

FP16 = {
    "vae": {"quant_conv": "inf", "decoder.up.10": "74.06", "decoder.up.2": "73.04"},
    "unet": {"out": "71.60", "IN04": "73.30", "time_embed": "70.96"},
}
FP8 = {"unet": {"IN04": "-3.26", "out": "47.90"}, "clip_g": {"layer 3": "12345.6"}}


@pytest.fixture
def measured(document: dict[str, Any]) -> Callable[[Figures, Figures], Manifest]:
    """Give the blocks of fp8 and fp16 their ratios."""

    def put(fp8: Figures, fp16: Figures) -> Manifest:
        for record, figures in zip(document["checkpoints"], (fp8, fp16), strict=True):
            zero = dict.fromkeys(("n_tensors", "n_elements", "clamped", "flushed"), 1)
            record["blocks"] = {
                component: {
                    block: zero | {"max_abs_error": "0.1", "snr_db": snr}
                    for block, snr in blocks.items()
                }
                for component, blocks in figures.items()
            }
        return Manifest.model_validate(document)

    return put


@pytest.fixture
def drawn(
    definition: Definition, measured: Callable[[Figures, Figures], Manifest]
) -> HeatMap:
    return block_errors(definition, measured(FP8, FP16))


def test_panels_are_the_variants_with_the_blocks_of_all_in_order(
    drawn: HeatMap,
) -> None:
    assert [panel.title for panel in drawn.panels] == [
        "fp16: kohaku-xl-gamma-rev2.fp16.safetensors",
        "fp8: kohaku-xl-gamma-rev2.fp8.safetensors",
    ]
    for panel in drawn.panels:
        assert {
            column.title: [tile.label for tile in column.tiles]
            for column in panel.columns
        } == {
            "U-Net": ["time_embed", "IN04", "out"],
            "CLIP-G": ["layer 3"],
            "VAE": ["decoder.up.2", "decoder.up.10", "quant_conv"],
        }
        assert [column.title for column in panel.columns] == ["U-Net", "CLIP-G", "VAE"]


def test_tiles_are_the_figures_or_say_that_there_is_none(drawn: HeatMap) -> None:
    fp16, fp8 = (
        {
            tile.label: (tile.text, tile.fill, tile.is_hatched)
            for column in panel.columns
            for tile in column.tiles
        }
        for panel in drawn.panels
    )

    missing = ("missing", Fill.ABSENT, True)
    assert fp16 == {
        "time_embed": ("71.0", 70.96, False),
        "IN04": ("73.3", 73.3, False),
        "out": ("71.6", 71.6, False),
        "layer 3": missing,
        "decoder.up.2": ("73.0", 73.04, False),
        "decoder.up.10": ("74.1", 74.06, False),
        "quant_conv": ("exact", Fill.EQUAL, False),
    }
    assert fp8["IN04"] == ("-3.3", -3.26, False)
    assert fp8["layer 3"] == ("12345.6", 12345.6, False)
    assert fp8["time_embed"] == fp8["quant_conv"] == missing
    assert "dB" in drawn.scale
    assert [fill for fill, _ in drawn.legend] == [Fill.EQUAL, Fill.ABSENT]


def test_words_name_least_and_greatest_and_count_the_exact_ones(
    definition: Definition, measured: Callable[[Figures, Figures], Manifest]
) -> None:
    exact = {"vae": {"quant_conv": "inf", "decoder.mid": "inf"}}

    section = block_errors_section(definition, measured(exact, FP16))

    assert section["rows"] == [
        {
            "name": "kohaku-xl-gamma-rev2.fp16.safetensors",
            "n_blocks": 6,
            "n_exact": 1,
            "least": "71.0 dB (U-Net time_embed)",
            "greatest": "74.1 dB (VAE decoder.up.10)",
        },
        {
            "name": "kohaku-xl-gamma-rev2.fp8.safetensors",
            "n_blocks": 2,
            "n_exact": 2,
            "least": "",
            "greatest": "",
        },
    ]


STEM = "kohaku-xl-gamma-rev2"
ALTERNATIVE = "Error of every block of every file, as a heat map; in words below"
WORDS = "from 71.0 dB (U-Net time\\_embed) to 74.1 dB (VAE decoder.up.10)"


def test_card_shows_the_picture_and_says_the_same_in_words(
    definition: Definition, measured: Callable[[Figures, Figures], Manifest]
) -> None:
    exact = {"vae": {"quant_conv": "inf"}}
    manifest = measured(exact, FP16)

    plain = render_hub_pages(definition, manifest)
    pages = render_hub_pages(
        definition, manifest, presentation=Presentation(has_pictures=True)
    )

    assert list(pages) == ["README.md", "lineage.svg", "error-by-block.svg"]
    before, after = (each["README.md"].splitlines() for each in (plain, pages))
    added = [line for line in after if line not in before]
    assert added == [
        f"![{ALTERNATIVE}](error-by-block.svg)",
        "The picture shows the SNR of each block; `manifest.json` has the figures.",
        f"- `{STEM}.fp16.safetensors`: {WORDS}; 1 of 6 blocks exact",
        f"- `{STEM}.fp8.safetensors`: every block exact",
    ]
    assert after.index(added[0]) > after.index("## Measured differences")
    assert list(plain) == ["README.md", "lineage.svg"]
    assert "error-by-block" not in plain["README.md"]


DRAW = """
import sys
from pathlib import Path
from release.pictures.file import picture_bytes
from release.pictures.heat_map import *
tiles = tuple(Tile(f"b{n}", str(n), float(n)) for n in range(5))
tiles += (Tile("e", "exact", Fill.EQUAL), Tile("m", "missing", Fill.ABSENT, True))
legend = ((Fill.EQUAL, "exact"), (Fill.ABSENT, "missing"))
panels = (Panel("p", (Column("c", tiles),)), Panel("q", (Column("c", tiles),)))
drawn = HeatMap("t", panels, "s, in dB", legend, 1.8, 20)
sys.stdout.buffer.write(picture_bytes(drawn, "svg"))
"""


def test_svg_is_the_same_in_every_process_and_says_nothing_of_the_machine(
    tmp_path: Path,
) -> None:
    first, second = (
        subprocess.run(
            [sys.executable, "-c", DRAW],
            check=True,
            capture_output=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    )

    assert first == second
    text = first.decode()
    assert not re.search(r"\d{4}-\d\d-\d\d|<dc:date>|[Mm]atplotlib v|/tmp", text)
    assert not re.search(r"font-family|<text|<image|href=\"(?!#)", text)


def test_svg_is_one_that_browsers_read_and_has_a_title(drawn: HeatMap) -> None:
    root = ET.fromstring(picture_bytes(drawn, "svg"))  # noqa: S314  # our own

    space = "{http://www.w3.org/2000/svg}"
    title = root.find(f"{space}title")
    assert root.tag == f"{space}svg"
    assert title is not None
    assert title.text == (
        "Kohaku-XL gamma rev2: error by block each file against the recipe's exact"
        " result"
    )
    assert root.attrib["width"] == f"{72 * (3 * 1.8 + 0.3):g}pt"


def test_title_of_other_letters_is_the_name_of_the_release(
    gamma: dict[str, Any], measured: Callable[[Figures, Figures], Manifest]
) -> None:
    gamma["release"]["title"] = "\u7334"

    drawn = block_errors(Definition.model_validate(gamma), measured(FP8, FP16))

    assert drawn.title.startswith("gamma-rev2: error by block\n")


HOSTILE = "$x_{1}$ \u202e\n\x1b[31m<script>&]]> | `" + "n" * 300


def test_hostile_names_are_drawn_as_text(
    definition: Definition, measured: Callable[[Figures, Figures], Manifest]
) -> None:
    manifest = measured({HOSTILE: {HOSTILE: "30.0"}}, {"unet": {HOSTILE: "inf"}})

    picture = picture_bytes(block_errors(definition, manifest), "svg")

    root = ET.fromstring(picture)  # noqa: S314  # our own
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names.isdisjoint({"script", "text", "image", "a"})


@pytest.mark.parametrize("snr", ["1e400", "99999.0", "-20000.1", "1.2.3", "."])
def test_figure_that_is_none_is_refused(
    definition: Definition, measured: Callable[[Figures, Figures], Manifest], snr: str
) -> None:
    with pytest.raises(CardError) as caught:
        block_errors(definition, measured(FP8, {"unet": {"out": snr}}))

    assert caught.value.code == "figure"


def test_manifest_of_before_blocks_were_kept_is_refused(
    definition: Definition, manifest: Manifest
) -> None:
    with pytest.raises(CardError) as caught:
        block_errors(definition, manifest)

    assert caught.value.code == "no-blocks"
    assert "kohaku-xl-gamma-rev2.fp16.safetensors" in str(caught.value)


@pytest.mark.parametrize(("n_components", "n_blocks"), [(8, 1), (1, 100)])
def test_as_much_as_a_picture_holds_is_drawn_and_one_more_is_refused(
    definition: Definition,
    measured: Callable[[Figures, Figures], Manifest],
    n_components: int,
    n_blocks: int,
) -> None:
    blocks = {f"block {n}": "30.0" for n in range(n_blocks)}
    full = {f"part {n}": blocks for n in range(n_components)}
    more = full | {"part 0": blocks | {"one more": "30.0"}, "one more": blocks}
    del more["one more" if n_components == 1 else "part 0"]
    more |= {} if n_components == 1 else {"part 0": blocks}

    drawn = block_errors(definition, measured(full, full))
    with pytest.raises(CardError) as caught:
        block_errors(definition, measured(full, more))

    assert len(drawn.panels[0].columns) == n_components
    assert caught.value.code == "picture-too-large"
