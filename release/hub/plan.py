"""What a publish would change on the Hub, found by reading only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from release.errors import HubError, InputError, UsageError, visible
from release.hub.client import HubConnection
from release.hub.remote import (
    References,
    ReleaseFile,
    RemoteFile,
    differing,
    holds,
    read_references,
    read_tree,
)

State = Literal["new", "replaced", "unchanged"]


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file of the release against the head of main."""

    name: str
    nbytes: int | None
    """Size here; None while it is not built."""
    state: State
    remote_nbytes: int | None
    """Size of what main holds under that name, None if nothing."""


@dataclass(frozen=True, slots=True)
class HubPlan:
    """What is on the Hub and what publishing would do to it."""

    repo_id: str
    tag: str
    files: tuple[PlannedFile, ...]
    foreign: tuple[str, ...]
    """Files of main that the release does not have; they stay."""
    references: References | None
    """None: there is no such repository yet."""
    tag_lacks: tuple[str, ...]
    """Files that the tag's commit lacks or has with other bytes; none without tag."""

    @property
    def repo_exists(self) -> bool:
        """Whether the repository is there already."""
        return self.references is not None

    @property
    def head(self) -> str | None:
        """The commit of main."""
        return self.references.head if self.references else None

    @property
    def tag_commit(self) -> str | None:
        """The commit the tag leads to, None while there is no such tag."""
        return self.references.tags.get(self.tag) if self.references else None

    @property
    def is_published(self) -> bool:
        """Whether the tag is there and its commit holds every file of the release."""
        return self.tag_commit is not None and not self.tag_lacks

    @property
    def n_unchanged(self) -> int:
        """Files that main holds already."""
        return sum(file.state == "unchanged" for file in self.files)


@dataclass(frozen=True, slots=True)
class HubPreview:
    """What a dry run can say of the Hub before anything is built."""

    repo_id: str
    tag: str
    account: str | None
    """User of the token; None without one."""
    repo_exists: bool
    tag_commit: str | None
    """The commit the tag leads to: publishing other files under it is refused."""
    files: tuple[PlannedFile, ...]
    foreign: tuple[str, ...]


def plan_release(
    connection: HubConnection, repo_id: str, tag: str, files: Sequence[ReleaseFile]
) -> HubPlan:
    """Compare the files of a release with the repository.

    Args:
        connection: Nothing is written through it.
        repo_id: Repository as `namespace/name`; it need not exist.
        tag: Git tag of the release.
        files: What the repository shall hold; names are distinct.

    Raises:
        UsageError: A name twice, or one that cannot be a path in a repository.
        InputError: A local file is missing or has another size than stated.
        HubError: The Hub refuses or cannot be reached.
    """
    _check_files(files)
    wanted = tuple(files)
    references = read_references(connection, repo_id)
    head = references.head if references else None
    tree = read_tree(connection, repo_id, head) if head else {}
    tagged = references.tags.get(tag) if references else None
    lacking: tuple[ReleaseFile, ...] = ()
    if tagged is not None:
        at_tag = tree if tagged == head else read_tree(connection, repo_id, tagged)
        lacking = differing(at_tag, wanted)
    return HubPlan(
        repo_id=repo_id,
        tag=tag,
        files=tuple(_planned(file, tree.get(file.name)) for file in wanted),
        foreign=foreign_names(tree, [file.name for file in wanted]),
        references=references,
        tag_lacks=tuple(file.name for file in lacking),
    )


def preview_release(
    connection: HubConnection,
    repo_id: str,
    tag: str,
    sizes: Mapping[str, int | None],
) -> HubPreview:
    """Say what publishing would meet, before anything is built. Only reads.

    Args:
        connection: Nothing is written through it.
        repo_id: Repository as `namespace/name`; it need not exist.
        tag: Git tag of the release.
        sizes: Planned file name to bytes, None where the size is not known yet.

    Returns:
        Each file is "new", or "replaced" where main has one of that name: bytes that do
        not exist yet cannot be called unchanged.

    Raises:
        HubError: The token is refused, or the Hub cannot be reached.
    """
    account = _account_or_none(connection)
    references = read_references(connection, repo_id)
    head = references.head if references else None
    tree = read_tree(connection, repo_id, head) if head else {}
    return HubPreview(
        repo_id=repo_id,
        tag=tag,
        account=account,
        repo_exists=references is not None,
        tag_commit=references.tags.get(tag) if references else None,
        files=tuple(
            PlannedFile(
                name=name,
                nbytes=nbytes,
                state="replaced" if name in tree else "new",
                remote_nbytes=tree[name].nbytes if name in tree else None,
            )
            for name, nbytes in sizes.items()
        ),
        foreign=foreign_names(tree, list(sizes)),
    )


def account_name(connection: HubConnection) -> str:
    """Return the user name of the token.

    Raises:
        HubError: `hub-token-missing`, `hub-token-refused`, or the Hub is unreachable.
    """
    return visible(
        connection.read(
            f"{connection.endpoint}: ask whose token this is",
            lambda: connection.api.whoami()["name"],
        )
    )


def _account_or_none(connection: HubConnection) -> str | None:
    try:
        return account_name(connection)
    except HubError as error:
        if error.code == "hub-token-missing":
            return None
        raise


def _check_files(files: Sequence[ReleaseFile]) -> None:
    """Check names and local sizes before the Hub is asked anything.

    Raises:
        UsageError: A name twice, or one that cannot be a path in a repository.
        InputError: A local file is missing or has another size than stated.
    """
    seen: set[str] = set()
    for file in files:
        parts = PurePosixPath(file.name).parts
        if not parts or "/".join(parts) != file.name or {"..", ".git", "/"} & {*parts}:
            raise UsageError(
                f"{visible(file.name)}: not a file name for a repository",
                code="release-file-name",
                hint="use a relative path without . or .. in it",
            )
        if file.name in seen:
            raise UsageError(
                f"{visible(file.name)}: twice in one release",
                code="release-file-name",
                hint="give every file of the release its own name",
            )
        seen.add(file.name)
        _check_local(file)


def _check_local(file: ReleaseFile) -> None:
    try:
        nbytes = file.path.stat().st_size
    except OSError as error:
        raise InputError(
            file.path,
            f"cannot be read: {error.strerror}",
            hint="build the release again",
        ) from error
    if nbytes != file.nbytes:
        raise InputError(
            file.path,
            f"{nbytes:,} bytes, the manifest says {file.nbytes:,}",
            hint="build the release again",
        )


def _planned(file: ReleaseFile, remote: RemoteFile | None) -> PlannedFile:
    state: State = "new"
    if remote is not None:
        state = "unchanged" if holds(remote, file) else "replaced"
    return PlannedFile(
        name=file.name,
        nbytes=file.nbytes,
        state=state,
        remote_nbytes=remote.nbytes if remote else None,
    )


def foreign_names(
    tree: Mapping[str, RemoteFile], names: Sequence[str]
) -> tuple[str, ...]:
    """Return the files of a tree that are not among `names`, sorted."""
    return tuple(sorted(set(tree) - set(names)))
