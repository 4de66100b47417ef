"""`krelease inspect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from release.cli.app import session
from release.cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from release.inspection.report import (
        Inspection,
        MetadataEntry,
        PartReport,
        PositionIds,
    )

_VALUE_LENGTH: Final = 60
"""Characters of a metadata value that are shown without --metadata."""

_ARCHITECTURES: Final = {"sdxl": "SDXL", "sd1": "SD1.x", "sd2": "SD2.x"}
_CONTENTS: Final = {
    "all-in-one": "all-in-one checkpoint",
    "unet": "U-Net alone",
    "text-encoder": "text encoder alone",
    "vae": "VAE alone",
    "lora": "LoRA",
    "some-parts": "some parts of a model",
    "unknown": "unknown contents",
}
_PARTS: Final = {
    "unet": "U-Net",
    "clip_l": "text encoder CLIP-L",
    "clip_g": "text encoder CLIP-G",
    "text_encoder": "text encoder",
    "vae": "VAE",
    "lora": "LoRA",
    "ema": "EMA",
    "other": "other",
}


def inspect(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A checkpoint: a file or a folder."),
    ],
    metadata: Annotated[
        bool,
        typer.Option("--metadata", help="Print all metadata whole, private or not."),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what a file is: its parts, dtypes, metadata and oddities.

    Only the header and a few kilobytes are read. Values of metadata that may not be
    meant for others, such as prompts and paths, are hidden unless --metadata is given.

    Example: krelease inspect model.safetensors
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.inspection.inspect import inspect as run

        found = run(path)
        console.result(
            "krelease.inspect/1",
            _document(found, whole=metadata),
            _text(found, whole=metadata),
            brief=[_headline(found)],
        )


def _document(found: "Inspection", *, whole: bool) -> dict[str, object]:
    return {
        "path": str(found.path),
        "container": found.container,
        "n_files": found.n_files,
        "nbytes": found.nbytes,
        "architecture": found.architecture,
        "contents": found.contents.value,
        "n_tensors": found.n_tensors,
        "n_parameters": found.n_parameters,
        "memory": dict(
            zip(("nbytes", "nbytes_at_16_bits"), _memory(found), strict=True)
        ),
        "parts": [_part(part) for part in found.parts],
        "layout": {"name": found.layout.name, "title": found.layout.title}
        if found.layout
        else None,
        "prediction": {
            "kind": found.prediction.kind,
            "source": found.prediction.source,
            "zero_terminal_snr": found.prediction.zero_terminal_snr,
        },
        "position_ids": [_position_ids(each) for each in found.position_ids],
        "missing": list(found.missing),
        "missing_optional": list(found.missing_optional),
        "metadata": [_entry(entry, whole=whole) for entry in found.metadata],
        "findings": list(found.findings),
        "advice": [
            {"to": each.to, "nbytes": each.nbytes, "reason": each.reason}
            for each in found.advice
        ],
        "advice_note": found.advice_note,
    }


def _part(part: "PartReport") -> dict[str, object]:
    return {
        "part": part.part.value,
        "n_tensors": part.n_tensors,
        "n_parameters": part.n_parameters,
        "nbytes": part.nbytes,
        "nbytes_at_16_bits": part.nbytes_at_16_bits,
        "dtypes": dict(part.dtypes),
    }


def _position_ids(found: "PositionIds") -> dict[str, object]:
    return {
        "name": found.name,
        "dtype": found.dtype,
        "is_right": found.is_right,
        "detail": found.detail,
    }


def _entry(entry: "MetadataEntry", *, whole: bool) -> dict[str, object]:
    return {
        "key": entry.key,
        "n_characters": len(entry.value),
        "private": entry.private,
        "value": None if entry.private and not whole else entry.value,
    }


def _headline(found: "Inspection") -> str:
    """Return what the file is in a few words, such as "SDXL all-in-one checkpoint"."""
    architecture = _ARCHITECTURES.get(found.architecture, "")
    return f"{architecture} {_CONTENTS[found.contents.value]}".strip()


def _text(found: "Inspection", *, whole: bool) -> list[str]:
    from release.errors import visible

    lines = [f"{visible(found.path, 1024)}: {_headline(found)}", *_facts(found), ""]
    lines += _parts(found)
    if found.findings:
        lines += ["", "What to know", *(f"  {line}" for line in found.findings)]
    lines += _metadata(found.metadata, whole=whole)
    return [*lines, "", *_advice(found)]


def _facts(found: "Inspection") -> list[str]:
    from release.console import columns
    from release.numeric.size import size_text

    files = f", {found.n_files:,} files" if found.n_files > 1 else ""
    rows = [
        ["container", f"{found.container}{files}"],
        ["size", f"{size_text(found.nbytes)} ({found.nbytes:,} bytes)"],
        ["tensors", f"{found.n_tensors:,}, with {found.n_parameters:,} parameters"],
    ]
    if found.layout:
        rows.append(["fp8 layout", found.layout.title])
    if found.architecture != "unknown":
        prediction = found.prediction
        snr = ", zero terminal SNR" if prediction.zero_terminal_snr else ""
        rows.append(["predicts", f"{prediction.kind}{snr} ({prediction.source})"])
    rows += [
        ["position ids", f"{each.detail}, {each.dtype}"] for each in found.position_ids
    ]
    if found.missing_optional:
        rows.append(["optional", f"lacks {len(found.missing_optional):,} tensors"])
    return columns([[f"  {name}", text] for name, text in rows])


def _parts(found: "Inspection") -> list[str]:
    from release.console import columns
    from release.numeric.size import size_text

    if not found.parts:
        return ["no tensors"]
    head = ["part", "tensors", "parameters", "size", "at 16 bits", "dtypes"]
    rows = [
        [
            _PARTS[part.part.value],
            f"{part.n_tensors:,}",
            f"{part.n_parameters:,}",
            size_text(part.nbytes),
            size_text(part.nbytes_at_16_bits),
            ", ".join(f"{count:,} {code}" for code, count in part.dtypes.items()),
        ]
        for part in found.parts
    ]
    stored, at_16_bits = (size_text(nbytes) for nbytes in _memory(found))
    memory = f"On a GPU the weights take {stored}, at 16 bits {at_16_bits}"
    return [
        *columns([head, *rows], right=[1, 2, 3, 4]),
        f"{memory}; computing takes more.",
    ]


def _memory(found: "Inspection") -> tuple[int, int]:
    """Return the bytes of what programs load, as stored and at 16 bits."""
    return (
        sum(part.nbytes for part in found.loaded),
        sum(part.nbytes_at_16_bits for part in found.loaded),
    )


def _metadata(entries: "tuple[MetadataEntry, ...]", *, whole: bool) -> list[str]:
    from release.console import columns
    from release.errors import visible

    if not entries:
        return ["", "No metadata"]
    if whole:
        shown = [
            f"  {visible(entry.key)}: {visible(entry.value, len(entry.value))}"
            for entry in entries
        ]
        return ["", "Metadata", *shown]
    rows = [
        [
            f"  {visible(entry.key, _VALUE_LENGTH)}",
            f"(hidden: {entry.private})"
            if entry.private
            else visible(entry.value, _VALUE_LENGTH),
        ]
        for entry in entries
    ]
    return ["", "Metadata (whole with --metadata)", *columns(rows)]


def _advice(found: "Inspection") -> list[str]:
    from release.console import columns
    from release.numeric.size import size_text

    rows = [
        [f"  --to {each.to}", f"about {size_text(each.nbytes)}", each.reason]
        for each in found.advice
    ]
    lines = ["krelease convert", *columns(rows, right=[1])] if rows else []
    return [*lines, *([f"convert: {found.advice_note}"] if found.advice_note else [])]
