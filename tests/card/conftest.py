"""A release to describe: gamma rev2 of the catalog, and made-up measurements."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from release.catalog.find import find_definition
from release.definition import Definition, folded_recipe
from release.manifest import Manifest

HERE = Path(__file__).parent

# Rows for block weights 0, 0.1 and 0.05: 0.75(1-w), 1, -(1-w), 0.25(1-w).
ROWS = {
    "0": {"beta7": "0.75", "anxl3": "1", "anxl2": "-1", "base8": "0.25"},
    "0.1": {"beta7": "0.675", "anxl3": "1", "anxl2": "-0.9", "base8": "0.225"},
    "0.05": {"beta7": "0.7125", "anxl3": "1", "anxl2": "-0.95", "base8": "0.2375"},
}
BLOCKS = {
    "0": "BASE IN02 IN05 IN08 M00 OUT00 OUT01 OUT02 KEEP",
    "0.1": "IN00 IN01 IN03 IN04 IN06 IN07",
    "0.05": "OUT03 OUT04 OUT05 OUT06 OUT07 OUT08",
}
LINEAR = "model.diffusion_model.time_embed.0"
CONV = "model.diffusion_model.input_blocks.0.0"
NORM = "model.diffusion_model.out.0.weight"
VAE = "first_stage_model.quant_conv.weight"
POSITIONS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="write the golden files of the card tests anew",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a golden file, or write it with --update-goldens."""

    def compare(name: str, text: str) -> None:
        path = HERE / "goldens" / name
        if request.config.getoption("--update-goldens", default=False):
            path.write_bytes(text.encode())
        assert text == path.read_bytes().decode()

    return compare


@pytest.fixture
def gamma() -> dict[str, Any]:
    """The definition as a document that a test may change."""
    known, _ = find_definition("gamma-rev2", HERE)
    return known.model_dump(mode="json", by_alias=True)


@pytest.fixture
def definition(gamma: dict[str, Any]) -> Definition:
    return Definition.model_validate(gamma)


@pytest.fixture
def document(gamma: dict[str, Any]) -> dict[str, Any]:
    """The manifest as a document that a test may change."""
    known = Definition.model_validate(gamma)
    return {
        "schema": "krelease.manifest/1",
        "release": "gamma-rev2",
        "title": "Kohaku-XL gamma rev2",
        "tag": "rev2",
        "architecture": "sdxl",
        "rehearsal": False,
        "recipe": {
            "canonical": "{}",
            "sha256": folded_recipe(known).sha256(),
            "convention": "supermerger",
            "output": "rev2",
            "steps": gamma["recipe"]["steps"],
            "rows": {
                block: ROWS[weight]
                for weight, blocks in BLOCKS.items()
                for block in blocks.split()
            },
        },
        "ingredients": [
            ingredient(
                "beta7",
                "Kohaku-XL beta7",
                sha256="b7" * 32,
                hub="KBlueLeaf/kohaku-xl-beta7",
                commit="4b" * 20,
            ),
            ingredient(
                "anxl3",
                "Animagine XL 3.0",
                sha256="a3" * 32,
                hub="cagliostrolab/animagine-xl-3.0",
                commit="3c" * 20,
            ),
            ingredient("anxl2", "Animagine XL 2.0", sha256="a2" * 32),
            ingredient("base8", "Kohaku-XL base8"),
        ],
        "checkpoints": [fp8(), fp16()],
        "files": [
            {
                "name": "kohaku-xl-gamma-rev2.fp8.zip",
                "role": "archive",
                "nbytes": 4_272_012_345,
                "xxh3_128": "c1" * 16,
                "sha256": "c2" * 32,
                "members": [
                    "LICENSE",
                    "README.txt",
                    "kohaku-xl-gamma-rev2.fp8.safetensors",
                ],
            }
        ],
    }


@pytest.fixture
def manifest(document: dict[str, Any]) -> Manifest:
    return Manifest.model_validate(document)


@pytest.fixture
def rev1(document: dict[str, Any]) -> tuple[Definition, Manifest]:
    """Gamma rev1 of the catalog, in one variant."""
    known, _ = find_definition("gamma-rev1", HERE)
    folded = folded_recipe(known)
    stated = known.recipe
    document |= {"release": "gamma-rev1", "title": known.release.title, "tag": "rev1"}
    document["recipe"] |= {
        "sha256": folded.sha256(),
        "output": stated.output,
        "steps": dict(stated.steps),
        "rows": folded.decimal_rows(),
    }
    document["ingredients"][3] |= {"name": "base7", "title": "Kohaku-XL base7"}
    (full,) = (each for each in document["checkpoints"] if each["variant"] == "fp16")
    full |= {"name": "kohaku-xl-gamma-rev1.fp16.safetensors", "sha256": "91" * 32}
    document |= {"checkpoints": [full], "files": []}
    return known, Manifest.model_validate(document)


def ingredient(name: str, title: str, **facts: object) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "nbytes": 6_938_040_682,
        "dtypes": {"F16": 2514, "I64": 1},
        "tensor_set_xxh3_128": "0f" * 16,
        **facts,
    }


def fp16() -> dict[str, Any]:
    exact = parity(n_tensors=248, n_elements=83_653_863, error="0", snr="inf")
    return checkpoint(
        "fp16",
        nbytes=6_938_040_706,
        sha256="38942904e9" + "16" * 27,
        tensors=[
            tensor(f"{LINEAR}.weight", "F16", [1280, 2_005_831]),
            tensor(f"{LINEAR}.bias", "F16", [1280]),
            tensor(f"{CONV}.weight", "F16", [320, 4, 3, 3]),
            tensor(NORM, "F16", [320]),
            tensor(VAE, "F16", [8, 8, 1, 1]),
            tensor(POSITIONS, "I64", [1, 77]),
        ],
        parity=parity(error="0.000244140625", snr="74.0512", flushed=12),
        components={
            "vae": exact,
            "unet": parity(
                n_tensors=1680, n_elements=2_567_463_684, error="0.00012", snr="73.84"
            ),
        },
    )


def fp8() -> dict[str, Any]:
    rounded = parity(
        n_tensors=1680,
        n_elements=2_567_463_684,
        error="0.03125",
        snr="31.57",
        flushed=1_234_567,
        clamped=3,
    )
    return checkpoint(
        "fp8",
        nbytes=4_271_998_123,
        sha256="f8" * 32,
        tensors=[
            tensor(f"{LINEAR}.weight", "F8_E4M3", [1280, 2_005_831]),
            tensor(f"{LINEAR}.bias", "F8_E4M3", [1280]),
            tensor(f"{CONV}.weight", "F8_E4M3", [320, 4, 3, 3]),
            tensor(NORM, "F16", [320]),
            tensor(VAE, "F16", [8, 8, 1, 1]),
            tensor(POSITIONS, "I64", [1, 77]),
        ],
        parity=parity(error="0.03125", snr="32.09", flushed=1_234_579, clamped=3),
        components={"unet": rounded},
    )


def checkpoint(variant: str, **facts: Any) -> dict[str, Any]:
    return {
        "name": f"kohaku-xl-gamma-rev2.{variant}.safetensors",
        "variant": variant,
        "xxh3_128": "11" * 16,
        "data_sha256": "da7a" * 16,
        "header_nbytes": 300_000,
        "header_xxh3_128": "22" * 16,
        "tensor_set_xxh3_128": "33" * 16,
        "dtypes": {"F16": 6},
        "chunk_nbytes": 1_048_576,
        "chunks": "",
        **facts,
    }


def parity(
    *,
    error: str,
    snr: str,
    n_tensors: int = 2515,
    n_elements: int = 3_468_837_945,
    clamped: int = 0,
    flushed: int = 0,
) -> dict[str, Any]:
    return {
        "n_tensors": n_tensors,
        "n_elements": n_elements,
        "max_abs_error": error,
        "snr_db": snr,
        "clamped": clamped,
        "flushed": flushed,
    }


def tensor(name: str, dtype: str, shape: list[int]) -> dict[str, Any]:
    width = {"F16": 2, "F8_E4M3": 1, "I64": 8, "F32": 4}[dtype]
    n_elements = 1
    for size in shape:
        n_elements *= size
    return {
        "name": name,
        "dtype": dtype,
        "shape": shape,
        "offset": 0,
        "nbytes": n_elements * width,
        "xxh3_128": "44" * 16,
    }
