"""The benchmark's merges: real ones of narrow checkpoints, and invented times."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import merge_runs
import merges
import pytest
from check_tensors import coefficients
from measures import Bench, memory_figures
from peers import MERGEKIT, SD_MECHA, Peer
from scratch import Material
from table import table_lines
from timing import BenchError, PeerError, Sample

MIB = 1 << 20


@pytest.fixture
def narrow(tmp_path: Path, ingredients: Mapping[str, Path]) -> Material:
    """A folder with links to the four ingredients."""
    for name, path in ingredients.items():
        (tmp_path / f"{name}.safetensors").hardlink_to(path)
    return Material(tmp_path, 32, "ext4")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_variants_are_merged_at_once_and_both_are_checked(narrow: Material) -> None:
    folder = narrow.folder / "merged"
    folder.mkdir()

    merge_runs.merge_into(folder, merge_runs.rev2(narrow), ["fp16", "fp8"])

    assert [name for name in names(folder) if name.endswith(".safetensors")] == [
        "merge-fp16.safetensors",
        "merge-fp8.safetensors",
    ]


def test_eight_ingredients_are_merged_and_their_links_removed(narrow: Material) -> None:
    before = names(narrow.folder)

    with merge_runs.eight(narrow) as recipe:
        merge_runs.merge(narrow, recipe, ["fp16"])
        assert len({*recipe.paths}) == 8

    assert names(narrow.folder) == before


def test_links_are_removed_when_the_measurement_is_interrupted(
    narrow: Material,
) -> None:
    with pytest.raises(KeyboardInterrupt), merge_runs.eight(narrow):
        raise KeyboardInterrupt

    assert len(names(narrow.folder)) == 4


def test_a_merge_of_another_recipe_is_no_measurement(narrow: Material) -> None:
    plain = merge_runs.gamma(narrow)
    wrong = merge_runs.Recipe("rev2", plain.expression, plain.pairs)

    with pytest.raises(BenchError, match="steps from the formula"):
        merge_runs.merge(narrow, wrong, ["fp16"])


@pytest.mark.parametrize(
    ("recipe", "weight", "total"),
    [("gamma", 0.0, 1.0), ("rev2", 0.05, 1.0), ("eight", 0.0, 1.0)],
)
def test_the_checks_factors_sum_to_one(
    recipe: str, weight: float, total: float
) -> None:
    assert sum(coefficients(recipe, weight).values()) == pytest.approx(total)


def test_gamma_is_the_same_to_mergekit_as_to_the_check(narrow: Material) -> None:
    recipe = json.loads(merge_runs.mergekit_recipe(narrow))

    assert recipe["merge_method"] == "linear"
    assert recipe["parameters"] == {"normalize": False}
    assert {
        Path(model["model"]).stem: model["parameters"]["weight"]
        for model in recipe["models"]
    } == coefficients("gamma", 0.0)


def test_mergekit_that_fails_leaves_nothing_and_is_told_from_krelease(
    narrow: Material,
) -> None:
    before = names(narrow.folder)

    with pytest.raises(PeerError, match="mergekit-pytorch"):
        merge_runs.mergekit(narrow.folder / "bin" / "python", narrow)

    assert names(narrow.folder) == before


def test_a_result_of_mergekit_that_is_wrong_does_not_count(
    narrow: Material, ingredients: Mapping[str, Path]
) -> None:
    program = narrow.folder / "mergekit-pytorch"
    program.write_text(
        f'#!/bin/sh\nmkdir "$3" && cp {ingredients["beta7"]} "$3/model.safetensors"\n'
    )
    program.chmod(0o755)

    with pytest.raises(PeerError, match="steps from the formula"):
        merge_runs.mergekit(narrow.folder / "python", narrow)


def after(seconds: float, peak_mib: int = 1) -> Callable[..., Sample]:
    return lambda *_: Sample(seconds, peak_nbytes=peak_mib * MIB)


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that take a known time: a merge 2 s, and 0.5 s more of what is more."""

    def merge(_: Material, recipe: merge_runs.Recipe, presets: list[str]) -> Sample:
        more = len(presets) - 1 + (recipe.name == "rev2") + (recipe.name == "eight")
        return Sample(2.0 + 0.5 * more, peak_nbytes=100 * MIB + 7 * more * MIB)

    monkeypatch.setattr(merge_runs, "merge", merge)
    monkeypatch.setattr(merge_runs, "build", after(5.0, 300))
    monkeypatch.setattr(merge_runs, "cat_and_cp", after(1.25))
    monkeypatch.setattr(merge_runs, "sd_mecha", after(25.0, 700))
    monkeypatch.setattr(merge_runs, "mergekit", after(40.0, 900))


def test_what_merges_is_compared_with_what_merges(bench: Bench, invented: None) -> None:
    bench.peers = {SD_MECHA.name: Peer(SD_MECHA.name, Path("python"))}

    figures = merges.measure_merge(bench)

    assert [figure.value for figure in figures] == [10.0, 2.0, 1.2, 2.0]
    assert [figure.verdict for figure in figures] == [
        "goal met",
        "bar met",
        "goal met",
        "",
    ]
    assert [figure.peer for figure in memory_figures(bench)] == ["700 MiB", "", ""]


def test_without_sd_mecha_the_rest_is_measured(bench: Bench, invented: None) -> None:
    bench.peers = {SD_MECHA.name: Peer(SD_MECHA.name, Path(), missing="no network")}

    figures = merges.measure_merge(bench)

    assert figures[0].missing == "no network"
    assert [figure.value for figure in figures[1:]] == [2.0, 1.2, 2.0]


@pytest.mark.usefixtures("invented")
def test_block_weights_and_ingredients_are_counted_against_the_plain_sum(
    bench: Bench, ingredients: Mapping[str, Path]
) -> None:
    for name, path in ingredients.items():
        (bench.material.folder / f"{name}.safetensors").hardlink_to(path)
    bench.peers = {MERGEKIT.name: Peer(MERGEKIT.name, Path("python"))}

    blocks, eight, memory, mergekit = merges.measure_recipes(bench)

    assert (blocks.value, blocks.verdict) == (1.25, "BAR MISSED")
    assert (eight.value, eight.verdict) == (2.0, "bar met")
    assert (memory.value, memory.verdict) == (1.75, "bar met")
    assert (mergekit.value, mergekit.verdict) == (20.0, "")
    assert "nothing measurable" in table_lines([blocks])[2]


def test_each_ingredients_memory_is_a_quarter_of_what_four_add() -> None:
    few = [Sample(1, peak_nbytes=200 * MIB), Sample(1, peak_nbytes=210 * MIB)]
    many = [Sample(1, peak_nbytes=268 * MIB), Sample(1, peak_nbytes=270 * MIB)]

    figure = merges.memory_of_ingredient(few, many, n_more=4)

    assert figure.values == (17.0, 15.0)
    assert figure.verdict == "bar met"
