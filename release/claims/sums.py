"""Claims of a sums file: what `sha256sum` and `xxh128sum` write and check.

Source:
    GNU coreutils, "md5sum invocation" (both forms, escaped names); Cyan4973/xxHash,
    `xxhsum.1` (the same two forms, comments).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from release.claims.claim import Claim, Source
from release.errors import IntegrityError, visible
from release.formats.input import InputFile
from release.formats.paths import safe_relative_paths

SUMS_NBYTES_MAX: Final = 16 * 2**20
SUMS_LINES_MAX: Final = 10_000
"""Lines of one sums file; a Hub repository or a release folder has a few dozen."""

Algorithm = Literal["SHA256", "XXH128"]

_GNU: Final = re.compile(
    r"(?P<escaped>\\?)(?P<digest>[0-9a-fA-F]{32}|[0-9a-fA-F]{64}) [ *](?P<name>.+)"
)
_BSD: Final = re.compile(
    r"(?P<escaped>\\?)(?P<algorithm>SHA256|XXH128) \((?P<name>.+)\) = "
    r"(?P<digest>[0-9a-fA-F]+)"
)
_BY_DIGITS: Final[dict[int, Algorithm]] = {32: "XXH128", 64: "SHA256"}
_DIGITS: Final = {algorithm: count for count, algorithm in _BY_DIGITS.items()}
_ESCAPES: Final = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
_ESCAPE: Final = re.compile(r"\\.?", re.DOTALL)
_OTHER: Final = re.compile(
    r"(?!.*(sha256|xxh128)).*(md5|sha1|sha224|sha384|sha512|b2sum|blake)", re.IGNORECASE
)
"""Names of files that are about another algorithm: theirs have as many digits."""


class _Line(NamedTuple):
    number: int
    algorithm: Algorithm
    name: str
    digest: str


def read_sums_claims(path: Path, source: Source) -> tuple[Claim, ...]:
    """Return what a sums file says about its files, in its order.

    Lines may be in the GNU form, `HEX  NAME`, or in the BSD form, `SHA256 (NAME) = HEX`
    or `XXH128 (NAME) = HEX`, and may end in CRLF. Empty lines and lines that begin with
    `#` are passed over. 32 digits without an algorithm are XXH3-128.

    Raises:
        InputError: It is no regular file, or cannot be read.
        IntegrityError: `sums`, with the line that is in another form; `sums-too-large`;
            `path` for a name that leaves the folder.
    """
    found: dict[str, dict[Algorithm, str]] = {}
    names: dict[str, str] = {}
    for line in _lines(path):
        _require_safe(path, line, names.setdefault(line.name.casefold(), line.name))
        digests = found.setdefault(line.name, {})
        if line.algorithm in digests:
            raise _fault(path, line.number, f"{visible(line.name)} a second time")
        digests[line.algorithm] = line.digest
    if not found:
        raise IntegrityError(
            f"{visible(path, 1024)}: names no file, expected lines of digests",
            code="sums",
            hint=_HINT,
        )
    return tuple(
        Claim(
            source,
            name=name,
            xxh3_128=digests.get("XXH128"),
            sha256=digests.get("SHA256"),
        )
        for name, digests in found.items()
    )


def _require_safe(path: Path, line: _Line, other: str) -> None:
    """Refuse a name that leaves the folder, or is that of `other` on some systems."""
    try:
        safe_relative_paths({other, line.name})
    except IntegrityError as error:
        raise IntegrityError(
            f"{visible(path, 1024)}: line {line.number:,}: {error}",
            code=error.code,
            hint=error.hint,
        ) from error


def _lines(path: Path) -> Iterator[_Line]:
    if _OTHER.match(path.name):
        raise IntegrityError(
            f"{visible(path, 1024)}: is named after another algorithm, expected sums "
            "by SHA-256 or XXH3-128",
            code="sums",
            hint=_HINT,
        )
    for number, text in enumerate(_text(path).split("\n"), start=1):
        if number > SUMS_LINES_MAX:
            raise _too_large(path, f"more than {SUMS_LINES_MAX:,} lines")
        line = text.removesuffix("\r")
        if line.strip() and not line.startswith("#"):
            yield _parsed(path, number, line)


def _text(path: Path) -> str:
    with InputFile(path) as file:
        if file.nbytes > SUMS_NBYTES_MAX:
            raise _too_large(path, f"{file.nbytes:,} bytes")
        content = file.read(0, file.nbytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _fault(path, line, "bytes that are not UTF-8") from error


def _parsed(path: Path, number: int, line: str) -> _Line:
    found = _BSD.fullmatch(line) or _GNU.fullmatch(line)
    if found is None:
        raise _fault(path, number, f"'{visible(line, 100)}'")
    digest = found["digest"].lower()
    algorithm = _BY_DIGITS.get(len(digest))
    stated = found.groupdict().get("algorithm", algorithm)
    if algorithm is None or stated != algorithm:
        expected = _DIGITS["SHA256" if stated == "SHA256" else "XXH128"]
        raise _fault(path, number, f"{len(digest)} digits, expected {expected}, in it")
    name = found["name"]
    if found["escaped"]:
        name = _ESCAPE.sub(lambda each: _unescaped(path, number, each[0]), name)
    return _Line(number, algorithm, name.removeprefix("./"), digest)


def _unescaped(path: Path, number: int, escape: str) -> str:
    if escape not in _ESCAPES:
        raise _fault(path, number, f"the unknown escape '{visible(escape)}'")
    return _ESCAPES[escape]


_HINT: Final = (
    "lines are as sha256sum and xxh128sum write them: '<hex>  <name>', or "
    "'SHA256 (<name>) = <hex>' and 'XXH128 (<name>) = <hex>'"
)


def _fault(path: Path, number: int, got: str) -> IntegrityError:
    return IntegrityError(
        f"{visible(path, 1024)}: line {number:,}: got {got}, expected a digest by "
        "SHA-256 or XXH3-128 and a name",
        code="sums",
        hint=_HINT,
    )


def _too_large(path: Path, got: str) -> IntegrityError:
    return IntegrityError(
        f"{visible(path, 1024)}: holds {got}, expected at most {SUMS_NBYTES_MAX:,} "
        f"bytes in {SUMS_LINES_MAX:,} lines",
        code="sums-too-large",
        hint=_HINT,
    )
