"""A server of ranges, well-behaved and not: an error, and the file as it was."""

import time
from functools import partial

import pytest

import release.hub.client
import release.hub.range_sources

MIB = 2**20
NAME = "model-fp16.safetensors"


def flip(*positions):
    def change(content):
        for position in positions:
            content[position] ^= 1
        return content

    return change


FLIPS = (MIB + 5, 3 * MIB, 7 * MIB + 1)
"""Three bits in three chunks that are no neighbours."""


def first_range(change):
    """A fault of the first request after the look at the file."""
    return lambda handler, number: number == 1 and bool(change(handler) or True)


def every_range(change):
    return lambda handler, number: number > 0 and bool(change(handler) or True)


def test_only_the_damaged_ranges_are_asked_for(damage, repaired, server):
    damage(flip(*FLIPS))

    report = repaired("--from", server.address)

    assert server.ranges == [
        "bytes=0-0",
        "bytes=1048576-2097151",
        "bytes=3145728-4194303",
        "bytes=7340032-8388607",
    ]
    assert report["fetched_nbytes"] == 3 * MIB
    assert {each.headers["Accept-Encoding"] for each in server.requests} == {"identity"}


def test_one_bit_costs_at_most_two_mebibytes(damage, repaired, server):
    damage(flip(5 * MIB))

    assert repaired("--from", server.address)["fetched_nbytes"] <= 2 * MIB


def test_cut_file_is_completed_in_one_range(damage, repaired, server):
    damage(lambda content: content[: 5 * MIB + 3])

    repaired("--from", server.address)

    assert server.ranges[1:] == [f"bytes={5 * MIB}-{len(server.content) - 1}"]


def test_nothing_is_fetched_for_an_intact_file(damage, repaired, server):
    damage()

    assert repaired("--from", server.address)["outcome"] == "intact"
    assert server.ranges == ["bytes=0-0"]


def test_header_is_fetched_first_where_it_is_damaged(damage, repaired, server, facts):
    damage(flip(2), record=False)
    nbytes = facts["header_nbytes"]

    report = repaired("--from", server.address)

    assert server.ranges == ["bytes=0-0", "bytes=0-7", f"bytes=8-{nbytes - 1}"]
    assert report["fetched_nbytes"] == nbytes


def test_neither_token_nor_query_leaves_for_a_server_or_the_terminal(
    damage, krelease, server, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_canarycanarycanarycanary")
    damage(flip(*FLIPS))
    address = server.address.replace("//", "//me:secretword@")

    code, out, err = krelease("repair", NAME, "--from", f"{address}?sig=secretsig")

    assert code == 0, err
    assert "secret" not in out + err
    assert server.requests[0].path.endswith("?sig=secretsig")
    assert "canary" not in str(server.requests)


def whole_file(server):
    return lambda handler: server.send(
        handler, 0, len(server.content), status=200, headers={"Content-Range": ""}
    )


def cut_short(server):
    """Break off after a thousand bytes of whatever is asked for."""

    def answer(handler):
        first, last = handler.headers["Range"].removeprefix("bytes=").split("-")
        begin, end = int(first), int(last) + 1
        server.send(handler, begin, end, body=server.content[begin : begin + 1000])

    return answer


def nothing(*_):
    """Hang up."""


MISBEHAVIOURS = {
    "range ignored": (whole_file, "range-ignored"),
    "416": (
        lambda server: (
            lambda handler: server.send(
                handler,
                0,
                0,
                status=416,
                headers={"Content-Range": f"bytes */{len(server.content)}"},
            )
        ),
        "range-refused",
    ),
    "another range": (
        lambda server: lambda handler: server.send(handler, 0, MIB),
        "range-answer",
    ),
    "another total": (
        lambda server: (
            lambda handler: server.send(
                handler,
                MIB,
                2 * MIB,
                headers={"Content-Range": "bytes 1048576-2097151/99"},
            )
        ),
        "range-answer",
    ),
    "no content range": (
        lambda server: (
            lambda handler: server.send(
                handler, MIB, 2 * MIB, headers={"Content-Range": ""}
            )
        ),
        "range-answer",
    ),
    "two ranges at once": (
        lambda server: (
            lambda handler: server.send(
                handler,
                MIB,
                2 * MIB,
                headers={
                    "Content-Range": "",
                    "Content-Type": "multipart/byteranges; boundary=x",
                },
            )
        ),
        "range-answer",
    ),
    "short by its own word": (
        lambda server: (
            lambda handler: server.send(
                handler,
                MIB,
                2 * MIB,
                body=server.content[MIB : MIB + 9],
                headers={"Content-Length": "9"},
            )
        ),
        "range-answer",
    ),
    "compressed": (
        lambda server: (
            lambda handler: server.send(
                handler, MIB, 2 * MIB, headers={"Content-Encoding": "gzip"}
            )
        ),
        "range-answer",
    ),
    "changed etag": (
        lambda server: (
            lambda handler: server.send(
                handler, MIB, 2 * MIB, headers={"ETag": '"two"'}
            )
        ),
        "source-changed",
    ),
    "forbidden": (
        lambda server: lambda handler: server.send(handler, 0, 0, status=403),
        "source-refused",
    ),
    "gone": (
        lambda server: lambda handler: server.send(handler, 0, 0, status=404),
        "source-refused",
    ),
    "stumbling": (
        lambda server: lambda handler: server.send(handler, 0, 0, status=503),
        "hub-unavailable",
    ),
    "hanging up": (lambda _: nothing, "hub-unreachable"),
    "breaking off again and again": (cut_short, "source-broken"),
    "elsewhere by http": (
        lambda server: (
            lambda handler: server.send(
                handler, 0, 0, status=302, headers={"Location": "http://example.com/x"}
            )
        ),
        "source-redirect",
    ),
    "elsewhere by another scheme": (
        lambda server: (
            lambda handler: server.send(
                handler, 0, 0, status=302, headers={"Location": "file:///etc/passwd"}
            )
        ),
        "source-redirect",
    ),
    "in a circle": (
        lambda server: (
            lambda handler: server.send(
                handler, 0, 0, status=302, headers={"Location": server.address}
            )
        ),
        "source-redirect",
    ),
}


@pytest.mark.parametrize("case", MISBEHAVIOURS)
def test_misbehaviour_changes_nothing(damage, refused, server, case):
    answer, expected = MISBEHAVIOURS[case]
    damage(flip(*FLIPS))
    server.fault = every_range(answer(server))

    code, word, message = refused(
        "--from", server.address, leaves=case.startswith("breaking")
    )

    assert code == 8
    assert word == expected
    assert message.startswith(server.address)


def test_wrong_bytes_are_an_error_of_integrity(damage, refused, server):
    damage(flip(*FLIPS))
    server.fault = first_range(
        lambda handler: server.send(handler, MIB, 2 * MIB, body=bytes(MIB))
    )

    code, word, message = refused("--from", server.address, leaves=True)

    assert (code, word) == (5, "source-bytes")
    assert "bytes 1,048,576 to 2,097,152" in message


def test_more_bytes_than_promised_are_not_taken(damage, repaired, server):
    damage(flip(*FLIPS))
    server.fault = first_range(
        lambda handler: server.send(
            handler,
            MIB,
            2 * MIB,
            body=server.content[MIB : 5 * MIB],
            headers={"Content-Length": "", "Connection": "close"},
        )
    )

    assert repaired("--from", server.address)["fetched_nbytes"] == 3 * MIB


@pytest.mark.parametrize(
    "misbehave",
    [
        lambda server, handler: server.send(handler, 0, 0, status=503),
        lambda server, handler: server.send(handler, 0, 0, status=429),
        nothing,
        lambda server, handler: server.send(
            handler, MIB, 2 * MIB, body=server.content[MIB : MIB + 1000]
        ),
    ],
    ids=["unavailable", "too many requests", "hang up", "cut"],
)
def test_what_fails_for_a_moment_is_asked_again(damage, repaired, server, misbehave):
    damage(flip(*FLIPS))
    server.fault = first_range(partial(misbehave, server))

    report = repaired("--from", server.address)

    assert report["fetched_nbytes"] == 3 * MIB
    assert len(server.requests) == 5


def test_broken_range_goes_on_where_it_broke(damage, repaired, server):
    damage(flip(*FLIPS))
    server.fault = first_range(
        lambda handler: server.send(
            handler, MIB, 2 * MIB, body=server.content[MIB : MIB + 1000]
        )
    )

    repaired("--from", server.address)

    assert server.ranges[2] == f"bytes={MIB + 1000}-{2 * MIB - 1}"


@pytest.fixture
def impatient(monkeypatch):
    """Give a server a second and a half."""
    connect = partial(release.hub.client.connect, timeout_seconds=1.5)
    monkeypatch.setattr("release.hub.range_sources.connect", connect)
    monkeypatch.setattr("release.hub.client.WAITS_SECONDS", ())


def test_silent_server_is_given_up(damage, refused, server, impatient):
    damage(flip(*FLIPS))
    server.fault = every_range(lambda _: time.sleep(2.5))

    assert refused("--from", server.address)[:2] == (8, "hub-unreachable")


def test_trickling_server_is_given_up(damage, refused, server, impatient):
    damage(flip(*FLIPS))

    def trickle(handler):
        server.send(handler, MIB, 2 * MIB, body=b"")
        for _ in range(30):
            handler.wfile.write(b"\0")
            time.sleep(0.1)

    server.fault = every_range(trickle)

    code, word, message = refused("--from", server.address, leaves=True)

    assert (code, word) == (8, "source-slow")
    assert "less than 10,000 bytes a second" in message


def test_other_size_at_the_address_is_another_file(damage, refused, server):
    damage(flip(*FLIPS))
    server.content += b"\0"

    assert refused("--from", server.address)[:2] == (5, "different-file")
    assert server.ranges == ["bytes=0-0"]


def test_size_from_the_server_is_never_believed_over_the_record(
    damage, refused, server
):
    damage(flip(*FLIPS))
    total = 10**18
    server.fault = lambda handler, _: bool(
        server.send(handler, 0, 1, headers={"Content-Range": f"bytes 0-0/{total}"})
        or True
    )

    assert refused("--from", server.address)[:2] == (5, "different-file")


class TestServerWithoutRanges:
    @pytest.fixture
    def without_ranges(self, server):
        server.fault = lambda handler, _: bool(whole_file(server)(handler) or True)
        return server

    def test_it_is_said_before_anything_is_fetched(
        self, damage, refused, without_ranges
    ):
        damage(flip(*FLIPS))

        code, word, _ = refused("--from", without_ranges.address)

        assert (code, word) == (8, "range-ignored")
        assert len(without_ranges.requests) == 1

    def test_full_download_works(self, damage, repaired, without_ranges):
        damage(flip(*FLIPS))

        report = repaired("--from", without_ranges.address, "--full")

        assert report["fetched_nbytes"] == len(without_ranges.content)
        assert report["checked"] == "SHA-256"

    def test_full_download_is_checked_by_the_files_own_header(
        self, damage, repaired, without_ranges
    ):
        damage(flip(*FLIPS), record=False)

        report = repaired("--from", without_ranges.address, "--full")

        assert report["fetched_nbytes"] == len(without_ranges.content)
        assert "its metadata has no digest" in report["checked"]
        assert [0, 0] not in report["ranges"]

    def test_full_download_of_other_tensors_is_refused(
        self, damage, refused, without_ranges, stranger
    ):
        damage(flip(*FLIPS), record=False)
        without_ranges.content = stranger.read_bytes()

        code, word, _ = refused("--from", without_ranges.address, "--full", leaves=True)

        assert (code, word) == (5, "source-bytes")

    def test_full_download_of_another_header_is_refused(
        self, damage, refused, without_ranges
    ):
        damage(flip(*FLIPS), record=False)
        without_ranges.content = without_ranges.content.replace(
            b'input_blocks.3.weight"', b'input_blocks.9.weight"'
        )

        code, word, _ = refused("--from", without_ranges.address, "--full")

        assert (code, word) == (5, "different-file")

    def test_full_download_goes_on_after_a_failure(
        self, damage, repaired, refused, without_ranges
    ):
        damage(flip(*FLIPS), record=False)
        whole = without_ranges.content
        without_ranges.content = flip(9 * MIB)(bytearray(whole))
        refused("--from", without_ranges.address, "--full", leaves=True)
        without_ranges.content = whole

        assert repaired("--from", without_ranges.address, "--full")

    def test_full_download_that_nothing_can_check_asks_for_against(
        self, damage, krelease, without_ranges
    ):
        damage(flip(2), record=False)

        code, _, err = krelease(
            "repair", NAME, "--from", without_ranges.address, "--full"
        )

        assert code == 5
        assert "its SHA-256 with --against" in err


ADDRESSES = {
    "http elsewhere": "http://example.com/model.safetensors",
    "no port": "https://example.com:a/model.safetensors",
    "ftp": "ftp://example.com/model.safetensors",
    "file": "file:///etc/passwd",
    "no host": "https:///model.safetensors",
    "control character": "https://example.com/\x1b[31m",
    "bad brackets": "https://[::1/model",
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_address_that_nothing_is_fetched_from_is_refused(damage, refused, case):
    damage(flip(*FLIPS))

    assert refused("--from", ADDRESSES[case])[:2] == (2, "url")


def test_nothing_answers_at_the_address(damage, refused):
    damage(flip(*FLIPS))

    code, word, _ = refused("--from", "http://127.0.0.1:9/model.safetensors")

    assert (code, word) == (8, "hub-unreachable")


def test_redirect_on_this_machine_is_followed(damage, repaired, server):
    damage(flip(*FLIPS))
    signed = f"{server.address}?Signature=abc"
    server.fault = lambda handler, _: (
        "?" not in handler.path
        and bool(
            server.send(handler, 0, 0, status=302, headers={"Location": signed}) or True
        )
    )

    repaired("--from", server.address)

    assert len(server.requests) == 8


def test_signed_address_is_not_shown_when_it_fails(damage, krelease, server):
    damage(flip(*FLIPS))
    signed = f"{server.address}?Signature=secretsig"

    def fault(handler, number):
        if "?" not in handler.path:
            server.send(handler, 0, 0, status=302, headers={"Location": signed})
        elif number > 2:
            server.send(handler, 0, 0, status=500)
        else:
            return False
        return True

    server.fault = fault

    code, out, err = krelease("repair", NAME, "--from", server.address)

    assert code == 8
    assert "secretsig" not in out + err
