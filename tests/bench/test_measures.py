"""What the measurements share, on invented runs."""

from pathlib import Path

import pytest
from measures import Bench, beside, memory_figures
from peers import SD_CPP, Peer
from table import table_lines
from timing import BenchError, PeerError, Sample


@pytest.fixture(autouse=True)
def there(bench: Bench) -> None:
    """stable-diffusion.cpp, which does nothing."""
    bench.peers = {SD_CPP.name: Peer(SD_CPP.name, Path("python"))}


def one_run() -> Sample:
    return Sample(1.0, peak_nbytes=3 << 20)


def four_runs(_: Path) -> Sample:
    return Sample(4.0, peak_nbytes=5 << 20)


def test_krelease_is_compared_with_a_peer_that_is_there(bench: Bench) -> None:
    figure = beside(bench, "convert, times", SD_CPP, own=one_run, theirs=four_runs)

    assert figure.values == (4.0,)
    assert [(each.own, each.peer) for each in memory_figures(bench)] == [("", "5 MiB")]


def test_a_peer_that_is_missing_is_one_line_of_the_table(bench: Bench) -> None:
    bench.peers = {
        SD_CPP.name: Peer(SD_CPP.name, Path("python"), missing="no compiler")
    }

    figure = beside(bench, "convert, times", SD_CPP, own=one_run, theirs=four_runs)

    assert table_lines([figure])[-1] == "convert, times: not measured: no compiler"


def test_a_peer_that_fails_does_not_stop_the_rest(bench: Bench) -> None:
    def fails(_: Path) -> Sample:
        raise PeerError("its result is wrong")

    figure = beside(bench, "convert, times", SD_CPP, own=one_run, theirs=fails)

    assert figure.missing == "its result is wrong"


def test_krelease_that_fails_beside_a_peer_does_stop(bench: Bench) -> None:
    def fails() -> Sample:
        raise BenchError("krelease: exit code 1")

    with pytest.raises(BenchError, match="exit code 1"):
        beside(bench, "convert", SD_CPP, own=fails, theirs=four_runs)
