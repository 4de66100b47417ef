"""Joining ranges, and finding what is damaged, by properties."""

import itertools
from pathlib import Path

import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from release.formats.input import InputFile
from release.repair.damage import find_damage
from release.repair.pieces import Piece, chunk_pieces, join, nbytes_of

MIB = 2**20


@st.composite
def pieces(draw):
    """Pieces in order, with gaps of any length between them, or none."""
    steps = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5))))
    found, position = [], 0
    for gap, nbytes in steps:
        begin = position + gap
        position = begin + nbytes
        found.append(Piece(begin, position, "0" * 16))
    return found


@given(pieces())
def test_joined_runs_hold_the_same_bytes_and_no_other(given_pieces):
    runs = join(given_pieces)

    wanted = {at for each in given_pieces for at in range(each.begin, each.end)}
    asked = [at for run in runs for at in range(run.begin, run.end)]
    assert sorted(wanted) == asked
    assert [piece for run in runs for piece in run.pieces] == given_pieces


@given(pieces())
def test_joined_runs_are_as_few_as_possible(given_pieces):
    runs = join(given_pieces)

    assert all(a.end < b.begin for a, b in itertools.pairwise(runs))


@given(st.integers(0, 5 * MIB))
def test_chunks_cover_the_file_exactly(nbytes):
    count = -(-nbytes // MIB)

    found = chunk_pieces(nbytes, ["0" * 16] * count)

    assert nbytes_of(found) == nbytes
    assert len(join(found)) == (1 if nbytes else 0)
    assert all(piece.nbytes <= MIB for piece in found)


@settings(deadline=None, max_examples=25)
@given(
    flips=st.sets(st.integers(0, 3 * MIB + 99), max_size=4),
    threads=st.sampled_from([1, 3]),
)
def test_damage_is_exactly_the_chunks_with_flipped_bits(
    tmp_path_factory, flips, threads
):
    content = bytearray(3 * MIB + 100)
    digests = [
        xxhash.xxh3_64_hexdigest(content[at : at + MIB])
        for at in range(0, len(content), MIB)
    ]
    for at in flips:
        content[at] ^= 4
    path = Path(tmp_path_factory.mktemp("damage")) / "file"
    path.write_bytes(content)

    with InputFile(path) as file:
        known = chunk_pieces(len(content), digests)
        damaged = find_damage(file, file.nbytes, known, threads=threads)

    assert [piece.begin // MIB for piece in damaged] == sorted(
        {at // MIB for at in flips}
    )
