"""Rehearse: the whole publish on narrow stand-ins, against a Hub on loopback.

Everything lies below one folder: `ingredients/`, `release/`, and `hub/` with the bare
git repository that the embedded Hub has kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from release.card.presentation import PLAIN_PRESENTATION, Presentation
from release.definition import Definition, folded_recipe
from release.engine.standin import make_stand_ins, stand_in_layout, stand_in_nbytes
from release.folder import planned_nbytes
from release.formats.space import write_failure
from release.hub.client import connect
from release.hub.rehearsal.server import RehearsalHub
from release.hub.staged_release import PublishResult
from release.ingredients import locate
from release.licences.texts import LicenceTexts
from release.numeric.dtype import Dtype
from release.preview import Preview, preview_build
from release.progress import Progress
from release.publish import Built, ensure_folder, push

STAND_IN_DIVISOR: Final = 16
"""Stand-ins have a sixteenth of SDXL's widths: 13.7 M parameters, 28 MB."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsal left behind."""

    built: Built
    published: PublishResult
    git_directory: Path
    stand_ins: tuple[str, ...]


def rehearse(  # noqa: PLR0913  # as publishing
    definition: Definition,
    given: Mapping[str, Path],
    root: Path,
    *,
    threads: int,
    progress: Progress,
    note: Callable[[str], None],
    overwrite: bool = False,
    presentation: Presentation = PLAIN_PRESENTATION,
    texts: LicenceTexts | None = None,
) -> Rehearsal:
    """Do everything that publishing does, without the Hub and without the weights.

    Args:
        definition: The release.
        given: Real ingredients, by name; stand-ins are made for the others.
        root: Folder for everything.
        threads: Worker threads.
        progress: Where the stages are shown.
        note: Told each step, one line.
        overwrite: Whether an older release folder may be replaced.
        presentation: What the card is made with.
        texts: The licence texts that go along; None for the release's own, as known.

    Raises:
        ReleaseError: As publishing does.
    """
    paths = _stand_ins(definition, given, root, threads=threads, progress=progress)
    located = locate(definition, paths, base=root, connection=None)
    with RehearsalHub(root / "hub") as hub:
        built = ensure_folder(
            definition,
            located,
            root / "release",
            threads=threads,
            progress=progress,
            overwrite=overwrite,
            presentation=presentation,
            texts=texts,
        )
        repo_id = definition.release.repo
        with connect(hub.endpoint, hub.token, lfs_only=True) as connection:
            published = push(
                built,
                connection,
                repo_id=repo_id,
                summary=definition.release.summary,
                note=note,
                progress=progress,
            )
        return Rehearsal(
            built,
            published,
            hub.git_directory(repo_id),
            tuple(item.name for item in built.manifest.ingredients if item.stand_in),
        )


def preview_rehearsal(
    definition: Definition,
    given: Mapping[str, Path],
    root: Path,
    *,
    has_pictures: bool = False,
    texts: LicenceTexts | None = None,
) -> Preview:
    """Plan a rehearsal below `root` without writing; stand-ins need not exist yet."""
    located = locate(definition, given, base=root, connection=None)
    nbytes = stand_in_nbytes(STAND_IN_DIVISOR)
    layout = stand_in_layout(STAND_IN_DIVISOR, Dtype.F16)
    located = tuple(
        item
        if item.path is not None
        else replace(item, title=f"stand-in for {item.title}", nbytes=nbytes)
        for item in located
    )
    preview = preview_build(
        definition,
        located,
        root / "release",
        stand_ins=layout,
        has_pictures=has_pictures,
        texts=texts,
    )
    release_nbytes = planned_nbytes(preview.files)
    made_nbytes = nbytes * sum(item.path is None for item in located)
    # The embedded Hub keeps a copy of the release beside it.
    needed = preview.needed_nbytes + made_nbytes + release_nbytes
    return replace(preview, needed_nbytes=needed)


def _stand_ins(
    definition: Definition,
    given: Mapping[str, Path],
    root: Path,
    *,
    threads: int,
    progress: Progress,
) -> dict[str, Path]:
    """Return a path for every ingredient, after making the stand-ins that lack."""
    folder = root / "ingredients"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(folder, error) from error
    needed = folded_recipe(definition).needed
    stand_ins = {
        name: folder / f"{name}.safetensors" for name in needed if name not in given
    }
    nbytes = stand_in_nbytes(STAND_IN_DIVISOR)
    lacking = {name: path for name, path in stand_ins.items() if not path.is_file()}
    if lacking:
        total = nbytes * len(lacking)
        with progress.stage("make stand-ins", total) as advance:
            make_stand_ins(
                lacking, divisor=STAND_IN_DIVISOR, threads=threads, advance=advance
            )
    return {**given, **stand_ins}
