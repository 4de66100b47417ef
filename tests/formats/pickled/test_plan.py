"""The child's answer: read like a hostile file."""

import copy
import json

import pytest

from release.formats.pickled.faults import FAULTS, error_for
from release.formats.pickled.plan import Plan, Record, decode_answer, encode_plan
from release.formats.pickled.views import View, check_view, join_dims
from release.formats.refused import RefusedError
from release.numeric.dtype import Dtype

PLAN = Plan(
    views=(
        View("a", Dtype.F32, (2, 2), 0, 0, ((4, 1),)),
        View("b", Dtype.F32, (2, 2), 0, 0, ((2, 1), (2, 2))),
        View("c", Dtype.BF16, (), 1, 3, ()),
    ),
    records=(Record(64, 16, 7), Record(128, 8, None)),
    is_big_endian=False,
    warnings=("shared-storage: a, b",),
)
FILE_NBYTES = 1000
ANSWER = json.loads(encode_plan(PLAN))


def test_plan_arrives_as_it_was_sent():
    assert decode_answer(encode_plan(PLAN), FILE_NBYTES) == PLAN


def changed(place, value):
    answer = copy.deepcopy(ANSWER)
    target = answer
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    return json.dumps(answer).encode()


WRONG = [
    (("views",), None), (("views",), []), (("views",), {}), (("records",), []),
    (("records",), None), (("is_big_endian",), 0), (("is_big_endian",), None),
    (("warnings",), ["no word"]), (("warnings",), ["Word: x"]), (("warnings",), [3]),
    (("warnings",), ["a: b"] * 65), (("warnings",), ""), (("more",), 1),
    (("refusal",), ["global", "", "global"]),
    (("views", 0), None), (("views", 0), []), (("views", 0), ANSWER["views"][1]),
    (("views", 0, 0), 3), (("views", 0, 0), "__metadata__"),
    (("views", 0, 0), "b"), (("views", 0, 0), "x" * 1025), (("views", 0, 0), "\ud800"),
    (("views", 0, 1), "F128"), (("views", 0, 1), "F64"), (("views", 0, 1), "F4"),
    (("views", 0, 1), []), (("views", 0, 2), [2, 3]), (("views", 0, 2), [-2, -2]),
    (("views", 0, 2), [2.0, 2]), (("views", 0, 2), [True, 4]), (("views", 0, 2), 4),
    (("views", 0, 2), [1] * 1025), (("views", 0, 2), [2**64, 2]),
    (("views", 0, 3), 2), (("views", 0, 3), -1), (("views", 0, 3), True),
    (("views", 0, 4), 1), (("views", 0, 4), -1), (("views", 0, 4), 2**70),
    (("views", 0, 4), 0.0), (("views", 0, 5), [[4, 2]]), (("views", 0, 5), [[5, 1]]),
    (("views", 0, 5), []), (("views", 0, 5), [[4]]), (("views", 0, 5), [4, 1]),
    (("views", 0, 5), [[4, -1]]), (("views", 0, 5), [[-4, 1]]), (("views", 0, 5), None),
    (("records", 0), [64, 16]), (("records", 0), [-1, 16, 7]),
    (("records", 0), [64, 2000, 7]), (("records", 0), [990, 16, 7]),
    (("records", 0), [120, 16, 7]), (("records", 0), [64, 16, 2**32]),
    (("records", 0), [64, 16, -1]), (("records", 0), [64, 16, "7"]),
    (("records", 0), [64.0, 16, 7]), (("records", 0), [64, True, 7]),
    (("records", 0), [64, 15, 7]), (("records", 0), [2**70, 16, 7]),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), WRONG, ids=range(len(WRONG)))
def test_answer_that_lies_is_refused(place, value):
    with pytest.raises(RefusedError) as caught:
        decode_answer(changed(place, value), FILE_NBYTES)

    assert caught.value.code == "pickle-reader"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"NaN", b"[" * 100_000, b"{}",
        b'{"refusal":["global","x"]}', b'{"refusal":["rm -rf","x","global"]}',
        b'{"refusal":["global","x","no such advice"]}', b'{"refusal":[1,2,3]}',
        b'{"refusal":["global","x","global"],"views":[]}', b"9" * 5000,
    ],
)  # fmt: skip
def test_answer_that_is_none_is_refused(raw):
    with pytest.raises(RefusedError) as caught:
        decode_answer(raw, FILE_NBYTES)

    assert caught.value.code == "pickle-reader"


def test_answer_cannot_amplify():
    raw = changed(("views", 0), ["a", "F32", [2**20], 0, 0, [[2**20, 0]]])

    with pytest.raises(RefusedError, match="breaks a rule"):
        decode_answer(raw, FILE_NBYTES)


def test_what_the_child_says_is_made_safe_to_show(tmp_path):
    raw = json.dumps({"refusal": ["global", "\x1b[2J\n" + "x" * 10_000, "opcode"]})

    with pytest.raises(RefusedError) as caught:
        decode_answer(raw.encode(), FILE_NBYTES)
    message = str(error_for(tmp_path / "m.ckpt", caught.value))

    assert "\\u001b[2J\\u000a" in message
    assert len(message) < 9000


def test_every_fault_has_a_next_step_that_is_safe():
    for fault in FAULTS.values():
        assert fault.error.exit_code == 4
        assert fault.hint
        assert "\n" not in fault.hint
        assert "weights_only" not in fault.hint


SPREAD = {
    "beyond 256 MiB": (((2, 2**28), (2, 2)), "resource-limit"),
    "in more dimensions than NumPy has": (((2, 2),) * 33, "rank"),
}


@pytest.mark.parametrize("case", SPREAD)
def test_view_that_cannot_be_gathered_is_refused(case):
    dims, code = SPREAD[case]
    shape = tuple(size for size, _ in dims)

    with pytest.raises(RefusedError) as caught:
        check_view(View("w", Dtype.U8, shape, 0, 0, dims), 2**33)

    assert caught.value.code == code


def test_view_that_spreads_over_256_mib_can_be_gathered():
    check_view(View("w", Dtype.U8, (2, 2), 0, 0, ((2, 2**28 - 3), (2, 2))), 2**33)


@pytest.mark.parametrize(
    ("shape", "strides", "dims"),
    [
        ((2, 3, 4), (12, 4, 1), ((24, 1),)),
        ((1, 3, 1, 4), (99, 4, 7, 1), ((12, 1),)),
        ((3, 4), (1, 3), ((3, 1), (4, 3))),
        ((5, 6), (0, 0), ((30, 0),)),
        ((2, 3, 4), (24, 8, 2), ((24, 2),)),
        ((2, 3, 4), (13, 4, 1), ((2, 13), (12, 1))),
        ((), (), ()),
        ((1, 1), (5, 5), ()),
    ],
)
def test_dimensions_are_joined_where_one_stride_serves(shape, strides, dims):
    assert join_dims(shape, strides) == dims
