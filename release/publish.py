"""Publish: build, or take what is built; push as one visible change; fetch back."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from release.card.presentation import PLAIN_PRESENTATION, Presentation
from release.current import find_current
from release.definition import Definition
from release.errors import OutputExistsError
from release.folder import build_folder
from release.hub.client import HubConnection
from release.hub.plan import account_name
from release.hub.remote import ReleaseFile
from release.hub.staged_release import PublishResult, publish_release
from release.ingredients import Located, check_digests
from release.licences.texts import LicenceTexts
from release.lint.built import check_card
from release.manifest import Manifest
from release.metadata import MANIFEST_NAME
from release.numeric.digest import sha256
from release.progress import Advance, Progress


@dataclass(frozen=True, slots=True)
class Built:
    """A release folder that is complete. `is_new` says whether this run made it."""

    folder: Path
    manifest: Manifest
    is_new: bool


def ensure_folder(  # noqa: PLR0913  # as building
    definition: Definition,
    located: Sequence[Located],
    folder: Path,
    *,
    threads: int,
    progress: Progress,
    overwrite: bool = False,
    presentation: Presentation = PLAIN_PRESENTATION,
    texts: LicenceTexts | None = None,
) -> Built:
    """Return the release folder, built only if it is not there as it would be built.

    Raises:
        OutputExistsError: Another release is there and may not be replaced.
        IntegrityError: An ingredient is not the declared file.
        CardError: The card breaks a rule of lint.
        ReleaseError: As `release.folder.build_folder`.
    """
    if not overwrite:
        manifest = find_current(
            definition,
            located,
            folder,
            threads=threads,
            progress=progress,
            presentation=presentation,
            texts=texts,
        )
        if manifest is not None:
            check_card(folder, definition, manifest, progress=progress)
            return Built(folder, manifest, is_new=False)
        if (folder / MANIFEST_NAME).exists():
            raise OutputExistsError(
                folder,
                hint="it holds another build of this release, or a damaged one: pass "
                "--force to build again, or --out for another place",
            )
    check_digests(located, progress=progress, threads=threads)
    manifest = build_folder(
        definition,
        located,
        folder,
        threads=threads,
        progress=progress,
        overwrite=overwrite,
        presentation=presentation,
        texts=texts,
    )
    return Built(folder, manifest, is_new=True)


def require_access(connection: HubConnection) -> str:
    """Return the account of the token, before hours of work are spent on a release.

    Raises:
        HubError: There is no token, the Hub refuses it, or cannot be reached.
    """
    return account_name(connection)


def push(
    built: Built,
    connection: HubConnection,
    *,
    repo_id: str,
    summary: str,
    note: Callable[[str], None],
    progress: Progress,
) -> PublishResult:
    """Bring a built release to the Hub; see `release.hub.staged_release`.

    Args:
        built: What to publish.
        connection: Its token may write to `repo_id`.
        repo_id: Repository as `namespace/name`.
        summary: Body of the commit message.
        note: Told each step, one line.
        progress: Where uploading and fetching back are shown.
    """
    with _Stages(note, progress) as stages:
        return publish_release(
            connection,
            repo_id,
            built.manifest.tag,
            release_files(built),
            release_name=built.manifest.release,
            summary=summary,
            on_step=stages.step,
            on_bytes=stages.bytes_done,
        )


def release_files(built: Built) -> list[ReleaseFile]:
    """Return every file of the folder with its size and SHA-256, the manifest too."""
    manifest_text = (built.folder / MANIFEST_NAME).read_bytes()
    records = [
        *((r.name, r.nbytes, r.sha256) for r in built.manifest.checkpoints),
        *((r.name, r.nbytes, r.sha256) for r in built.manifest.files),
        (MANIFEST_NAME, len(manifest_text), sha256(manifest_text)),
    ]
    return [
        ReleaseFile(built.folder / name, name, nbytes, sha256)
        for name, nbytes, sha256 in records
    ]


class _Stages:
    """Turns the Hub's steps and running totals into stages of the progress."""

    def __init__(self, note: Callable[[str], None], progress: Progress) -> None:
        self._note = note
        self._progress = progress
        self._label = ""
        self._stack = ExitStack()
        self._advance: Advance | None = None
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def step(self, label: str) -> None:
        """End the stage before and announce the next step."""
        self._stack.close()
        self._advance = None
        self._label = label
        self._note(label)

    def bytes_done(self, done: int, total: int) -> None:
        """Show `done` of `total` bytes of the current step."""
        if self._advance is None:
            stage = self._progress.stage(self._label, total)
            self._advance = self._stack.enter_context(stage)
            self._done = 0
        self._advance(done - self._done)
        self._done = done
