"""The benchmark's own logic, on invented times: nothing here measures speed."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from check_tensors import Checkpoint, e4m3_values, problems, steps_apart, to_e4m3
from machine import busy_seconds, file_system
from report import FULL, HALF, Machine, notes
from table import (
    Bound,
    Figure,
    document_of,
    seconds,
    share_of_time,
    table_lines,
    times_faster,
)
from timing import BenchError, Sample, interleave, spawn


def samples(*seconds: float) -> list[Sample]:
    return [Sample(time, peak_nbytes=1) for time in seconds]


def contender(name: str, log: list[str], times: list[float]) -> Callable[[], Sample]:
    def run() -> Sample:
        log.append(name)
        return Sample(times.pop(0), peak_nbytes=1)

    return run


def test_contenders_take_turns_and_the_warm_up_does_not_count() -> None:
    log: list[str] = []
    contenders = {
        "a": contender("a", log, [9.0, 1.0, 2.0]),
        "b": contender("b", log, [8.0, 3.0, 4.0]),
    }

    measured = interleave(contenders, rounds=2, warm_ups=1)

    assert log == ["a", "b", "b", "a", "a", "b"]
    assert [sample.seconds for sample in measured["a"]] == [1.0, 2.0]
    assert [sample.seconds for sample in measured["b"]] == [3.0, 4.0]


def test_the_figure_is_the_median_of_the_ratios_of_pairs_not_of_medians() -> None:
    figure = times_faster("merge", samples(1, 2, 10), samples(20, 12, 70))

    assert figure.values == (20.0, 6.0, 7.0)
    assert figure.value == 7.0
    assert (figure.own, figure.peer) == ("2.00 s", "20.00 s")


def test_a_share_of_time_is_ours_over_the_peers() -> None:
    figure = share_of_time("convert", samples(1, 3), samples(4, 6))

    assert figure.values == (0.25, 0.5)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.25, "goal met"), (0.26, "bar met"), (0.4, "bar met"), (0.41, "BAR MISSED")],
)
def test_bar_and_goal_at_most(value: float, verdict: str) -> None:
    figure = Figure("convert", "x", (value,), bar=Bound(0.4), goal=Bound(0.25))

    assert figure.verdict == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(10, "goal met"), (9.9, "bar met"), (6, "bar met"), (5.9, "BAR MISSED")],
)
def test_bar_and_goal_at_least(value: float, verdict: str) -> None:
    bar, goal = Bound(6, at_least=True), Bound(10, at_least=True)

    assert Figure("merge", "x", (value,), bar=bar, goal=goal).verdict == verdict


def test_a_goal_without_a_bar_is_met_or_not() -> None:
    goal = Bound(1, at_least=True)

    assert Figure("verify", "x", (1.5,), goal=goal).verdict == "goal met"
    assert Figure("verify", "x", (0.5,), goal=goal).verdict == "goal not met"


def test_a_time_alone_is_told_in_seconds() -> None:
    figure = seconds("audit", samples(2.25, 1.5, 9), bar=Bound(30))

    assert figure.verdict == "bar met"
    assert "2.25 s" in table_lines([figure])[2]


def test_what_shrinks_a_little_is_not_a_negative_nought() -> None:
    assert "   0 MiB" in table_lines([Figure("memory", "MiB", (-0.3,))])[2]


def test_the_table_is_aligned_and_says_why_something_is_missing() -> None:
    bar, goal = Bound(6, at_least=True), Bound(10, at_least=True)
    figures = [
        Figure("merge", "x", (7.0, 8.0, 6.5), "5.00 s", "35.00 s", bar, goal),
        Figure("memory", "MiB", (301.4,), bar=Bound(450), goal=Bound(300)),
        Figure("other", "x", (), bar=bar, missing="no network"),
    ]

    assert table_lines(figures) == [
        "what    krelease     peer   figure      range      bar      goal",
        "------------------------------------------------------------------------------",
        "merge     5.00 s  35.00 s   7.00 x  6.50-8.00  >= 6.00  >= 10.00  bar met",
        "memory                     301 MiB              <= 450    <= 300  bar met",
        "other" + 42 * " " + ">= 6.00" + 12 * " " + "not measured",
        "other: not measured: no network",
    ]


def test_a_figure_is_plain_data_for_json() -> None:
    document = document_of(Figure("help", "ms", (60.0, 80.0, 70.0), bar=Bound(150)))

    assert json.loads(json.dumps(document))["value"] == 70.0
    assert document["verdict"] == "bar met"
    assert document["bar"] == {"limit": 150, "at_least": False}


def test_a_missing_figure_has_no_value() -> None:
    assert document_of(Figure("merge", "x", (), missing="x"))["value"] is None


def test_a_child_is_measured_by_what_it_used_itself() -> None:
    sample = spawn([sys.executable, "-c", "held = bytearray(200 << 20); print('done')"])

    assert sample.stdout == "done\n"
    assert sample.peak_nbytes > 200 << 20


def test_a_child_that_fails_cannot_win() -> None:
    with pytest.raises(BenchError, match="exit code 3, expected 0: broken"):
        spawn(
            [
                sys.executable,
                "-c",
                "import sys; print('broken', file=sys.stderr); sys.exit(3)",
            ]
        )


def test_a_child_that_takes_too_long_is_ended_with_its_own_children(
    tmp_path: Path,
) -> None:
    script = 'sleep 60 & echo $! > "$1"; wait'
    pid = tmp_path / "pid"

    with pytest.raises(BenchError, match="not done in 2 s"):
        spawn(["sh", "-c", script, "sh", pid], limit=2)

    assert ends_soon(int(pid.read_text()))


def ends_soon(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in {"Z", "X"}


def test_a_run_lasts_longer_until_its_result_is_stored() -> None:
    stored = Sample(3.0, peak_nbytes=1, sync_seconds=0.5).until_stored()

    assert stored.seconds == 3.5


def test_a_reason_is_one_line_of_bearable_length() -> None:
    assert BenchError("a\n b").reason == "a b"
    assert BenchError("a" * 1000 + "b" * 240).reason == "... " + "b" * 240


def test_a_folders_file_system_is_that_of_the_nearest_and_latest_mount() -> None:
    mounts = (
        "/dev/a / ext4 rw 0 0\n"
        "none /mnt tmpfs rw 0 0\n"
        "/dev/b /mnt/a\\040b xfs rw 0 0\n"
        "/dev/c /mnt/a\\040b btrfs rw 0 0\n"
    )

    assert file_system(Path("/mnt/a b/c"), mounts) == "btrfs"
    assert file_system(Path("/mnt/a"), mounts) == "tmpfs"
    assert file_system(Path("/mntfiles"), mounts) == "ext4"


def test_busy_time_leaves_out_idle_waiting_and_guests() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    seconds = (1, 2, 4, 1000, 1000, 8, 16, 32, 1000, 1000)
    fields = " ".join(str(second * ticks) for second in seconds)

    assert busy_seconds(f"cpu  {fields}\ncpu0 1 1\n") == 63


def test_the_checks_e4m3_is_torchs() -> None:
    codes = torch.arange(127, dtype=torch.uint8)
    values = e4m3_values()
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].astype(np.float64)

    assert values.tolist() == codes.view(torch.float8_e4m3fn).double().tolist()
    clamped = torch.from_numpy(finite).clamp(-448, 448).to(torch.float8_e4m3fn)
    assert np.array_equal(to_e4m3(finite), clamped.view(torch.uint8).numpy())


def test_steps_are_counted_across_zero() -> None:
    least = np.array([2.0**-24], "<f2")

    assert steps_apart(least, -least) == 2
    assert steps_apart(least, np.array([-0.0], "<f2")) == 1


def test_what_krelease_built_passes_the_check_exactly(
    release_folder: Path, ingredients: dict[str, Path]
) -> None:
    sources = {name: Checkpoint(path) for name, path in ingredients.items()}
    stem = "kohaku-xl-gamma-rev2"
    fp16 = Checkpoint(release_folder / f"{stem}-fp16.safetensors")
    fp8 = Checkpoint(release_folder / f"{stem}-fp8.safetensors")

    assert problems(fp16, "fp16", sources, tolerance=0, recipe="rev2") == []
    assert problems(fp8, "fp8", sources, tolerance=0, recipe="rev2") == []


def test_the_check_sees_another_recipe_and_another_variant(
    release_folder: Path, ingredients: dict[str, Path]
) -> None:
    swapped = dict(
        zip(ingredients, map(Checkpoint, reversed(ingredients.values())), strict=True)
    )
    sources = {name: Checkpoint(path) for name, path in ingredients.items()}
    fp16 = Checkpoint(release_folder / "kohaku-xl-gamma-rev2-fp16.safetensors")

    assert len(problems(fp16, "fp16", swapped, tolerance=2, recipe="rev2")) == 9
    assert len(problems(fp16, "fp16", sources, tolerance=0, recipe="gamma")) == 5
    assert len(problems(fp16, "fp8", sources, tolerance=0, recipe="rev2")) == 5


def machine(divisor: int, *, is_on_disk: bool) -> Machine:
    return Machine(
        cores=2,
        processor="Z80",
        other_cores=0.25,
        place="/mnt",
        file_system="ext4",
        is_on_disk=is_on_disk,
        divisor=divisor,
        n_checkpoints=4,
        checkpoint_nbytes=1_740_000_000,
        rounds=3,
        own="krelease 1",
        peers="others 2",
    )


def test_the_header_says_what_the_figures_hold_for() -> None:
    assert machine(HALF, is_on_disk=True).lines()[1] == (
        "4 x 1.74 GB, fp16, half width of SDXL, in /mnt (ext4)"
    )
    assert "1/16 of the width" in machine(16, is_on_disk=True).lines()[1]


def test_notes_speak_of_what_was_measured_and_of_what_was_left_out() -> None:
    assert "sd-mecha" in notes(HALF, on_disk=False)
    assert "sd-mecha" not in notes(FULL, on_disk=False)
    assert "left to the table at half width" in notes(FULL, on_disk=False)
    assert "and sync" not in notes(HALF, on_disk=False)
    assert "and sync" in notes(FULL, on_disk=True)
