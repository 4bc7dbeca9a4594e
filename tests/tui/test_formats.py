"""Numbers of a column stand under each other; numbers of an axis are round."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstui.tui.views.formats import (
    axis_time,
    compact,
    exact_format,
    number_format,
    running_time,
    table_age,
    ticks,
    time_ticks,
)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([64, 128, 7], ["64", "128", "7"]),
        ([0.211, 0.9, 0.04], ["0.2110", "0.9000", "0.0400"]),
        ([12.5, 3.25], ["12.500", "3.250"]),
        ([3e-4, 1e-3, 0.1], ["3.0e-4", "1.0e-3", "1.0e-1"]),
        ([0.5, math.nan], ["0.5000", "nan"]),
        ([5e9, 1.0], ["5.0e9", "1.0e0"]),
    ],
)
def test_a_column_has_one_format_for_all_its_numbers(values: list[float], shown: list[str]) -> None:
    chosen = number_format([float(value) for value in values])
    assert [chosen.text(float(value)) for value in values] == shown


def test_params_are_written_with_no_more_decimals_than_they_have() -> None:
    chosen = exact_format([0.1, 2.0, 0.75])
    assert [chosen.text(value) for value in (0.1, 2.0, 0.75)] == ["0.10", "2.00", "0.75"]


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.integers(1, 12))
def test_ticks_lie_in_the_range_and_are_evenly_spaced(lowest: float, span: float, most: int) -> None:
    highest = lowest + span
    found = ticks(lowest, highest, most)
    assert len(found) <= most + 2
    slack = span * 1e-6 + abs(lowest) * 1e-9
    assert all(lowest - slack <= value <= highest + slack for value in found)
    gaps = [after - before for before, after in itertools.pairwise(found)]
    assert all(math.isclose(gap, gaps[0], rel_tol=1e-6, abs_tol=slack) for gap in gaps)


def test_ticks_of_no_range_are_its_one_value() -> None:
    assert ticks(1.0, 1.0, 5) == [1.0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.25, "0.25"), (10_000, "10k"), (1.5e6, "1.5M"), (1e-5, "1e-5"), (2.5e-5, "2.5e-5"), (-3e9, "-3G")],
)
def test_axis_numbers_are_short(value: float, shown: str) -> None:
    assert compact(value) == shown


def test_time_axes_count_in_units_of_time() -> None:
    assert [axis_time(value) for value in time_ticks(3600.0, 4)] == ["0", "30m", "1h"]


def test_ages_and_running_times_change_once_a_minute_at_most() -> None:
    assert table_age(5.0) == table_age(59.0) == "now"
    assert running_time(61.0) == running_time(119.0) == "1m"
    assert running_time(7_860.0) == running_time(7_919.0) == "2h11m"
