"""Random bits: SplitMix64's published outputs, from any element on."""

import numpy as np
import pytest

from release.engine.random_bits import random_bits, stream_key

PUBLISHED = {
    0: [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F],
    1234567: [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ],
}
"""The first outputs of the reference implementation for two seeds."""


def plain(key, element):
    mask = 2**64 - 1
    word = (key + (element + 1) * 0x9E3779B97F4A7C15) & mask
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    return word ^ (word >> 31)


def bits(key, start, count):
    words = np.empty(count, dtype=np.uint64)
    random_bits(key, start, words, np.empty_like(words))
    return words.tolist()


@pytest.mark.parametrize("seed", PUBLISHED)
def test_outputs_are_the_published_ones(seed):
    assert bits(seed, 0, len(PUBLISHED[seed])) == PUBLISHED[seed]


@pytest.mark.parametrize("key", [0, 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF])
@pytest.mark.parametrize("start", [0, 1, 262_144, 2**32 - 5, 2**40, 2**63])
def test_words_are_those_of_plain_integers(key, start):
    assert bits(key, start, 9) == [plain(key, start + i) for i in range(9)]


def test_cut_does_not_matter():
    whole = bits(42, 0, 1000)

    assert bits(42, 0, 300) + bits(42, 300, 1) + bits(42, 301, 699) == whole


def test_keys_are_fixed_for_good():
    # The first 16 digits of `printf '7\0model.weight' | sha256sum` are the key:
    assert stream_key(7, "model.weight") == 0xCD0A4E95362CA4A3
    assert stream_key(7, "model.weight") != stream_key(8, "model.weight")
    assert stream_key(7, "model.weight") != stream_key(7, "model.bias")
    assert stream_key(1, "2") != stream_key(12, "")


def test_label_of_any_text_has_a_key():
    assert 0 <= stream_key(0, "\ud800 \N{SNOWMAN}") < 2**64


def test_every_bit_is_set_half_of_the_time():
    words = np.array(bits(stream_key(0, "x"), 0, 20_000), dtype=np.uint64)

    shares = [float((words >> np.uint64(i) & np.uint64(1)).mean()) for i in range(64)]

    assert max(abs(share - 0.5) for share in shares) < 5 * 0.5 / 20_000**0.5
