"""The first signal becomes an exception, at a moment when that is safe."""

import importlib
import os
import signal
import sys
import time

import pytest

from release.cli.stopping import SignalError, stoppable

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ask(number: int) -> None:
    os.kill(os.getpid(), number)


def wait() -> None:
    time.sleep(5)


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129)])
def test_signal_becomes_an_exit_with_its_code(number, code):
    seen = []

    with (
        pytest.raises(SignalError) as stop,
        stoppable(lambda error, _: seen.append(error), must_wait=lambda: False),
    ):
        ask(number)

    assert stop.value.code == stop.value.exit_code == code
    assert seen == [stop.value]


def test_clean_up_is_not_interrupted_by_further_signals():
    cleaned = []

    with stoppable(lambda *_: None, must_wait=lambda: False):
        with pytest.raises(SignalError):
            ask(signal.SIGINT)
        for number in STOPS:
            ask(number)
            cleaned.append(number)

    assert cleaned == [*STOPS]


def test_error_waits_as_long_as_it_is_told_to():
    answers = iter([True, True, False])

    with stoppable(lambda *_: None, must_wait=lambda: next(answers)):
        ask(signal.SIGTERM)
        with pytest.raises(SignalError):
            wait()

    assert list(answers) == []


def test_module_that_is_being_imported_is_loaded_whole(tmp_path, monkeypatch):
    source = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nis_whole = True\n"
    (tmp_path / "interrupted_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    seen = []

    with stoppable(lambda _, importing: seen.append(importing), must_wait=bool):
        importlib.import_module("interrupted_module")
        with pytest.raises(SignalError):
            wait()

    assert seen == [True]
    assert sys.modules.pop("interrupted_module").is_whole


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in STOPS]

    with stoppable(lambda *_: None, must_wait=lambda: False):
        during = [signal.getsignal(number) for number in STOPS]

    assert [signal.getsignal(number) for number in STOPS] == before
    assert during != before
