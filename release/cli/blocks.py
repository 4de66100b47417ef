"""`krelease blocks`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from release.recipe.census import Change, Size
    from release.recipe.conventions import Convention
    from release.recipe.weights import BlockWeights


def blocks(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An SDXL checkpoint.")],
    convention: Annotated[
        str,
        typer.Option(
            "--convention",
            metavar="NAME",
            help="supermerger, sd-mecha, chattiori or sdnext.",
        ),
    ] = "supermerger",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="TEXT",
            help="Block weights as in mbw(): a list, or '0, OUT03=0.05, vae=0'.",
        ),
    ] = None,
    tensors: Annotated[
        bool, typer.Option("--tensors", help="List every tensor as well.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show which block of block weights every tensor is in.

    Only the header is read. The same list of weights gives different models under
    different conventions; the table at the end says how different.

    Example: krelease blocks model.safetensors --convention sd-mecha
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.recipe.census import block_sizes, changes
        from release.recipe.conventions import find_convention

        chosen = find_convention(convention, label="--convention")
        read = _weights(weights, chosen)
        sizes = _sizes(path)
        counted = block_sizes(sizes, chosen)
        others = changes(sizes, chosen, read)
        rows = _rows(sizes, chosen, read)
        listed = [*_columns(rows), ""] if tensors else []
        console.result(
            "krelease.blocks/1",
            _document(chosen, counted, others, rows),
            [*listed, *_table(counted, chosen, read), "", *_changes(others, read)],
            brief=list(counted),
        )


def _sizes(path: Path) -> dict[str, int]:
    """Return the number of parameters of every tensor of an SDXL checkpoint."""
    import math

    from release.architecture.sdxl import detect
    from release.errors import TensorMismatchError
    from release.formats.open import open_checkpoint

    with open_checkpoint(path) as checkpoint:
        shapes = {name: entry.shape for name, entry in checkpoint.tensors.items()}
    if detect(shapes) != "sdxl":
        raise TensorMismatchError(
            path,
            "has tensor names of another architecture; expected SDXL",
            code="not-sdxl",
            hint="the blocks are those of SDXL in its all-in-one layout",
        )
    return {name: math.prod(shape) for name, shape in shapes.items()}


def _weights(text: str | None, convention: "Convention") -> "BlockWeights | None":
    from release.errors import RecipeError
    from release.recipe.tokens import Place
    from release.recipe.weights import length_hint, read_weights

    if text is None:
        return None
    weights = read_weights(text, place=Place("--weights", text), column=1)
    wrong = convention.refusal(weights)
    if wrong:
        raise RecipeError(
            f"--weights: {wrong}",
            code="block-weights",
            hint=length_hint(weights.n_listed),
        )
    return weights


def _rows(
    sizes: "Mapping[str, int]", convention: "Convention", weights: "BlockWeights | None"
) -> list[dict[str, object]]:
    from release.architecture.sdxl import component_of
    from release.recipe.decimals import decimal_text

    rows: list[dict[str, object]] = []
    for name, n_parameters in sizes.items():
        cell = convention.cell_of(name)
        rows.append(
            {
                "name": name,
                "component": component_of(name).value,
                "block": cell.block,
                "part": cell.part.value,
                "n_parameters": n_parameters,
                "weight": decimal_text(weights.of(cell)) if weights else None,
            }
        )
    return rows


def _columns(rows: "list[dict[str, object]]") -> list[str]:
    from release.console import columns
    from release.errors import visible

    keys = ("name", "component", "block", "part", "weight")
    return columns([[visible(row[key] or "") for key in keys] for row in rows])


def _table(
    counted: "Mapping[str, Size]",
    convention: "Convention",
    weights: "BlockWeights | None",
) -> list[str]:
    from release.console import columns
    from release.recipe.decimals import decimal_text

    rows = [["block", "tensors", "parameters", *(["weight"] if weights else [])]]
    for block, size in counted.items():
        row = [block, f"{size.n_tensors:,}", f"{size.n_parameters:,}"]
        if weights:
            cells = [cell for cell in convention.cells if cell.block == block]
            values = dict.fromkeys(decimal_text(weights.of(cell)) for cell in cells)
            row.append(", ".join(values))
        rows.append(row)
    return columns(rows, right=[1, 2])


def _changes(others: "tuple[Change, ...]", weights: "BlockWeights | None") -> list[str]:
    from release.console import columns

    rows = [["other conventions", "tensors", "parameters", "change"]]
    for each in others:
        size = each.moved if weights is None else each.weighted
        what = "are in another block" if weights is None else "get another weight"
        if size is None:
            rows.append([f"  {each.convention}", "", "", "does not take these weights"])
        else:
            count, parameters = f"{size.n_tensors:,}", f"{size.n_parameters:,}"
            rows.append([f"  {each.convention}", count, parameters, what])
    return columns(rows, right=[1, 2])


def _document(
    convention: "Convention",
    counted: "Mapping[str, Size]",
    others: "tuple[Change, ...]",
    rows: "list[dict[str, object]]",
) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "convention": convention.name,
        "blocks": {block: asdict(size) for block, size in counted.items()},
        "changes": [asdict(each) for each in others],
        "tensors": rows,
    }
