"""Hostile files, and a marker that none of them may make."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from release.formats.pickled.checkpoint import PickledCheckpoint
from release.formats.pickled.child import answer
from release.formats.pickled.faults import error_for
from release.formats.pickled.plan import decode_answer
from release.formats.refused import RefusedError
from release.formats.unzip.source import Source


def load_builder() -> ModuleType:
    if "pickled_builder" not in sys.modules:
        path = Path(__file__).with_name("builder.py")
        spec = importlib.util.spec_from_file_location("pickled_builder", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return sys.modules["pickled_builder"]


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    """The module builder.py, which no import path leads to."""
    return load_builder()


@pytest.fixture
def marker(tmp_path):
    """A path that payloads would create; whatever happens, it is not there after."""
    path = tmp_path / "MARKER"
    yield path
    assert not path.exists(), "a payload ran"


@pytest.fixture
def payload(kit, marker):
    """The pickled call that touches the marker."""
    return kit.call("posix.system", kit.text(f"touch {marker}"))


@pytest.fixture
def opened(tmp_path, marker):
    """Write bytes to a file and open it; closed at the end."""
    checkpoints = []

    def open_bytes(content, name="m.ckpt", **options):
        path = tmp_path / name
        path.write_bytes(content)
        checkpoint = PickledCheckpoint(path, **options)
        checkpoints.append(checkpoint)
        return checkpoint

    yield open_bytes
    for checkpoint in checkpoints:
        checkpoint.close()


@pytest.fixture
def parsed(tmp_path, marker):
    """Do what `opened` does up to the plan, without the child: dozens each second."""

    def parse_bytes(content, name="m.ckpt", *, stub_globals=False):
        path = tmp_path / name
        path.write_bytes(content)
        with path.open("rb") as file:
            source = Source(file.fileno())
            try:
                raw = answer(source, stub_globals=stub_globals)
                return decode_answer(raw, source.nbytes)
            except RefusedError as refusal:
                raise error_for(path, refusal) from None

    return parse_bytes


@pytest.fixture
def data_of():
    """Read one tensor of a checkpoint in parts of some size."""

    def read(checkpoint, name, step=2**20):
        entry = checkpoint.tensors[name]
        out = bytearray(entry.nbytes)
        window = memoryview(out)
        for begin in range(0, entry.nbytes, step):
            checkpoint.read_into(entry, begin, window[begin : begin + step])
        return bytes(out)

    return read
