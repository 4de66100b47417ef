"""Which elements are sampled."""

from hypothesis import given
from hypothesis import strategies as st

from release.audit.positions import WHOLE_ELEMENTS, sample_runs


@given(st.text(max_size=20), st.integers(1, 10**8), st.integers(0, 200))
def test_runs_lie_in_the_tensor_in_order_without_overlap(name, n_elements, n_large):
    runs = sample_runs(name, n_elements, n_large=n_large)

    end = 0
    for start, count in runs:
        assert end <= start
        assert count > 0
        end = start + count
    assert end <= n_elements


@given(st.integers(1, WHOLE_ELEMENTS))
def test_small_tensors_are_read_whole(n_elements):
    runs = sample_runs("x", n_elements, n_large=0)

    assert sum(count for _, count in runs) == n_elements


def test_places_depend_on_name_and_size_alone_and_differ_by_name():
    first = sample_runs("a", 10**6, n_large=3)

    assert first == sample_runs("a", 10**6, n_large=3)
    assert first != sample_runs("b", 10**6, n_large=3)


def test_a_tensor_alone_in_its_group_has_a_sample_of_20_000():
    runs = sample_runs("a", 10**8, n_large=1)

    assert sum(count for _, count in runs) == 20_480
