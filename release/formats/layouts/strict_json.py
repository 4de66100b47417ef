"""JSON in metadata and in small tensors, as strictly read as a header."""

from pathlib import Path

from release.errors import CheckpointError, visible
from release.formats.hints import FAULTY_WRITER
from release.formats.json_text import Json, JsonFaultError, parse_json_object


def parse_object(path: Path, raw: bytes, *, what: str, code: str) -> dict[str, Json]:
    """Return the members of a JSON object; the caller has limited its size.

    Args:
        path: The file, for messages.
        raw: UTF-8.
        what: What the text is, for messages.
        code: Of the error.

    Raises:
        CheckpointError: With `code`, for all that `parse_json_object` refuses.
    """
    try:
        return parse_json_object(raw)
    except JsonFaultError as fault:
        raise CheckpointError(
            path, f"{visible(what)} {fault.reason}", code=code, hint=FAULTY_WRITER
        ) from None
