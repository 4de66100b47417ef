"""`krelease build`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from release.cli.app import session
from release.cli.definitions import load
from release.cli.options import (
    DefinitionOption,
    DryRunOption,
    ForceOption,
    IngredientOption,
    JsonOption,
    QuietOption,
    ReleaseArgument,
    ThreadsOption,
    parse_ingredients,
)

if TYPE_CHECKING:
    from release.manifest import Manifest


def build(
    release: ReleaseArgument = None,
    definition: DefinitionOption = None,
    ingredient: IngredientOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Release folder.", show_default="./RELEASE"
        ),
    ] = None,
    dry_run: DryRunOption = False,
    force: ForceOption = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build a release folder: variants, card, licence, checksums, manifest.

    Ingredients that are not given are fetched from the Hub at a pinned commit.

    Example: krelease build gamma-rev2 -i beta7=PATH -i anxl3=PATH -i anxl2=PATH
    -i base8=PATH
    """
    with session(as_json=json, quiet=quiet) as console:
        from release.acquire import acquire, locate_with_hub
        from release.cli.previews import preview_document, preview_text
        from release.ingredients import check_digests, require_all
        from release.preview import preview_build
        from release.threads import choose_threads

        wanted, base = load(release, definition)
        given = parse_ingredients(ingredient)
        target = out or Path(wanted.release.name)
        located = locate_with_hub(wanted, given, base=base)
        if dry_run:
            preview = preview_build(wanted, located, target)
            console.result(
                "krelease.build-plan/1",
                {"release": wanted.release.name, **preview_document(preview)},
                preview_text(preview),
            )
            require_all(located)
            return
        require_all(located)
        located = acquire(located, note=console.note)
        n_threads = choose_threads(threads)
        check_digests(located, progress=console, threads=n_threads)
        from release.folder import build_folder

        manifest = build_folder(
            wanted,
            located,
            target,
            threads=n_threads,
            progress=console,
            overwrite=force,
        )
        console.result(
            "krelease.build/1",
            build_document(manifest, target),
            build_text(manifest, target),
        )


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
    from release.console import size

    lines = [
        f"{folder / record.name}: {size(record.nbytes)}, "
        f"SNR {record.parity.snr_db} dB, max error {record.parity.max_abs_error}, "
        f"{record.parity.flushed:,} flushed to zero, {record.parity.clamped:,} clamped"
        for record in manifest.checkpoints
    ]
    lines += [
        f"{folder / record.name}: {size(record.nbytes)}" for record in manifest.files
    ]
    lines.append(f"check it: krelease verify {folder}")
    return lines
