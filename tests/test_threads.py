"""How many threads are used: asked for, set in the environment, or all cores."""

import os

import pytest

from release.errors import UsageError
from release.threads import choose_threads


def test_wish_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("KRELEASE_THREADS", "7")

    assert choose_threads(3) == 3


def test_environment_wins_over_the_cores(monkeypatch):
    monkeypatch.setenv("KRELEASE_THREADS", "7")

    assert choose_threads() == 7


@pytest.mark.parametrize("text", [None, ""])
def test_cores_of_the_process_are_used_otherwise(monkeypatch, text):
    monkeypatch.delenv("KRELEASE_THREADS", raising=False)
    if text is not None:
        monkeypatch.setenv("KRELEASE_THREADS", text)

    assert choose_threads() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "all", "1 "])
def test_what_is_no_count_is_refused(monkeypatch, text):
    monkeypatch.setenv("KRELEASE_THREADS", text)

    with pytest.raises(UsageError) as caught:
        choose_threads()

    assert (caught.value.code, caught.value.exit_code) == ("threads", 2)
    assert caught.value.hint
