"""Numbers, sizes and times: what people read means what was measured, and what they type means what they meant."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui import units
from dstui.errors import UsageError

FORMATTERS = (
    units.format_number,
    units.format_count,
    units.format_short_count,
    units.format_bytes,
    units.format_duration,
    units.format_clock,
    units.format_age,
    units.format_time,
)
PARSERS = (units.parse_number, units.parse_count, units.parse_bytes, units.parse_duration)


@pytest.mark.parametrize("formatter", FORMATTERS, ids=lambda formatter: formatter.__name__)
def test_what_was_not_measured_is_a_dash(formatter: object) -> None:
    assert callable(formatter)
    assert formatter(None) == "–"


@pytest.mark.parametrize(
    ("value", "short", "aligned"),
    [
        (0.2110, "0.211", "0.2110"),
        (0.94149, "0.9415", "0.9415"),
        (3e-4, "3e-4", "3.000e-4"),
        (0.001, "0.001", "0.001000"),
        (1e-12, "1e-12", "1.000e-12"),
        (1e6, "1e6", "1.000e6"),
        (41200.4, "41200", "41200"),
        (-0.5, "-0.5", "-0.5000"),
        (64.0, "64", "64.00"),
        (0.0, "0", "0"),
        (-0.0, "0", "0"),
        (math.nan, "nan", "nan"),
        (-math.inf, "-inf", "-inf"),
        (64, "64", "64"),
        (2**63, "9223372036854775808", "9223372036854775808"),
        (10**25, "1e25", "1e25"),
        (True, "true", "true"),
    ],
)
def test_numbers_in_four_digits(value: float, short: str, aligned: str) -> None:
    assert units.format_number(value) == short
    assert units.format_number(value, keep_zeros=True) == aligned


@given(st.floats(allow_nan=False))
@settings(deadline=None)
def test_seventeen_digits_lose_nothing(value: float) -> None:
    assert units.parse_number(units.format_number(value, digits=17)) == value


@given(st.floats(1e-300, 1e300) | st.floats(-1e300, -1e-300), st.integers(1, 8))
@settings(deadline=None)
def test_few_digits_are_the_nearest_such_number(value: float, digits: int) -> None:
    shown = units.parse_number(units.format_number(value, digits=digits))
    assert math.isclose(shown, value, rel_tol=0.5000001 * 10 ** (1 - digits))


@pytest.mark.parametrize(
    ("value", "full", "short"),
    [
        (950, "950", "950"),
        (1234, "1,234", "1.2k"),
        (41_200, "41,200", "41k"),
        (999_600, "999,600", "1M"),
        (0, "0", "0"),
    ],
)
def test_counts(value: int, full: str, short: str) -> None:
    assert units.format_count(value) == full
    assert units.format_short_count(value) == short


@pytest.mark.parametrize(
    ("size", "long", "short"),
    [
        (0, "0 B", "0B"),
        (1023, "1023 B", "1023B"),
        (1024, "1 KiB", "1K"),
        (1536, "1.5 KiB", "1.5K"),
        (1024**2 - 1, "1 MiB", "1M"),
        (40 * 1024**3, "40 GiB", "40G"),
        (10**20, "88818 PiB", "88818P"),
    ],
)
def test_sizes(size: int, long: str, short: str) -> None:
    assert units.format_bytes(size) == long
    assert units.format_bytes(size, short=True) == short


@given(st.integers(0, 2**59))
def test_a_shown_size_is_within_a_twentieth(size: int) -> None:
    for text in (units.format_bytes(size), units.format_bytes(size, short=True)):
        assert math.isclose(units.parse_bytes(text), size, rel_tol=0.06)
        assert len(text) <= 8


@pytest.mark.parametrize(
    ("seconds", "duration", "clock", "age"),
    [
        (0, "0s", "00:00", "now"),
        (0.35, "350ms", "00:00", "now"),
        (4.25, "4.2s", "00:00", "now"),
        (41, "41s", "00:00", "41 s"),
        (59.7, "1m00s", "00:00", "59 s"),
        (302, "5m02s", "00:05", "5 min"),
        (7890, "2h11m", "02:11", "2 h"),
        (76 * 3600, "3d04h", "76:00", "3 d"),
        (100 * 86400, "100d00h", "2400:00", "3 mo"),
        (800 * 86400, "800d00h", "19200:00", "2 y"),
        (-5, "-5s", "00:00", "now"),
        (math.nan, "–", "–", "–"),
    ],
)
def test_lengths_of_time(seconds: float, duration: str, clock: str, age: str) -> None:
    assert units.format_duration(seconds) == duration
    assert units.format_clock(seconds) == clock
    assert units.format_age(seconds) == age


@given(st.floats(0.001, 1e8))
@settings(deadline=None)
def test_a_shown_duration_can_be_typed_again(seconds: float) -> None:
    shown = units.format_duration(seconds)
    assert math.isclose(units.parse_duration(shown), seconds, rel_tol=0.06)
    assert len(shown) <= 8


def test_a_moment_is_shown_in_the_reader_s_time_zone() -> None:
    assert units.format_time(0) == "1970-01-01 00:00"
    assert units.format_time(1e300) == "–"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("12 min", 720),
        ("1:30:00", 5400),
        ("0:05", 300),
        ("30d", 30 * 86400),
        ("2w", 14 * 86400),
        ("500ms", 0.5),
        ("1e3", 1000),
    ],
)
def test_durations_that_people_type(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("500M", 500 * 1024**2),
        ("40G", 40 * 1024**3),
        ("40gb", 40 * 1024**3),
        ("1.5 GiB", 3 * 2**29),
        ("12B", 12),
        ("1k", 1024),
    ],
)
def test_sizes_that_people_type(text: str, size: int) -> None:
    assert units.parse_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("64", 64),
        ("1e-3", 0.001),
        ("10k", 10_000),
        ("1.5M", 1_500_000),
        ("-.5", -0.5),
        ("1_000", 1000),
        ("-inf", -math.inf),
    ],
)
def test_numbers_that_people_type(text: str, number: float) -> None:
    assert units.parse_number(text) == number


@pytest.mark.parametrize(
    ("text", "plain", "in_bytes"),
    [
        ("40G", 40e9, 40 * 1024**3),
        ("40GiB", 40 * 1024**3, 40 * 1024**3),
        ("2h", 7200, 7200),
        ("1e-3", 0.001, 0.001),
        ("0:30", 1800, 1800),
        ("big", None, None),
        ("", None, None),
    ],
)
def test_a_prefix_counts_in_1024s_only_for_sizes(text: str, plain: float | None, in_bytes: float | None) -> None:
    assert units.parse_quantity(text) == plain
    assert units.parse_quantity(text, in_bytes=True) == in_bytes


def test_nan_is_a_number_to_look_for() -> None:
    for in_bytes in (False, True):
        assert math.isnan(units.parse_quantity("nan", in_bytes=in_bytes) or 0)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@pytest.mark.parametrize("text", ["", "x", "1x", "1 2", "k", "٣", "1e", "--1", "1m2"])
def test_what_is_no_quantity_is_refused_by_name(parser: object, text: str) -> None:
    assert callable(parser)
    with pytest.raises(UsageError, match="is not a") as caught:
        parser(text)
    assert f"`{text}`" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        (units.parse_count, "-1"),
        (units.parse_count, "1.5"),
        (units.parse_count, "nan"),
        (units.parse_bytes, "-1G"),
        (units.parse_bytes, "inf"),
        (units.parse_duration, "-1"),
        (units.parse_duration, "1e999"),
    ],
)
def test_a_quantity_out_of_range_is_refused(parser: object, text: str) -> None:
    assert callable(parser)
    with pytest.raises(UsageError):
        parser(text)


@given(st.text(max_size=12))
def test_no_text_breaks_a_parser(text: str) -> None:
    for parser in PARSERS:
        try:
            parser(text)
        except UsageError:
            pass
