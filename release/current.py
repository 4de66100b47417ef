"""Whether a release folder that is already there is the one that would be built."""

from collections.abc import Sequence
from pathlib import Path

from release.build import checkpoint_name
from release.card.archive import archive_name
from release.card.confined import TEMPLATE_CODE
from release.card.presentation import PLAIN_PRESENTATION, Presentation
from release.card.render import render_hub_pages
from release.definition import Definition, folded_recipe
from release.errors import CardError, ReleaseError
from release.formats.open import open_safetensors
from release.formats.tensor import tensor_set
from release.ingredients import Located
from release.licences.texts import LicenceTexts, licence_files
from release.manifest import Manifest, read_manifest
from release.metadata import MANIFEST_NAME
from release.progress import Progress
from release.verify.tensors import tensor_digests
from release.verify.verify import verify


def find_current(
    definition: Definition,
    located: Sequence[Located],
    folder: Path,
    *,
    threads: int,
    progress: Progress,
    presentation: Presentation = PLAIN_PRESENTATION,
    texts: LicenceTexts | None = None,
) -> Manifest | None:
    """Return the manifest of `folder` if building again would change nothing.

    Definition, licence texts and card are compared first, then every byte of the folder
    is checked and the ingredients are hashed; None as soon as something differs.

    Raises:
        CardError: A template of the maker's cannot be rendered.
    """
    if not (folder / MANIFEST_NAME).is_file():
        return None
    try:
        manifest = read_manifest(folder / MANIFEST_NAME)
        is_current = (
            _states_the_same(definition, located, manifest)
            and _has_the_licences(definition, manifest, folder, texts)
            and _has_the_pages(definition, manifest, folder, presentation)
            and _is_intact(folder, threads, progress)
        )
    except (ReleaseError, OSError) as error:
        if isinstance(error, CardError) and error.code.startswith(TEMPLATE_CODE):
            raise  # the maker's own template, whatever the folder holds
        return None  # unreadable or damaged: not what a build would leave
    if is_current and _ingredients_are_the_same(located, manifest, threads, progress):
        return manifest
    return None


def _is_intact(folder: Path, threads: int, progress: Progress) -> bool:
    report = verify(folder, level="xxh3", threads=threads, progress=progress)
    return not report.bad and all(file.verdict == "intact" for file in report.files)


def _states_the_same(
    definition: Definition, located: Sequence[Located], manifest: Manifest
) -> bool:
    identity = folded_recipe(definition).sha256()
    measured = {record.name: record.sha256 for record in manifest.ingredients}
    if manifest.recipe.sha256 != identity or measured.keys() != {
        item.name for item in located
    }:
        return False
    if any(item.sha256 not in {None, measured[item.name]} for item in located):
        return False
    return _has_the_same_files(definition, manifest)


def _has_the_licences(
    definition: Definition,
    manifest: Manifest,
    folder: Path,
    texts: LicenceTexts | None,
) -> bool:
    """Whether the licence texts are those that would be written, and whose they are."""
    files = licence_files(definition, texts)
    recorded = {file.name for file in manifest.files if file.role == "licence"}
    return (
        recorded == files.keys()
        and all(_bytes(folder / name) == text for name, text in files.items())
        and all(
            record.licence_file == (texts.file_of(record.name) if texts else None)
            for record in manifest.ingredients
        )
    )


def _has_the_pages(
    definition: Definition, manifest: Manifest, folder: Path, presentation: Presentation
) -> bool:
    """Whether card and pictures are those that would be rendered, and no others."""
    before_card = [
        file for file in manifest.files if file.role in {"archive", "licence"}
    ]
    as_rendered = manifest.model_copy(update={"files": tuple(before_card)})
    pages = render_hub_pages(definition, as_rendered, presentation=presentation)
    built = {file.name for file in manifest.files if file.role in {"card", "picture"}}
    return built == pages.keys() and all(
        _bytes(folder / name) == text.encode() for name, text in pages.items()
    )


def _has_the_same_files(definition: Definition, manifest: Manifest) -> bool:
    release = definition.release
    checkpoints = {checkpoint_name(definition, name) for name in release.variants}
    archives = {archive_name(definition, name) for name in release.archives}
    if not all(record.blocks for record in manifest.checkpoints):
        return False  # of before blocks were kept
    return checkpoints == {record.name for record in manifest.checkpoints} and (
        archives == {file.name for file in manifest.files if file.role == "archive"}
    )


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _ingredients_are_the_same(
    located: Sequence[Located], manifest: Manifest, threads: int, progress: Progress
) -> bool:
    expected = {item.name: item.tensor_set_xxh3_128 for item in manifest.ingredients}
    total = sum(item.nbytes or 0 for item in located)
    with progress.stage("compare ingredients", total) as advance:
        for item in located:
            if item.path is None:
                return False
            with open_safetensors(item.path) as checkpoint:
                digests = tensor_digests(checkpoint, threads=threads, advance=advance)
                found = tensor_set(checkpoint.tensors.values(), digests)
            if found != expected[item.name]:
                return False
    return True
