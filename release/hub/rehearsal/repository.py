"""One Hub repository: a bare git repository with its large files beside it.

Every change is one step on a ref, so a plain git client sees either the old state or
the new one. Objects are opened per request and closed after it: other processes may
look, and write, at the same time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from dulwich.objects import Commit, ObjectID, Tag
from dulwich.repo import Repo

from release.hub.rehearsal import references
from release.hub.rehearsal.large_files import LargeFiles
from release.hub.rehearsal.protocol import AddFile, CommitRequest, bad_request
from release.hub.rehearsal.trees import (
    Entry,
    Files,
    apply_operations,
    files_of,
    find_entry,
    list_entries,
    write_tree,
)

LARGE_FILES: Final = "lfs"
"""Folder of the large files inside the bare git repository."""

_MAIL_DOMAIN: Final = "users.noreply.invalid"


@dataclass(frozen=True, slots=True)
class Signature:
    """Who changes something, and when (Unix seconds)."""

    user: str
    seconds: int

    @property
    def identity(self) -> bytes:
        """`name <mail>` as git writes it."""
        return f"{self.user} <{self.user}@{_MAIL_DOMAIN}>".encode()


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """What a listing says about one commit."""

    oid: str
    title: str
    body: str
    user: str
    seconds: int


class Repository:
    """An open repository; a context manager."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.large_files = LargeFiles(directory / LARGE_FILES)
        self.git: Final = Repo(str(directory))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.git.close()

    def resolve(self, revision: str) -> str:
        """Return the commit id of any revision. Raises RefusedError (404)."""
        return references.resolve(self.git, revision)

    def commit_info(self, commit_id: str) -> CommitInfo:
        """Return who committed what when."""
        commit = self._commit(commit_id)
        title, _, body = commit.message.decode(errors="replace").partition("\n")
        return CommitInfo(
            oid=commit_id,
            title=title,
            body=body.strip(),
            user=commit.author.decode(errors="replace").partition(" <")[0],
            seconds=commit.commit_time,
        )

    def history(self, commit_id: str) -> Iterator[str]:
        """Yield a commit and its ancestors, newest first."""
        following: str | None = commit_id
        while following is not None:
            yield following
            parents = self._commit(following).parents
            following = parents[0].decode() if parents else None

    def _commit(self, commit_id: str) -> Commit:
        found = self.git.object_store[ObjectID(commit_id.encode())]
        if not isinstance(found, Commit):
            raise bad_request(f"{commit_id} is not a commit")
        return found

    def files(self, commit_id: str) -> Files:
        """Return every file of a commit: path to blob id."""
        return files_of(self.git.object_store, self._commit(commit_id).tree)

    def entries(self, commit_id: str, *, folder: str, recursive: bool) -> list[Entry]:
        """Return the entries below a folder; empty is the root."""
        return list(
            list_entries(
                self.git.object_store,
                self._commit(commit_id).tree,
                folder=folder,
                recursive=recursive,
            )
        )

    def entry(self, commit_id: str, path: str) -> Entry | None:
        """Return the file or folder at `path`, or None."""
        return find_entry(self.git.object_store, self._commit(commit_id).tree, path)

    def last_change(self, commit_id: str, entry: Entry) -> CommitInfo:
        """Return the newest commit at or before `commit_id` that changed `entry`."""
        newest = commit_id
        for older in self.history(commit_id):
            found = self.entry(older, entry.path)
            if found is None or found.oid != entry.oid:
                break
            newest = older
        return self.commit_info(newest)

    def read_blob(self, oid: str) -> bytes:
        """Return a blob's bytes; for a large file that is the pointer text."""
        return self.git.object_store[ObjectID(oid.encode())].as_raw_string()

    def begin(self, files: dict[str, bytes], by: Signature) -> None:
        """Make the first commit of main."""
        added = tuple(AddFile(path, content) for path, content in files.items())
        request = CommitRequest("initial commit", "", "", added)
        tree = self._apply({}, request)
        commit = self._write_commit(tree, [], message=request.message, by=by)
        references.add_reference(
            self.git, references.BRANCHES + references.MAIN, commit
        )

    def commit(self, revision: str, request: CommitRequest, *, by: Signature) -> str:
        """Commit onto a branch or pull request and return the new commit's id.

        Raises:
            RefusedError: 400 and 404 as `apply_operations` and `writable_ref`; 404 for
                an unknown parent; 412 when the parent is no longer the head.
        """
        ref = references.writable_ref(self.git, revision)
        head = references.resolve(self.git, ref)
        if request.parent and self._parent(request.parent) != head:
            raise references.head_moved()
        tree = self._apply(self.files(head), request)
        commit = self._write_commit(tree, [head], message=request.message, by=by)
        references.move_reference(self.git, ref, old=head, new=commit.decode())
        return commit.decode()

    def commit_to_pull_request(
        self, revision: str, request: CommitRequest, *, by: Signature
    ) -> tuple[str, int]:
        """Commit onto a new pull request; return the commit's id and the number."""
        base = self.resolve(revision)
        if request.parent:
            base = self._parent(request.parent)
        tree = self._apply(self.files(base), request)
        commit = self._write_commit(tree, [base], message=request.message, by=by)
        known = references.list_references(self.git, references.PULL_REQUESTS)
        number = 1 + max((int(pull.name) for pull in known), default=0)
        references.add_reference(
            self.git, f"{references.PULL_REQUESTS}{number}", commit
        )
        return commit.decode(), number

    def _parent(self, digits: str) -> str:
        return references.find_commit(self.git, digits)

    def _apply(self, files: Files, request: CommitRequest) -> ObjectID:
        store = self.git.object_store
        after = apply_operations(
            store, files, request.operations, stored_size=self.large_files.size
        )
        return write_tree(store, after)

    def _write_commit(
        self, tree: ObjectID, parents: list[str], *, message: str, by: Signature
    ) -> ObjectID:
        commit = Commit()
        commit.tree = tree
        commit.parents = [ObjectID(parent.encode()) for parent in parents]
        commit.author = commit.committer = by.identity
        commit.author_time = commit.commit_time = by.seconds
        commit.author_timezone = commit.commit_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = message.encode()
        self.git.object_store.add_object(commit)
        return commit.id

    def squash(self, branch: str, message: str, *, by: Signature) -> None:
        """Replace a branch's history by one commit with the same files."""
        ref = references.writable_ref(self.git, branch)
        head = references.resolve(self.git, ref)
        tree = self._commit(head).tree
        commit = self._write_commit(tree, [], message=f"{message}\n", by=by)
        references.move_reference(self.git, ref, old=head, new=commit.decode())

    def add_tag(
        self, name: str, commit_id: str, *, message: str, by: Signature
    ) -> None:
        """Tag a commit; with a message the tag is annotated.

        Raises:
            RefusedError: 409; the tag exists, whatever it points to.
        """
        target = ObjectID(commit_id.encode())
        ref = references.TAGS + name
        if message and references.read_reference(self.git, ref) is None:
            tag = Tag()
            tag.name = name.encode()
            tag.object = (Commit, target)
            tag.tagger, tag.tag_time, tag.tag_timezone = by.identity, by.seconds, 0
            tag.message = message.encode() + b"\n"
            self.git.object_store.add_object(tag)
            target = tag.id
        references.add_reference(self.git, ref, target)
