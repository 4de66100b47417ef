"""Small checkpoints written byte by byte, and rounding as numpy and tables do it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from release.architecture.ema import EmaMode
from release.cli import app
from release.convert.source import SourceOptions
from release.parity.compare import ParityOptions, compare
from release.parity.report import ParityReport
from release.parity.sides import open_side
from release.parity.tolerance import Tolerances, parse_tolerance
from release.progress import NoProgress

NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "U8": "u1", "I8": "i1"}


class Rounding:
    """Exact casts of float64 values to a dtype: the bytes, and what they stand for."""

    def __init__(self, quantised: ModuleType) -> None:
        self._quantised = quantised

    def bits(self, values: np.ndarray, code: str) -> bytes:
        """Return finite values rounded once, to nearest, ties to even, fp8 clamped."""
        values = np.asarray(values, np.float64)
        if code in NUMPY:
            return values.astype(NUMPY[code]).tobytes()
        if code == "BF16":
            return self._nearest(values, self.table("BF16")).astype("<u2").tobytes()
        return self._nearest(values, self.table(code)).astype("u1").tobytes()

    def values(self, data: bytes, code: str) -> np.ndarray:
        """Return the float64 values of bytes."""
        if code in NUMPY:
            return np.frombuffer(data, NUMPY[code]).astype(np.float64)
        if code == "BF16":
            wide = np.frombuffer(data, "<u2").astype(np.uint32) << 16
            return wide.view(np.float32).astype(np.float64)
        return self._quantised.decoded(code)[np.frombuffer(data, "u1")].astype(float)

    def table(self, code: str) -> np.ndarray:
        """Return all finite values of a narrow dtype from 0 up, by their bits."""
        if code == "BF16":
            bits = np.arange(0x7F80, dtype=np.uint32) << 16
            return bits.view(np.float32).astype(np.float64)
        found = self._quantised.decoded(code)[:128].astype(np.float64)
        return found[np.isfinite(found)]

    def _nearest(self, values: np.ndarray, table: np.ndarray) -> np.ndarray:
        middles = (table[:-1] + table[1:]) / 2
        magnitude = np.abs(values)
        found = np.searchsorted(middles, magnitude)
        inside = np.minimum(found, len(middles) - 1)
        is_tie = (found < len(middles)) & (middles[inside] == magnitude)
        found = found + (is_tie & (found % 2 == 1))
        sign = 0x8000 if len(table) > 256 else 0x80
        return found | np.where(np.signbit(values), sign, 0)


@pytest.fixture(scope="session")
def rounding(quantised: ModuleType) -> Rounding:
    """Casts that use nothing of ours."""
    return Rounding(quantised)


@pytest.fixture(scope="session")
def converted(
    ingredients: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Narrow SDXL, by preset, as `krelease convert` made it of beta7. Never write."""
    folder = tmp_path_factory.mktemp("converted")
    presets = ("fp8", "fp8-e5m2", "fp8-scaled", "bf16", "fp32")
    options = [f"--to={preset}" for preset in presets]
    with pytest.raises(SystemExit) as stop:
        app(["convert", str(ingredients["beta7"]), *options, f"--out={folder}", "-q"])
    assert not stop.value.code
    return {
        preset: folder / f"beta7-{preset.replace('fp8-', 'fp8_')}.safetensors"
        for preset in presets
    }


@pytest.fixture
def write(tmp_path: Path, quantised: ModuleType) -> Callable[..., Path]:
    """Write a safetensors file of name -> (dtype code, shape, bytes)."""

    def run(
        name: str,
        tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]],
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        raws = {key: quantised.Raw(*value) for key, value in tensors.items()}
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(quantised.file_bytes(raws, dict(metadata or {})))
        return path

    return run


Compared = Callable[..., ParityReport]


@pytest.fixture
def compared() -> Compared:
    """Compare two paths through the library."""

    def run(
        first: Path,
        second: Path,
        *tolerances: str,
        threads: int = 2,
        ignores_missing: bool = False,
        **options: Any,
    ) -> ParityReport:
        reading = SourceOptions(**{"ema": EmaMode.KEEP, **options})
        passing = ParityOptions(
            Tolerances([parse_tolerance(each) for each in tolerances]),
            ignores_missing=ignores_missing,
        )
        with open_side(first, reading) as a, open_side(second, reading) as b:
            return compare(a, b, passing, threads=threads, progress=NoProgress())

    return run


@pytest.fixture
def one(write: Callable[..., Path], compared: Compared) -> Callable[..., Any]:
    """Compare one tensor, given as (dtype code, bytes) twice; return what was found."""

    def run(a: tuple[str, bytes], b: tuple[str, bytes], *tolerances: str) -> Any:
        widths = {"F64": 8, "I64": 8, "C64": 8, "F32": 4, "I32": 4}
        paths = []
        for name, (code, data) in zip("ab", (a, b), strict=True):
            narrow = 2 if code in {"F16", "BF16", "I16"} else 1
            n_elements = len(data) // widths.get(code, narrow)
            paths.append(write(name, {"w": (code, (n_elements,), data)}))
        (found,) = compared(*paths, *tolerances).tensors
        return found

    return run


@pytest.fixture
def parity(krelease: Callable[..., tuple[int, str, str]]) -> Callable[..., Any]:
    """Run `krelease parity ... --json`: exit code and document."""

    def run(*args: object) -> tuple[int, dict[str, Any]]:
        code, out, err = krelease("parity", *args, "--json")
        assert "Traceback" not in err
        return code, json.loads(out)

    return run
