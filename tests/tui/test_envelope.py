"""Curves in columns: what a chart may rely on, held against a slow way to compute the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstui_store import Envelope, order
from dstui_store.envelope import MAX_WIDTH, Buckets

values = st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan), st.just(math.inf)), min_size=1, max_size=80)


@given(values, st.integers(1, 50))
def test_each_column_holds_the_least_the_greatest_and_the_mean_of_its_points(y: list[float], width: int) -> None:
    x = np.arange(len(y), dtype=float)
    found = Envelope.of(x, np.array(y), width)
    borders = np.linspace(x[0], x[-1], width + 1)
    for column in range(width):
        last = column == width - 1
        inside = [
            value
            for place, value in zip(x.tolist(), y, strict=True)
            if borders[column] <= place and (place < borders[column + 1] or (last and place <= borders[-1]))
        ]
        finite = [value for value in inside if math.isfinite(value)]
        assert found.bad[column] == (len(finite) < len(inside))
        if finite:
            assert found.lo[column] == min(finite)
            assert found.hi[column] == max(finite)
            assert found.mean[column] == pytest.approx(sum(finite) / len(finite), rel=1e-9, abs=1e-6)
    assert found.points == sum(math.isfinite(value) for value in y)


@given(values, st.integers(1, 10), st.booleans())
def test_joined_points_keep_their_extremes_and_their_mean(y: list[float], size: int, positive: bool) -> None:
    parts = [np.array(y[start : start + size]) for start in range(0, len(y), size)]
    finite = [part[np.isfinite(part)] for part in parts]
    low, high, mean = (
        np.array([how(part) if len(part) else math.nan for part in finite]) for how in (np.min, np.max, np.mean)
    )
    last, count = np.array([part[-1] for part in parts]), np.array([len(part) for part in parts])
    buckets = Buckets(low, high, mean, last, count)
    x = np.minimum(np.arange(len(parts)) * size + size, len(y)) - 1.0
    found = Envelope.of(x, buckets, 1, positive=positive)
    alone = Envelope.of(np.arange(len(y), dtype=float), np.array(y), 1, positive=positive)
    assert (math.isnan(found.hi[0]), math.isnan(alone.hi[0])) in {(True, True), (False, False)}
    if not math.isnan(alone.hi[0]):
        assert found.hi[0] == alone.hi[0]
        assert found.lo[0] == alone.lo[0] or (positive and found.lo[0] > 0)
    if np.isfinite(y).all() and not positive:
        assert found.mean[0] == pytest.approx(alone.mean[0], abs=1e-6)
        assert (found.points, found.last_y) == (alone.points, alone.last_y)


def test_empty_columns_are_bridged_by_a_straight_line() -> None:
    found = Envelope.of(np.array([0.0, 10.0]), np.array([0.0, 10.0]), 5)
    assert found.mean.tolist() == pytest.approx([0.0, 2.5, 5.0, 7.5, 10.0])


def test_a_bad_value_is_never_bridged_over() -> None:
    found = Envelope.of(np.array([0.0, 5.0, 10.0]), np.array([0.0, math.nan, 10.0]), 5)
    assert found.bad.tolist() == [False, False, True, False, False]
    assert np.isnan(found.mean[1:4]).all()
    assert not np.isnan(found.mean[[0, 4]]).any()


def test_a_logarithmic_axis_drops_and_counts_what_is_not_positive() -> None:
    found = Envelope.of(np.arange(4.0), np.array([1.0, 0.0, -1.0, 2.0]), 4, positive=True)
    assert (found.points, found.dropped) == (2, 2)
    assert np.nanmin(found.lo) == 1.0


def test_a_range_shows_its_own_points_only() -> None:
    found = Envelope.of(np.arange(10.0), np.arange(10.0), 3, 3.0, 6.0)
    assert found.points == 4
    assert (np.nanmin(found.lo), np.nanmax(found.hi)) == (3.0, 6.0)


def test_a_resumed_run_s_repeated_steps_show_their_last_record() -> None:
    x, y = order(np.array([0, 1, 2, 1, 2, 3]), np.arange(6.0), np.array([0.0, 1.0, 2.0, 11.0, 12.0, 13.0]), "step")
    assert x.tolist() == [0, 1, 2, 3]
    assert y.tolist() == [0.0, 11.0, 12.0, 13.0]


def test_over_time_every_point_stays_in_order_of_time() -> None:
    x, y = order(np.array([5, 5, 5]), np.array([12.0, 10.0, 11.0]), np.array([2.0, 0.0, 1.0]), "time")
    assert x.tolist() == [0.0, 1.0, 2.0]
    assert y.tolist() == [0.0, 1.0, 2.0]


def test_no_points_give_an_empty_envelope() -> None:
    found = Envelope.of(np.zeros(0), np.zeros(0), 4)
    assert found.points == 0
    assert np.isnan(found.mean).all()
    assert math.isnan(found.last_y)


@pytest.mark.parametrize("width", [0, MAX_WIDTH + 1])
def test_a_width_out_of_bounds_is_refused_with_the_bounds(width: int) -> None:
    with pytest.raises(ValueError, match=f"1 to {MAX_WIDTH} columns, not {width}"):
        Envelope.of(np.arange(3.0), np.arange(3.0), width)
