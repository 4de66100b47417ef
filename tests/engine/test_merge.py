"""The gamma merges against numpy: every element of every tensor of SDXL."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch

from release.build import plan_build
from release.card.presentation import presentation_of
from release.catalog.find import find_definition
from release.engine.execute import execute
from release.engine.standin import make_stand_ins
from release.folder import build_folder
from release.formats.open import open_checkpoint
from release.ingredients import locate
from release.numeric.dtype import Dtype
from release.progress import NoProgress

DIVISOR = 32

# The model page's list, in the order base, input blocks, middle, output blocks.
BLOCKS = ["BASE", *(f"IN{n}" for n in range(9)), "M", *(f"OUT{n}" for n in range(9))]
LIST = "0,0.1,0.1,0,0.1,0.1,0,0.1,0.1,0,0,0,0,0,0.05,0.05,0.05,0.05,0.05,0.05"
WEIGHTS = dict(zip(BLOCKS, LIST.split(","), strict=True))
# Weight of the last step -> coefficients, in the order of summation.
REV2 = {
    "0": {"anxl2": -1.0, "anxl3": 1.0, "base8": 0.25, "beta7": 0.75},
    "0.1": {"anxl2": -0.9, "anxl3": 1.0, "base8": 0.225, "beta7": 0.675},
    "0.05": {"anxl2": -0.95, "anxl3": 1.0, "base8": 0.2375, "beta7": 0.7125},
}
REV1 = {"anxl2": -0.8, "anxl3": 0.8, "base7": 0.5, "beta7": 0.5}
COPIED = ("position_ids", "logit_scale")


def block_of(name):
    """Tell SuperMerger's block from the parts of a name."""
    top, second, *rest = name.split(".")
    if top in {"conditioner", "first_stage_model"}:
        return "BASE"
    assert (top, second) == ("model", "diffusion_model")
    numbered = {"input_blocks": "IN", "output_blocks": "OUT"}
    if rest[0] in numbered:
        return f"{numbered[rest[0]]}{rest[1]}"
    return {"time_embed": "IN0", "label_emb": "IN0", "out": "OUT8"}.get(rest[0], "M")


def rev2_weight(name):
    is_merged = "weight" in name or "bias" in name
    return WEIGHTS[block_of(name)] if is_merged else "0"


def rev2_row(name):
    return REV2[rev2_weight(name)]


def rev1_row(_name):
    return REV1


def read(path):
    """Return name -> (dtype code, raw bytes), read by the safetensors library."""
    found = safetensors.deserialize(path.read_bytes())
    return {name: (tensor["dtype"], bytes(tensor["data"])) for name, tensor in found}


def float64(dtype, data):
    if dtype == "BF16":
        wide = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).astype(np.float64)
    code = {"F16": np.float16, "F32": np.float32}[dtype]
    return np.frombuffer(data, code).astype(np.float64)


def e4m3_codes(values):
    """Round float64 to e4m3fn by a table: to nearest, ties to even, clamped to 448."""
    table = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn)
    table = table.to(torch.float64).numpy()
    middles = (table[1:] + table[:-1]) / 2
    magnitude = np.abs(values)
    below = np.searchsorted(middles, magnitude, side="left")
    above = np.searchsorted(middles, magnitude, side="right")
    code = np.where((below != above) & (below % 2 == 1), above, below)
    return (code + 128 * np.signbit(values)).astype(np.uint8)


ROUNDED = {
    "F16": lambda values: values.astype(np.float16).tobytes(),
    "F8_E4M3": lambda values: e4m3_codes(values).tobytes(),
}


def merged(sources, name, row):
    total = np.float64(0)
    for at, (ingredient, coefficient) in enumerate(row.items()):
        term = coefficient * float64(*sources[ingredient][name])
        total = term if at == 0 else total + term
    return total


def differing(result, sources, row_of):
    """Return the names of tensors that are not what numpy makes of the formula."""
    wrong = []
    for name, (dtype, data) in result.items():
        if name.endswith(COPIED):
            expected = sources["beta7"][name][1]
        else:
            expected = ROUNDED[dtype](merged(sources, name, row_of(name)))
        if data != expected:
            wrong.append(name)
    return wrong


def build(definition, paths, folder, *, threads=2):
    """Write the checkpoints of a definition alone; return variant -> path."""
    folder.mkdir()
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(open_checkpoint(path))
            for name, path in paths.items()
        }
        plan = plan_build(definition, opened).passes
        execute(plan, folder, threads=threads, advance=lambda _: None)
    return {output.variant: folder / output.name for output in plan.outputs}


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def sources(ingredients):
    return {name: read(path) for name, path in ingredients.items()}


def test_block_list_of_the_page_falls_on_as_many_tensors_as_supermerger_gives(sources):
    counts = dict.fromkeys(REV2, 0)
    for name in sources["beta7"]:
        counts[rev2_weight(name)] += 1

    assert counts == {"0": 1999, "0.1": 300, "0.05": 216}


def test_gamma_rev2_in_fp16_is_the_formula_rounded_once(release_folder, sources):
    result = read(release_folder / "kohaku-xl-gamma-rev2-fp16.safetensors")

    assert len(result) == 2515
    assert differing(result, sources, rev2_row) == []


def test_gamma_rev2_in_fp8_is_the_same_formula_rounded_once(release_folder, sources):
    result = read(release_folder / "kohaku-xl-gamma-rev2-fp8.safetensors")

    assert len(result) == 2515
    assert sum(dtype == "F8_E4M3" for dtype, _ in result.values()) == 1168
    assert differing(result, sources, rev2_row) == []


def test_gamma_rev1_is_its_own_formula(tmp_path, ingredients, sources):
    rev1 = find_definition("gamma-rev1", tmp_path)[0]
    base7 = tmp_path / "base7.safetensors"
    make_stand_ins({"base7": base7}, divisor=DIVISOR)
    paths = {name: ingredients[name] for name in ("anxl2", "anxl3", "beta7")}

    written = build(rev1, {**paths, "base7": base7}, tmp_path / "out")

    result = read(written["fp16"])
    assert len(result) == 2515
    assert differing(result, {**sources, "base7": read(base7)}, rev1_row) == []


def test_ingredients_of_other_dtypes_are_taken_at_their_own_precision(
    tmp_path, ingredients, sources, gamma_rev2
):
    wide = tmp_path / "anxl3.safetensors"
    brain = tmp_path / "base8.safetensors"
    make_stand_ins({"anxl3": wide}, divisor=DIVISOR, dtype=Dtype.F32)
    make_stand_ins({"base8": brain}, divisor=DIVISOR, dtype=Dtype.BF16)
    mixed = {**ingredients, "anxl3": wide, "base8": brain}
    values = {**sources, "anxl3": read(wide), "base8": read(brain)}

    written = build(gamma_rev2, mixed, tmp_path / "out")

    assert {dtype for dtype, _ in values["anxl3"].values()} == {"F32", "I64"}
    assert {dtype for dtype, _ in values["base8"].values()} == {"BF16", "I64"}
    assert differing(read(written["fp16"]), values, rev2_row) == []
    assert differing(read(written["fp8"]), values, rev2_row) == []


def test_release_has_the_same_bytes_with_seven_threads_and_ingredients_backwards(
    tmp_path, ingredients, gamma_rev2, release_folder
):
    backwards = dict(reversed(ingredients.items()))
    located = locate(gamma_rev2, backwards, base=Path(), connection=None)
    again = tmp_path / "again"

    build_folder(
        gamma_rev2,
        located,
        again,
        threads=7,
        progress=NoProgress(),
        presentation=presentation_of(gamma_rev2, Path()),
    )

    assert files_of(again) == files_of(release_folder)


def test_release_has_the_same_bytes_in_another_process_with_one_thread(
    tmp_path, given, release_folder
):
    again = tmp_path / "again"
    command = [sys.executable, "-c", "from release.cli import app; app()", "build"]

    subprocess.run(
        [*command, "gamma-rev2", *given, f"--out={again}", "--threads=1", "--quiet"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"},
        capture_output=True,
    )

    assert files_of(again) == files_of(release_folder)
