"""One strict reader of JSON; what it refuses is said by whoever knows the place."""

from pathlib import Path

import pytest

from release.errors import CheckpointError, HeaderError
from release.formats.header_json import parse_header_json
from release.formats.json_file import read_json_object
from release.formats.json_text import JsonFaultError, object_in, parse_json_object
from release.formats.layouts.strict_json import parse_object

REFUSED = {
    "not UTF-8": (b'{"a": "\xff"}', "utf8", "header-utf8"),
    "nothing": (b"", "json", "header-json"),
    "array": (b"[]", "json", "header-json"),
    "byte order mark": (b"\xef\xbb\xbf{}", "json", "header-json"),
    "cut": (b'{"a":', "json", "header-json"),
    "more behind it": (b"{}{}", "json", "header-json"),
    "NaN": (b'{"a": NaN}', "json", "header-json"),
    "2^64": (b'{"a": 18446744073709551616}', "json", "header-json"),
    "5,000 digits": (b'{"a": ' + b"1" * 5000 + b"}", "json", "header-json"),
    "1e999": (b'{"a": 1e999}', "json", "header-json"),
    "half a pair": (rb'{"a": "\ud800"}', "json", "header-json"),
    "128 levels": (b'{"a":' * 128 + b"1" + b"}" * 128, "json", "header-json"),
    "a key twice": (b'{"a": 1, "a": 1}', "duplicate-key", "duplicate-key"),
    "too many values": (
        b'{"a":[' + b"0," * (2**21 + 1) + b"0]}",
        "too-many-values",
        "too-many-values",
    ),
}


@pytest.mark.parametrize(("raw", "kind", "code"), REFUSED.values(), ids=REFUSED)
def test_every_reader_refuses_it_in_its_own_words(raw, kind, code, tmp_path):
    path = tmp_path / "some.json"
    path.write_bytes(raw)

    with pytest.raises(JsonFaultError) as fault:
        parse_json_object(raw)
    with pytest.raises(HeaderError) as of_header:
        parse_header_json(path, raw)
    with pytest.raises(CheckpointError) as of_file:
        read_json_object(path, nbytes_max=2**23)
    with pytest.raises(CheckpointError) as of_text:
        parse_object(path, raw, what="the note", code="note")

    reason = fault.value.reason
    assert fault.value.kind == kind
    assert (of_header.value.code, of_header.value.reason) == (code, f"header {reason}")
    assert (of_file.value.code, of_file.value.reason) == ("json", reason)
    assert (of_text.value.code, of_text.value.reason) == ("note", f"the note {reason}")
    assert not isinstance(of_file.value, HeaderError)


def test_limit_of_tensors_is_that_of_headers_alone(tmp_path):
    raw = b'{"a":[' + b",".join([b"{}"] * 200_002) + b"]}"
    path = tmp_path / "some.json"
    path.write_bytes(raw)

    assert len(read_json_object(path, nbytes_max=2**23)["a"]) == 200_002
    with pytest.raises(HeaderError) as caught:
        parse_header_json(path, raw)
    assert caught.value.code == "too-many-tensors"


def test_too_many_objects_are_refused_before_they_are_built():
    with pytest.raises(JsonFaultError) as caught:
        parse_json_object(b'{"a":{},' * 8, objects_max=8)

    assert (caught.value.kind, caught.value.reason) == (
        "too-many-objects",
        "holds more than 8 objects",
    )


def test_blanks_in_front_are_legal_json_but_no_legal_header(tmp_path):
    raw = b' \r\n\t{"a": [1, -2, 3.5, null, true, "b"]}\n'
    path = tmp_path / "some.json"
    path.write_bytes(raw)

    assert read_json_object(path, nbytes_max=99) == {
        "a": [1, -2.0, 3.5, None, True, "b"]
    }
    with pytest.raises(HeaderError) as caught:
        parse_header_json(path, raw)
    assert caught.value.code == "header-start"


def test_object_that_is_missing_or_something_else_is_named():
    members = {"yes": {"a": 1}, "no": []}

    assert object_in(Path("f"), members, "yes", what="w", code="c") == {"a": 1}
    for key in ("no", "none"):
        with pytest.raises(CheckpointError) as caught:
            object_in(Path("f"), members, key, what="w", code="c")
        assert caught.value.reason == f"w: {key} is missing or no object"
        assert caught.value.code == "c"
