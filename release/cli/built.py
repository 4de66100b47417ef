"""How a release folder that was built is shown."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from release.numeric.size import size_text

if TYPE_CHECKING:
    from release.manifest import Manifest, ParityRecord


def build_document(manifest: "Manifest", folder: Path) -> dict[str, object]:
    """Return what was built, for scripts; the details are in the manifest."""
    return {
        "release": manifest.release,
        "folder": str(folder),
        "rehearsal": manifest.rehearsal,
        "recipe_sha256": manifest.recipe.sha256,
        "checkpoints": [
            {
                "name": record.name,
                "variant": record.variant,
                "nbytes": record.nbytes,
                "sha256": record.sha256,
                "xxh3_128": record.xxh3_128,
                "parity": record.parity.model_dump(mode="json"),
            }
            for record in manifest.checkpoints
        ],
        "files": [
            {"name": record.name, "nbytes": record.nbytes, "sha256": record.sha256}
            for record in manifest.files
        ],
    }


def build_text(manifest: "Manifest", folder: Path) -> list[str]:
    """Return what was built, for people."""
    from release.console import columns

    written = [(r.name, r.nbytes) for r in manifest.checkpoints]
    written += [(r.name, r.nbytes) for r in manifest.files]
    rows = [[str(folder / name), size_text(nbytes)] for name, nbytes in written]
    return [
        *columns(rows, right=[1]),
        "Against the recipe's exact result",
        *parity_lines([(each.variant, each.parity) for each in manifest.checkpoints]),
    ]


def build_paths(manifest: "Manifest", folder: Path) -> list[str]:
    """Return the paths of all files, for `--quiet`."""
    from release.metadata import MANIFEST_NAME

    names = [record.name for record in manifest.checkpoints]
    names += [*(record.name for record in manifest.files), MANIFEST_NAME]
    return [str(folder / name) for name in names]


def check_line(folder: Path) -> str:
    """Return the command that checks the folder."""
    return f"check:  krelease verify {shlex.quote(str(folder))}"


def parity_lines(measured: Sequence[tuple[str, "ParityRecord"]]) -> list[str]:
    """Return what each variant costs in accuracy, one line a variant."""
    from release.console import columns

    return columns(
        [
            [
                f"  {variant}",
                "exact" if parity.snr_db == "inf" else f"SNR {parity.snr_db} dB",
                f"max error {parity.max_abs_error}",
                f"{parity.flushed:,} flushed to zero",
                f"{parity.clamped:,} clamped",
            ]
            for variant, parity in measured
        ]
    )
