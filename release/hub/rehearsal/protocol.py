"""Bodies, errors, dates and ranges as the Hub's HTTP protocol writes them.

Nothing here knows the web framework or git: text and bytes in, values out. A body that
breaks the protocol is refused with the status the Hub would use.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

Json: TypeAlias = Mapping[str, object]

_NAME: Final = re.compile(r"(?![-.])[A-Za-z0-9_.-]{1,96}(?<![-.])")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PARENT: Final = re.compile(r"[0-9a-f]{5,40}")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class RefusedError(Exception):
    """An answer other than success; never seen by a caller of the library.

    Args:
        status: HTTP status.
        message: Goes into the body and into `X-Error-Message`.
        code: `X-Error-Code`, the word from which the client chooses its exception.
        extra: More members of the JSON body.
    """

    def __init__(
        self, status: int, message: str, *, code: str = "", extra: Json | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.extra = dict(extra or {})
        self.headers: dict[str, str] = {}
        """More headers of the answer."""


def revision_not_found(revision: str) -> RefusedError:
    """Return the 404 for a branch, tag or commit that does not exist."""
    return RefusedError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def entry_not_found(message: str) -> RefusedError:
    """Return the 404 for a path that a revision does not hold."""
    return RefusedError(404, message, code="EntryNotFound")


def bad_request(message: str) -> RefusedError:
    """Return the 400 for a body or name that breaks the protocol."""
    return RefusedError(400, message)


def iso_date(seconds: float) -> str:
    """Return a Unix time as `YYYY-MM-DDTHH:MM:SS.sssZ`, the only form clients parse."""
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def repo_id_of(namespace: str, name: str) -> str:
    """Return `namespace/name` after checking both parts.

    Raises:
        RefusedError: 400; a part has other characters than `A-Z a-z 0-9 _ . -`, more
            than 96 of them, or begins or ends with `-` or `.`.
    """
    if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
        raise bad_request(f"Invalid repo name: {namespace}/{name}")
    if name.endswith(".git") or ".." in name or "--" in name:
        raise bad_request(f"Invalid repo name: {namespace}/{name}")
    return f"{namespace}/{name}"


def json_object(body: bytes) -> Json:
    """Return a JSON object. Raises RefusedError (400) for anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad_request("The body is not JSON") from error
    if not isinstance(value, dict):
        raise bad_request("The body is not a JSON object")
    return value


def text_at(fields: Json, key: str, default: str | None = None) -> str:
    """Return a string member; `default` stands for one that is missing or null."""
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or _LONE_SURROGATE.search(value):
        raise bad_request(f'"{key}" must be a string')
    return value


def count_at(fields: Json, key: str) -> int:
    """Return a whole number, 0 or more."""
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise bad_request(f'"{key}" must be a whole number')
    return value


def objects_at(fields: Json, key: str, *, limit: int) -> list[Json]:
    """Return a list of JSON objects with at most `limit` items."""
    value = fields.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise bad_request(f'"{key}" must be a list of objects')
    if len(value) > limit:
        raise bad_request(f'"{key}" holds {len(value)} items, at most {limit} allowed')
    return value


def base64_at(fields: Json, key: str) -> bytes:
    """Return the bytes of a base64 member."""
    try:
        return base64.b64decode(text_at(fields, key), validate=True)
    except binascii.Error as error:
        raise bad_request(f'"{key}" is not base64') from error


@dataclass(frozen=True, slots=True)
class Pointer:
    """What git holds in place of a large file.

    Source:
        git-lfs, docs/spec.md "The Pointer" (version 1).
    """

    sha256: str
    """64 lower-case hex digits."""
    size: int
    """Bytes of the real file."""

    def text(self) -> bytes:
        """Return the three lines of the pointer file, final newline included."""
        return (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{self.sha256}\nsize {self.size}\n"
        ).encode()

    @classmethod
    def parse(cls, text: bytes) -> "Pointer | None":
        """Return the pointer a blob holds, or None for any other blob."""
        found = _POINTER.fullmatch(text)
        return cls(found[1].decode(), int(found[2])) if found else None


_POINTER: Final = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n"
)


def pointer_of(fields: Json, *, size: int) -> Pointer:
    """Return the pointer named by `oid`. Raises RefusedError (422) for a bad one."""
    oid = text_at(fields, "oid")
    if not _SHA256.fullmatch(oid):
        raise RefusedError(422, f"Invalid LFS oid: {oid[:80]}")
    return Pointer(oid, size)


@dataclass(frozen=True, slots=True)
class AddFile:
    """A `file` line: the content travels inside the commit."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class AddLarge:
    """An `lfsFile` line: the content was uploaded before, or is already stored.

    `size` is None where the client copies a file inside the Hub.
    """

    path: str
    sha256: str
    size: int | None


@dataclass(frozen=True, slots=True)
class DeletePath:
    """A `deletedFile` line, or with `folder` a `deletedFolder` line."""

    path: str
    folder: bool


Operation: TypeAlias = AddFile | AddLarge | DeletePath


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """A whole commit body: the header line and the operations in their order."""

    summary: str
    description: str
    parent: str
    """5 to 40 hex digits, or empty where any parent will do."""
    operations: tuple[Operation, ...]

    @property
    def message(self) -> str:
        """The git commit message."""
        parts = [self.summary, self.description]
        return "\n\n".join(part for part in parts if part) + "\n"


def parse_commit(body: bytes) -> CommitRequest:
    """Read the NDJSON body of a commit.

    Raises:
        RefusedError: 400; a line is not `{"key", "value"}`, the header is not the
            first line or repeated, or a path could not be in a git tree.
    """
    lines = [json_object(line) for line in body.splitlines() if line.strip()]
    if not lines or lines[0].get("key") != "header":
        raise bad_request("The first line of a commit must be its header")
    header = _value(lines[0])
    parent = text_at(header, "parentCommit", "")
    if parent and not _PARENT.fullmatch(parent):
        raise bad_request(f"Invalid parentCommit: {parent[:80]}")
    request = CommitRequest(
        summary=text_at(header, "summary"),
        description=text_at(header, "description", ""),
        parent=parent,
        operations=tuple(_operation(line) for line in lines[1:]),
    )
    if "\0" in request.message:
        raise bad_request("A commit message cannot hold a NUL character")
    return request


def _value(line: Json) -> Json:
    value = line.get("value")
    if not isinstance(value, dict):
        raise bad_request('"value" must be an object')
    return value


def _operation(line: Json) -> Operation:
    value = _value(line)
    path = checked_path(text_at(value, "path").removesuffix("/"))
    match line.get("key"):
        case "file":
            if text_at(value, "encoding", "base64") != "base64":
                raise bad_request(f"{path}: unknown encoding")
            return AddFile(path, base64_at(value, "content"))
        case "lfsFile":
            size = count_at(value, "size") if value.get("size") is not None else None
            return AddLarge(path, pointer_of(value, size=0).sha256, size)
        case "deletedFile":
            return DeletePath(path, folder=False)
        case "deletedFolder":
            return DeletePath(path, folder=True)
        case other:
            raise bad_request(f"Unknown commit operation: {str(other)[:80]}")


def checked_path(path: str) -> str:
    """Return `path` if a git tree may hold it. Raises RefusedError (400) otherwise."""
    parts = path.split("/")
    if "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise bad_request(f"Invalid path: {path[:200]}")
    if any(part.lower() == ".git" for part in parts):
        raise bad_request(f"Invalid path: {path[:200]}")
    return path


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the half-open byte range a `Range` header asks for.

    Args:
        header: `bytes=a-b`, `bytes=a-` or `bytes=-n`. Anything else, several ranges
            included, counts as no range, as RFC 9110 allows.
        size: Bytes of the whole file.

    Returns:
        First byte and end (excluded), or None for the whole file.

    Raises:
        RefusedError: 416; the range begins at or behind the end of the file.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or (not first and int(last) == 0):
        raise RefusedError(416, f"The file has {size} bytes")
    return start, end
