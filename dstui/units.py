"""Human forms of numbers, sizes, durations and ages, and the way back from what people type.

Inside dstui sizes are bytes and times are seconds; only this file knows how people write them. Every formatter shows
None, which means "not measured", as `–`. Suffixes: `k M G T P` count in thousands, except for sizes in bytes, where
they and `KiB MiB GiB TiB PiB` are powers of 1024; `ms s m min h d w` are durations, and they can be put together
(`1h30m`).
"""

from __future__ import annotations

import math
import re
from datetime import datetime

from dstui.errors import UsageError

UNKNOWN = "–"
"""What is shown for a value that was not measured."""

MINUTE_SECONDS = 60
HOUR_SECONDS = 3600
DAY_SECONDS = 86400

_NUMBER = r"[+-]?(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBER_WITH_SUFFIX = re.compile(rf"({_NUMBER})\s*([A-Za-z]*)", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)\s*", re.ASCII)
_CLOCK = re.compile(r"(\d+):([0-5]?\d)(?::([0-5]?\d(?:\.\d+)?))?", re.ASCII)
_NON_FINITE = {
    "nan": math.nan,
    "inf": math.inf,
    "+inf": math.inf,
    "-inf": -math.inf,
    "infinity": math.inf,
    "-infinity": -math.inf,
}

_PREFIXES = "kMGTP"
_THOUSANDS: dict[str, int] = {
    "": 1,
    "K": 1000,
    **{prefix: 1000 ** (power + 1) for power, prefix in enumerate(_PREFIXES)},
}
_BINARY_PREFIXES: dict[str, int] = {prefix.upper(): 1024 ** (power + 1) for power, prefix in enumerate(_PREFIXES)}
_SECONDS: dict[str, float] = {
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "m": MINUTE_SECONDS,
    "min": MINUTE_SECONDS,
    "h": HOUR_SECONDS,
    "hr": HOUR_SECONDS,
    "d": DAY_SECONDS,
    "w": 7 * DAY_SECONDS,
}


def format_number(value: float | None, *, digits: int = 4, keep_zeros: bool = False) -> str:
    """A number in as few characters as `digits` significant digits need; integers are exact.

    Args:
        value: any number; NaN and infinities have their names.
        digits: significant digits of a float, 1 to 17; with 17 nothing is lost.
        keep_zeros: show all digits, `0.2110` instead of `0.211`, so that a column of one metric aligns.
    """
    if type(value) is float and not keep_zeros and 1e-3 <= abs(value) < 10 ** (digits - 1):
        # What follows would say the same, at five times the cost.
        return f"{value:.{digits}g}"
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else _in_exponents(float(value), digits, keep_zeros=False)
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -3 <= magnitude < max(digits, 6):
        return _in_exponents(value, digits, keep_zeros=keep_zeros)
    text = f"{value:.{max(digits - 1 - magnitude, 0)}f}"
    return text if keep_zeros else _without_zeros(text)


def format_count(value: float | None) -> str:
    """A count in full, in groups of three: `41,200`."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{round(value):,}"


def format_short_count(value: float | None) -> str:
    """A count in at most five characters for everyday sizes: `950`, `1.2k`, `41k`, `3M`."""
    return _scaled(value, 1000, ("", *_PREFIXES))


def format_bytes(size_bytes: float | None, *, short: bool = False) -> str:
    """A size: `12 B`, `1.5 MiB`, `40 GiB`; with `short` for tight columns `12B`, `1.5M`, `40G`."""
    if short:
        return _scaled(size_bytes, 1024, ("B", *_PREFIXES.upper()))
    return _scaled(size_bytes, 1024, (" B", *(f" {prefix}iB" for prefix in _PREFIXES.upper())))


def format_duration(seconds: float | None) -> str:
    """A length of time in its two largest units: `350ms`, `4.2s`, `41s`, `5m02s`, `2h11m`, `3d04h`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if 0 < seconds < 0.9995:
        return f"{format_number(seconds * 1000, digits=3 if seconds >= 0.01 else 2)}ms"
    if seconds < 9.95:
        return _without_zeros(f"{seconds:.1f}") + "s"
    whole = round(seconds)
    if whole < MINUTE_SECONDS:
        return f"{whole}s"
    if whole < HOUR_SECONDS:
        return f"{whole // MINUTE_SECONDS}m{whole % MINUTE_SECONDS:02}s"
    if whole < DAY_SECONDS:
        return f"{whole // HOUR_SECONDS}h{whole % HOUR_SECONDS // MINUTE_SECONDS:02}m"
    return f"{whole // DAY_SECONDS}d{whole % DAY_SECONDS // HOUR_SECONDS:02}h"


def format_clock(seconds: float | None) -> str:
    """A length of time as hours and minutes, `02:11`, for columns of equal width."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    minutes = int(abs(seconds)) // MINUTE_SECONDS
    return f"{'-' if seconds <= -MINUTE_SECONDS else ''}{minutes // 60:02}:{minutes % 60:02}"


def format_age(seconds: float | None) -> str:
    """How long ago something was: `now`, `41 s`, `12 min`, `2 h`, `1 d`, `5 mo`, `2 y`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 10:
        # Also what a clock ahead of ours gives, a negative age.
        return "now"
    for limit, unit_seconds, unit in (
        (MINUTE_SECONDS, 1, "s"),
        (HOUR_SECONDS, MINUTE_SECONDS, "min"),
        (DAY_SECONDS, HOUR_SECONDS, "h"),
        (60 * DAY_SECONDS, DAY_SECONDS, "d"),
        (730 * DAY_SECONDS, 30.44 * DAY_SECONDS, "mo"),
    ):
        if seconds < limit:
            return f"{int(seconds // unit_seconds)} {unit}"
    return f"{int(seconds // (365.25 * DAY_SECONDS))} y"


def format_time(epoch_seconds: float | None) -> str:
    """A moment in the reader's own time zone, to the minute: `2026-03-01 19:04`."""
    if epoch_seconds is None:
        return UNKNOWN
    try:
        return datetime.fromtimestamp(epoch_seconds).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        # A stored number that is no time of this era.
        return UNKNOWN


def parse_number(text: str) -> float:
    """The number that was typed: `64`, `1e-3`, `10k`, `nan`, `-inf`.

    Raises:
        UsageError: not a number.
    """
    value = _suffixed(text, _THOUSANDS)
    if value is None:
        raise UsageError(f"`{text}` is not a number", hint="write one like `64`, `1e-3` or `10k`")
    return value


def parse_count(text: str) -> int:
    """The whole number, 0 or more, that was typed: `64`, `10k`.

    Raises:
        UsageError: not a number, negative, or with a fraction left.
    """
    value = _suffixed(text, _THOUSANDS)
    if value is None or not math.isfinite(value) or value < 0 or value != int(value):
        raise UsageError(f"`{text}` is not a whole number of 0 or more", hint="write one like `64` or `10k`")
    return int(value)


def parse_bytes(text: str) -> int:
    """The size in bytes that was typed: `4096`, `500M`, `40G`, `1.5 GiB`, `40GB`; prefixes are powers of 1024.

    Raises:
        UsageError: not a size, or negative.
    """
    value = _as_bytes(text)
    if value is None or not math.isfinite(value) or value < 0:
        raise UsageError(f"`{text}` is not a size", hint="write a number of bytes, or one like `500M` or `40G`")
    return round(value)


def parse_duration(text: str) -> float:
    """The seconds that were typed: `90`, `90s`, `2h`, `30d`, `1h30m`, `12 min`, `1:30:00` (hours first).

    Raises:
        UsageError: not a length of time, or negative.
    """
    value = _as_seconds(text)
    if value is None or not math.isfinite(value) or value < 0:
        raise UsageError(f"`{text}` is not a length of time", hint="write one like `90s`, `30m`, `2h` or `7d`")
    return value


def parse_quantity(text: str, *, in_bytes: bool = False) -> float | None:
    """Whatever number a value of a query means, or None when it is none.

    Args:
        text: a number, a number with a prefix (`10k`), a size (`40GiB`) or a duration (`2h`).
        in_bytes: the quantity compared with is a size, so that `40G` counts in 1024s.

    Returns:
        The number; a duration in seconds, a size in bytes.
    """
    for value in (_as_bytes(text) if in_bytes else _suffixed(text, _THOUSANDS), _as_seconds(text)):
        if value is not None:
            return value
    return None if in_bytes else _as_bytes(text)


def _suffixed(text: str, factors: dict[str, int]) -> float | None:
    text = text.strip()
    if text.lower() in _NON_FINITE:
        return _NON_FINITE[text.lower()]
    match = _NUMBER_WITH_SUFFIX.fullmatch(text)
    if match is None or match.group(2) not in factors:
        return None
    return float(match.group(1)) * factors[match.group(2)]


def _as_bytes(text: str) -> float | None:
    text = text.strip()
    if text.lower() in _NON_FINITE:
        return _NON_FINITE[text.lower()]
    match = _NUMBER_WITH_SUFFIX.fullmatch(text)
    if match is None:
        return None
    unit = match.group(2).upper()
    prefix = unit.removesuffix("B").removesuffix("I")
    if unit not in (prefix, prefix + "B", prefix + "IB") or (prefix and prefix not in _BINARY_PREFIXES):
        return None
    return float(match.group(1)) * _BINARY_PREFIXES.get(prefix, 1)


def _as_seconds(text: str) -> float | None:
    text = text.strip()
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        hours, minutes, seconds = clock.groups(default="0")
        return float(int(hours) * HOUR_SECONDS + int(minutes) * MINUTE_SECONDS) + float(seconds)
    if re.fullmatch(_NUMBER, text, re.ASCII):
        return float(text)
    total = 0.0
    position = 0
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None or part.group(2) not in _SECONDS:
            return None
        total += float(part.group(1)) * _SECONDS[part.group(2)]
        position = part.end()
    return total if text else None


def _scaled(value: float | None, base: int, units: tuple[str, ...]) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    power, size = 0, float(value)
    # 999.5 would be rounded to a fourth digit, so it is the next unit's already.
    while abs(size) >= base - 0.5 and power < len(units) - 1:
        size, power = size / base, power + 1
    number = f"{size:.1f}" if power and abs(size) < 9.95 else f"{size:.0f}"
    return _without_zeros(number) + units[power]


def _in_exponents(value: float, digits: int, *, keep_zeros: bool) -> str:
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa if keep_zeros else _without_zeros(mantissa)}e{int(exponent)}"


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
