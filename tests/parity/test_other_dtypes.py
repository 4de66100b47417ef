"""What is no float: integers, truth values, packed and complex numbers."""

import numpy as np
import pytest

from release.parity.report import Verdict

IDS = np.arange(77, dtype="<i8").tobytes()


@pytest.mark.parametrize("code", ["I64", "I32", "I16", "I8", "U8", "BOOL", "C64"])
def test_bits_decide_and_elements_are_counted(one, code):
    data = bytes(range(128))
    width = {"I64": 8, "C64": 8, "I32": 4, "I16": 2}.get(code, 1)
    other = bytearray(data)
    other[0] ^= 1
    other[width] ^= 2
    other[-1] ^= 128

    same = one((code, data), (code, data))
    found = one((code, data), (code, bytes(other)))

    assert same.verdict is Verdict.EQUAL
    assert found.verdict is Verdict.DIFFERS
    assert found.likeness.n_differing == 3
    assert found.likeness.n_elements == 128 // width
    assert not found.likeness.is_measured


def test_large_integers_that_float64_cannot_tell_apart_differ(one):
    first = np.array([2**60, 5], "<i8").tobytes()
    second = np.array([2**60 + 1, 5], "<i8").tobytes()

    assert one(("I64", first), ("I64", second)).likeness.n_differing == 1


@pytest.mark.parametrize("code", ["F32", "F16", "BF16"])
def test_indices_that_became_floats_hold_the_same_numbers(one, rounding, code):
    floats = rounding.bits(np.arange(77), code)
    moved = rounding.bits(np.arange(77) + (np.arange(77) == 40), code)

    same = one(("I64", IDS), (code, floats))
    found = one(("I64", IDS), (code, moved))

    assert same.verdict is Verdict.SAME_VALUES
    assert same.misses == ()
    assert found.verdict is Verdict.DIFFERS
    assert found.likeness.n_differing == 1
    assert found.likeness.max_abs == 1.0
    assert found.likeness.max_ulp is None


def test_indices_in_fp8_are_wrong(one, rounding):
    found = one(("I64", IDS), ("F8_E4M3", rounding.bits(np.arange(77), "F8_E4M3")))

    assert found.likeness.n_differing == 43
    assert found.misses == ("43 of 77 values differ, by up to 4",)


def test_integer_beyond_float64_is_not_said_to_be_the_same(one):
    first = np.array([2**53 + 1], "<i8").tobytes()
    second = np.array([2.0**53], "<f8").tobytes()

    assert one(("I64", first), ("F64", second)).verdict is Verdict.DIFFERS


def test_dtypes_without_common_numbers_differ(one):
    found = one(("BOOL", b"\1\0"), ("F16", bytes(4)))

    assert found.verdict is Verdict.DIFFERS
    assert found.misses == ("2 of 2 values differ",)


def test_four_bit_tensors_are_compared_as_bytes(write, compared):
    first = write("a", {"w": ("F4", (4,), b"\x12\x34")})
    second = write("b", {"w": ("F4", (4,), b"\x12\x35")})

    assert compared(first, first).tensors[0].verdict is Verdict.EQUAL
    (found,) = compared(first, second).tensors
    assert found.verdict is Verdict.DIFFERS
    assert found.likeness.n_differing == 1
