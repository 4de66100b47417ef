"""Git trees as the Hub shows and changes them: listings, and operations applied."""

import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from dulwich.index import commit_tree
from dulwich.object_store import BaseObjectStore, iter_tree_contents
from dulwich.objects import Blob, ObjectID, Tree

from release.hub.rehearsal.protocol import (
    AddFile,
    AddLarge,
    DeletePath,
    Operation,
    Pointer,
    bad_request,
    entry_not_found,
)

Files: TypeAlias = dict[str, ObjectID]
"""Every file of a tree: path to blob id."""

_MODE: Final = 0o100644
_POINTER_LIMIT_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a tree."""

    path: str
    oid: str
    """Git id of the blob (for a large file: of its pointer) or of the folder's tree."""
    size: int
    """Bytes of the real file; 0 for a folder."""
    pointer: Pointer | None = None
    is_folder: bool = False

    @property
    def content_id(self) -> str:
        """What identifies the bytes: SHA-256 of a large file, else the blob id."""
        return self.pointer.sha256 if self.pointer else self.oid


def files_of(store: BaseObjectStore, tree_id: ObjectID) -> Files:
    """Return every file of a tree."""
    return {
        entry.path.decode(): entry.sha for entry in iter_tree_contents(store, tree_id)
    }


def write_tree(store: BaseObjectStore, files: Files) -> ObjectID:
    """Store the tree that holds exactly `files` and return its id."""
    blobs = [(path.encode(), oid, _MODE) for path, oid in sorted(files.items())]
    return commit_tree(store, blobs)


def find_entry(store: BaseObjectStore, tree_id: ObjectID, path: str) -> Entry | None:
    """Return the file or folder at `path`, or None."""
    mode, oid = stat.S_IFDIR, tree_id
    for part in path.split("/"):
        tree = store[oid]
        if not isinstance(tree, Tree) or part.encode() not in tree:
            return None
        mode, oid = tree[part.encode()]
    return _entry(store, path, mode=mode, oid=oid)


def list_entries(
    store: BaseObjectStore, tree_id: ObjectID, *, folder: str, recursive: bool
) -> Iterator[Entry]:
    """Yield the entries below a folder, a folder before what it holds.

    Raises:
        RefusedError: 404; `folder` is not a folder of the tree. Empty is the root.
    """
    if folder:
        found = find_entry(store, tree_id, folder)
        if found is None or not found.is_folder:
            raise entry_not_found(f"{folder} does not exist")
        tree_id = ObjectID(found.oid.encode())
    yield from _walk(
        store, tree_id, prefix=f"{folder}/" if folder else "", deep=recursive
    )


def _walk(
    store: BaseObjectStore, tree_id: ObjectID, *, prefix: str, deep: bool
) -> Iterator[Entry]:
    tree = store[tree_id]
    for item in tree.items() if isinstance(tree, Tree) else []:
        path = prefix + item.path.decode()
        entry = _entry(store, path, mode=item.mode, oid=item.sha)
        yield entry
        if deep and entry.is_folder:
            yield from _walk(store, item.sha, prefix=f"{path}/", deep=True)


def _entry(store: BaseObjectStore, path: str, *, mode: int, oid: ObjectID) -> Entry:
    name = oid.decode()
    if stat.S_ISDIR(mode):
        return Entry(path, name, 0, is_folder=True)
    content = store[oid].as_raw_string()
    pointer = Pointer.parse(content) if len(content) < _POINTER_LIMIT_BYTES else None
    return Entry(path, name, pointer.size if pointer else len(content), pointer)


def apply_operations(
    store: BaseObjectStore,
    files: Files,
    operations: Sequence[Operation],
    *,
    stored_size: Callable[[str], int | None],
) -> Files:
    """Return `files` after the operations, applied in their order.

    Args:
        store: Receives the new blobs.
        files: The parent's files; not modified.
        operations: From the commit body.
        stored_size: Bytes of the large file with that SHA-256, None if unknown.

    Raises:
        RefusedError: 404 for deleting what is not there; 400 for a large file that was
            never uploaded, or for a path that is a file and a folder at once.
    """
    result = dict(files)
    for operation in operations:
        match operation:
            case AddFile():
                result[operation.path] = _add_blob(store, operation.content)
            case AddLarge():
                pointer = _stored_pointer(operation, stored_size)
                result[operation.path] = _add_blob(store, pointer.text())
            case DeletePath():
                for path in _paths_below(result, operation):
                    del result[path]
    _refuse_file_as_folder(result)
    return result


def _add_blob(store: BaseObjectStore, content: bytes) -> ObjectID:
    blob = Blob.from_string(content)
    store.add_object(blob)
    return blob.id


def _stored_pointer(
    operation: AddLarge, stored_size: Callable[[str], int | None]
) -> Pointer:
    size = stored_size(operation.sha256)
    if size is None:
        raise bad_request(
            f"Your push was rejected: {operation.path}: LFS pointer pointed to a file "
            f"that does not exist: {operation.sha256}"
        )
    if operation.size is not None and operation.size != size:
        raise bad_request(
            f"{operation.path}: {size} bytes stored, not {operation.size}"
        )
    return Pointer(operation.sha256, size)


def _paths_below(files: Files, operation: DeletePath) -> list[str]:
    path = operation.path
    if operation.folder:
        found = [name for name in files if name.startswith(f"{path}/")]
    else:
        found = [path] if path in files else []
    if not found:
        raise entry_not_found(f"A file with this name doesn't exist: {path}")
    return found


def _refuse_file_as_folder(files: Files) -> None:
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above in files:
                raise bad_request(f"{above} is a file, {path} needs it as a folder")
