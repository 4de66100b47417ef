"""Small JSON objects from outside the header, as strictly read as the header."""

from collections.abc import Mapping
from pathlib import Path

from release.errors import CheckpointError, HeaderError, visible
from release.formats.header_json import Json, parse_header_json
from release.formats.hints import FAULTY_WRITER


def parse_object(path: Path, raw: bytes, *, what: str, code: str) -> dict[str, Json]:
    """Return the members of a JSON object; the caller has limited its size.

    Args:
        path: The file, for messages.
        raw: UTF-8.
        what: What the text is, for messages.
        code: Of the error.

    Raises:
        CheckpointError: With `code`, for all that `parse_header_json` refuses.
    """
    try:
        return parse_header_json(path, raw)[0]
    except HeaderError as error:
        reason = error.reason.removeprefix("header ")
        raise CheckpointError(
            path, f"{visible(what)} {reason}", code=code, hint=FAULTY_WRITER
        ) from None


def object_in(
    path: Path, members: Mapping[str, Json], key: str, *, what: str, code: str
) -> dict[str, Json]:
    """Return the object that is the value of `key`.

    Raises:
        CheckpointError: With `code`, when the key is missing or no object.
    """
    value = members.get(key)
    if not isinstance(value, dict):
        raise CheckpointError(
            path,
            f"{visible(what)}: {visible(key)} is missing or no object",
            code=code,
            hint=FAULTY_WRITER,
        )
    return value
