"""`krelease hash`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from release.cli.app import session
from release.cli.options import JsonOption, QuietOption, ThreadsOption

if TYPE_CHECKING:
    from release.inspection.hashes import FileHashes

_ROWS: Final = (
    ("SHA-256", "sha256", "the Hub (LFS) and Civitai"),
    ("AutoV2", "autov2", 'Civitai, "Model hash" in images; its first 10 digits'),
    ("AutoV1", "autov1", "Civitai and old A1111; of 64 KiB of the file"),
    ("xxh3-128", "xxh3_128", "xxh128sum; finds accidents only"),
    ("data SHA-256", "data_sha256", "sshs_model_hash, addnet, modelspec.hash_sha256"),
    ("AutoV3", "autov3", "Civitai; first 12 digits of the data SHA-256"),
    ("tensor set", "tensor_set_xxh3_128", "krelease; of the tensors in any order"),
    ("LFS pointer", "git_lfs_pointer", "oid of a file in LFS on the Hub"),
    ("git blob", "git_blob", "oid of a file outside of LFS"),
)
"""Title, attribute and who calls a file so, in the order of the output."""

_JSON_KEYS: Final = (*(key for _, key, _ in _ROWS), "modelspec")
_DERIVED: Final = {"autov3": "data_sha256", "modelspec": "data_sha256"}
"""Names that are absent together with another one, for the same reason."""


def hash_(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Files of any kind."),
    ],
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print every name that the field calls a file by.

    SHA-256, the AutoV1, AutoV2 and AutoV3 of Civitai and A1111, the hash of the data
    without the header that ModelSpec and trainers write, xxh3-128, and git's names.
    Each file is read once. With --quiet, lines for `sha256sum -c` are printed.

    Example: krelease hash model.safetensors
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.inspection.hashes import hash_files
        from release.threads import choose_threads

        found = hash_files(paths, threads=choose_threads(threads), progress=console)
        console.result(
            "krelease.hash/1",
            {"files": [_document(each) for each in found]},
            [line for each in found for line in _text(each)],
            brief=[_sum_line(each) for each in found],
        )


def _document(found: "FileHashes") -> dict[str, object]:
    hashes = {key: getattr(found, key) for key in _JSON_KEYS}
    return {
        "path": str(found.path),
        "nbytes": found.nbytes,
        "hashes": hashes,
        "absent": {
            key: found.absent[_DERIVED.get(key, key)]
            for key in hashes
            if hashes[key] is None
        },
    }


def _text(found: "FileHashes") -> list[str]:
    from release.console import columns
    from release.errors import visible
    from release.numeric.size import size_text

    rows = [
        [f"  {title}", getattr(found, key), _note(found, key, note)]
        for title, key, note in _ROWS
        if getattr(found, key) is not None
    ]
    absent = [
        f"  no {title}: {found.absent[key]}"
        for title, key, _ in _ROWS
        if key in found.absent
    ]
    size = f"{size_text(found.nbytes)} ({found.nbytes:,} bytes)"
    return [f"{visible(found.path, 1024)}: {size}", *columns(rows), *absent]


def _note(found: "FileHashes", key: str, note: str) -> str:
    if key == "autov1" and not found.is_autov1_on_civitai:
        return "A1111; Civitai gives none below 2 MiB"
    return note


def _sum_line(found: "FileHashes") -> str:
    """Return a line for `sha256sum -c`, odd names escaped as it does."""
    from release.errors import visible

    name = str(found.path)
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return f"{mark}{found.sha256}  {visible(escaped, 4096)}"
