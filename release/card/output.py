"""Where pages come from and go to: the manifest of a built release, and a folder."""

from collections.abc import Mapping
from pathlib import Path

from release.definition import Definition
from release.errors import CardError, OutputExistsError, UsageError, visible
from release.formats.output import write_text_file
from release.formats.space import write_failure
from release.manifest import Manifest, read_manifest
from release.metadata import MANIFEST_NAME


def built_manifest(definition: Definition, folder: Path) -> Manifest:
    """Return the manifest of a release folder.

    Raises:
        CardError: Code "no-manifest": there is none, so nothing was measured.
        IntegrityError: As `release.manifest.read_manifest`.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        name = definition.release.name
        raise CardError(
            f"{visible(path, 1024)}: is not there, so sizes, digests and error figures"
            f" of {name} are not known",
            code="no-manifest",
            hint=f"krelease build {name} makes it; --from names the release folder",
        )
    return read_manifest(path)


def write_pages(
    pages: Mapping[str, str], folder: Path, *, overwrite: bool = False
) -> None:
    """Write pages into a folder, which is made if it is not there.

    Nothing is written if one of them may not be.

    Args:
        pages: File name -> text.
        folder: Where to.
        overwrite: Whether files of these names may be replaced.

    Raises:
        UsageError: Code "built-card": the folder holds a release, whose manifest has
            the digest of its card.
        OutputExistsError: A file is there already.
        WriteError: The system refused.
    """
    if (folder / MANIFEST_NAME).exists():
        raise UsageError(
            f"{visible(folder, 1024)}: is a built release, whose manifest holds the"
            " digest of its card",
            code="built-card",
            hint="name another folder with --out, or build the release again",
        )
    taken = [folder / name for name in pages if (folder / name).exists()]
    if taken and not overwrite:
        raise OutputExistsError(taken[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(folder, error) from error
    for name, text in pages.items():
        write_text_file(folder / name, text, overwrite=overwrite)
