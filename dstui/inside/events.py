"""Read the scalars of a TensorBoard event file as it grows.

Standard library only, Python 3.9, run by path or as `dstui.inside.events`.

The file is a row of TFRecords: `u64 length`, `u32` check of these 8 bytes, the body, `u32` check of the body; a check
is CRC-32C, turned and shifted ("masked"). A body is the protocol buffer `Event` (wall_time 1, step 2, summary 5), a
summary is values (1) of tag 1, simple_value 2, tensor 8 and metadata 9. Numbers are the fields of TensorFlow's
`event.proto`, `summary.proto`, `tensor.proto` and TensorBoard's `plugins/hparams/plugin_data.proto`.

A scalar is a `simple_value`, or a tensor of one number that belongs to no plugin but `scalars`. Histograms, images and
text are passed over. What `hparams` keeps of a session's start becomes config.

The check of each length is asked, since nothing can be read behind a wrong one. Of bodies it is asked where a record
may be half there: over a page boundary, or with zeros in place of the check. To ask it everywhere would double the
time.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

    Point = tuple[str, float, int, float]

RECORD_BYTES = 1 << 20
"""A longer record (an image, a graph) is passed over unread."""

BAD_IN_A_ROW = 100
"""After so many unreadable records without a good one, a file is given up."""

NAME_CHARACTERS = 512
"""Longest tag taken."""

NAMES_KEPT = 16_384
"""Tags and lengths remembered; more only cost time."""

PAGE_BYTES = 4096
"""Smallest unit in which a file grows under its reader."""

_SCALARS = b"scalars"
_HPARAMS = b"hparams"
_SESSION_START = b"_hparams_/session_start_info"

_MASK_DELTA = 0xA282EAD8
_LENGTH = struct.Struct("<QI")
_CHECK = struct.Struct("<I")
_FLOAT = struct.Struct("<f")
_DOUBLE = struct.Struct("<d")

_BFLOAT16 = 14
_FORMATS = {
    1: "<f", 2: "<d", 3: "<i", 4: "<B", 5: "<h", 6: "<b", 9: "<q", 10: "<?", 17: "<H", 19: "<e", 22: "<I", 23: "<Q",
}  # fmt: skip
"""How `struct` reads one element of each `DataType` that is a number."""

# One scalar and nothing else: nearly every record of PyTorch (`simple_value`) and TensorFlow 2 (a float tensor of the
# plugin `scalars`). Its lengths are compared afterwards.
_PLAIN = re.compile(
    rb"\x09(.{8})(?:\x10([\x80-\xff]{0,9}[\x00-\x7f]))?\x2a([\x00-\x7f])\x0a([\x00-\x7f])\x0a([\x00-\x7f])(.*)"
    rb"(\x15(.{4})|\x42\x0a\x08\x01\x12\x00\x22\x04(.{4})\x4a\x0b\x0a\x09\x0a\x07scalars)",
    re.DOTALL,
).fullmatch


class EventError(ValueError):
    """A file that is no event file, or is damaged for good."""


class EventReader:
    """Takes an event file in pieces and hands on what it says. Not thread-safe.

    Args:
        point: gets name, value, step and time (seconds since the epoch) of each scalar.
        config: gets the settings of a session, flat.
        start: what lies before this byte is passed over.
        since: a file that began before this time is an earlier run's; its events from then are passed over.

    Attributes:
        bad: records that could not be read.
    """

    largest = RECORD_BYTES + _LENGTH.size + _CHECK.size
    """A piece of so many bytes lets the reader go on."""

    def __init__(
        self,
        point: Callable[[str, float, int, float], None],
        config: Callable[[dict[str, Any]], None],
        start: int = 0,
        since: float = 0.0,
    ) -> None:
        self.bad = 0
        self._point = point
        self._config = config
        self._start = start
        self._since = since
        # Events up to `_after` are known; `_latest` is the newest one handed on.
        self._after: float | None = None
        self._latest = 0.0
        self._pass_over = 0
        self._bad_in_a_row = 0
        self._lengths: dict[bytes, int] = {}
        self._names: dict[bytes, str] = {}
        self._plugins: dict[bytes, bytes] = {}

    def restart(self) -> None:
        """The file is read again from its start: what it said before is not said twice."""
        self._start = self._pass_over = 0
        self._after = self._latest

    def forget(self) -> None:
        """The same; events have times, so nothing else tells them apart."""
        self.restart()

    def take(self, data: bytes, place: int, *, last: bool = False) -> int:
        """Read the whole records of a piece; returns how many bytes are done with.

        Args:
            data: the file's bytes from `place` on, as far as they are there; what was not done with comes again.
            place: where in the file they lie.
            last: nothing comes any more; a torn record stays unread all the same.

        Raises:
            EventError: there is no use in going on.
        """
        here, end = min(self._pass_over, len(data)), len(data)
        self._pass_over -= here
        lengths = self._lengths
        while end - here >= 12:
            head = data[here : here + 12]
            length = lengths.get(head)
            if length is None:
                length = self._read_length(head)
                if length is None:
                    # Perhaps it is not written yet: a file of a network may grow before its content.
                    self._miss()
                    break
            after = here + length + 16
            if length > RECORD_BYTES:
                self._pass_over = max(0, after - end)
                here = min(after, end)
                continue
            if after > end:
                break
            if place + here >= self._start:
                body = data[here + 12 : after - 4]
                check = data[after - 4 : after]
                in_one_page = (place + here) // PAGE_BYTES == (place + after - 1) // PAGE_BYTES
                if (in_one_page and check != b"\0\0\0\0") or masked_crc(body) == _CHECK.unpack(check)[0]:
                    try:
                        points = self._read_event(body)
                    except (ValueError, struct.error, IndexError, TypeError, AttributeError):
                        self._miss()
                    else:
                        self._bad_in_a_row = 0
                        if points:
                            self._hand_on(points)
                else:
                    self._miss()
            here = after
        return here

    def _hand_on(self, points: list[Point]) -> None:
        time = points[0][3]
        if self._after is None or time > self._after:
            self._latest = max(self._latest, time)
            for point in points:
                self._point(*point)

    def _miss(self) -> None:
        self.bad += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= BAD_IN_A_ROW:
            raise EventError(f"{self._bad_in_a_row} records in a row are unreadable")

    def _read_length(self, head: bytes) -> int | None:
        length, check = _LENGTH.unpack(head)
        if masked_crc(head[:8]) != check:
            return None
        if len(self._lengths) < NAMES_KEPT:
            self._lengths[head] = length
        return int(length)

    def _read_event(self, body: bytes) -> list[Point]:
        """The scalars of an event. What it raises for one that is damaged may be any error of a wrong value."""
        plain = _PLAIN(body)
        if plain is not None:
            at, step, of_summary, of_value, of_tag, tag, rest, simple, tensor = plain.groups()
            size = len(tag) + 2 + len(rest)
            if of_tag[0] == len(tag) and of_value[0] == size and of_summary[0] == size + 2:
                number = 0 if step is None else step[0] if len(step) == 1 else _signed(_varint(step, 0)[0])
                return [(self._name(tag), _FLOAT.unpack(simple or tensor)[0], number, _DOUBLE.unpack(at)[0])]
        time, step, summaries = 0.0, 0, []
        for field, content in _fields(body):
            if field == 1 and isinstance(content, bytes):
                (time,) = _DOUBLE.unpack(content)
            elif field == 2 and isinstance(content, int):
                step = _signed(content)
            elif field == 5 and isinstance(content, bytes):
                summaries.append(content)
        points: list[Point] = []
        if self._after is None:
            # The first event of a file, which has no scalar, tells when it began.
            self._after = self._since if time < self._since else 0.0
        for summary in summaries:
            for field, content in _fields(summary):
                if field == 1 and isinstance(content, bytes):
                    named = self._read_value(content)
                    if named is not None:
                        points.append((*named, step, time))
        return points

    def _read_value(self, content: bytes) -> tuple[str, float] | None:
        parts: dict[int, Any] = dict(_fields(content))
        tag = parts.get(1, b"")
        if 9 in parts:
            plugin, details = _plugin(parts[9])
            if len(self._plugins) < NAMES_KEPT:
                self._plugins[tag] = plugin
            if plugin == _HPARAMS:
                if tag == _SESSION_START:
                    self._config(_session_settings(details))
                return None
        value = None
        if 2 in parts:
            (value,) = _FLOAT.unpack(parts[2])
        # Writers give the metadata of a tag once or each time.
        elif 8 in parts and self._plugins.get(tag, _SCALARS) == _SCALARS:
            value = _only_number(parts[8])
        return None if value is None else (self._name(tag), value)

    def _name(self, tag: bytes) -> str:
        name = self._names.get(tag)
        if name is None:
            name = tag.decode("utf-8", "replace")
            if not name or len(name) > NAME_CHARACTERS:
                raise ValueError("a tag without a name, or an endless one")
            if len(self._names) < NAMES_KEPT:
                self._names[tag] = name
        return name


def masked_crc(data: bytes) -> int:
    """The check word of a TFRecord."""
    table = _TABLE or _make_table()
    check = 0xFFFFFFFF
    for byte in data:
        check = table[(check ^ byte) & 0xFF] ^ (check >> 8)
    check ^= 0xFFFFFFFF
    return ((check >> 15 | check << 17) + _MASK_DELTA) & 0xFFFFFFFF


_TABLE: list[int] = []


def _make_table() -> list[int]:
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        _TABLE.append(number)
    return _TABLE


def _varint(data: bytes, here: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while True:
        byte = data[here]
        here += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, here
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and content of each field of a message.

    Raises:
        ValueError: it is no message.
        IndexError: likewise.
    """
    here, end = 0, len(data)
    while here < end:
        key, here = _varint(data, here)
        kind = key & 7
        if kind == 0:
            value, here = _varint(data, here)
            yield key >> 3, value
            continue
        if kind == 2:
            size, here = _varint(data, here)
        elif kind == 1:
            size = 8
        elif kind == 5:
            size = 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if not key >> 3 or size > end - here:
            raise ValueError("a field that ends behind its message")
        yield key >> 3, data[here : here + size]
        here += size


def _plugin(metadata: bytes) -> tuple[bytes, bytes]:
    """Name and details in the metadata of a value."""
    parts: dict[int, Any] = dict(_fields(dict(_fields(metadata)).get(1, b"")))  # type: ignore[arg-type]
    return parts.get(1, b""), parts.get(2, b"")


def _only_number(tensor: bytes) -> float | None:
    """The one number of a tensor, or None when it holds something else."""
    kind, content = 0, b""
    numbers: list[float] = []
    for field, value in _fields(tensor):
        if field == 1 and isinstance(value, int):
            kind = value
        elif field == 2 and isinstance(value, bytes):
            if _elements(value) != 1:
                return None
        elif field == 4 and isinstance(value, bytes):
            content = value
        elif field in (5, 6) and isinstance(value, bytes):
            numbers += [number for (number,) in struct.iter_unpack("<f" if field == 5 else "<d", value)]
        elif field in (7, 10, 11, 13, 16, 17):
            numbers += _whole_numbers(value, field, kind)
    if kind not in _FORMATS and kind != _BFLOAT16:
        return None
    if content:
        if kind == _BFLOAT16:
            return _upper_half(int.from_bytes(content, "little")) if len(content) == 2 else None
        form = _FORMATS[kind]
        return float(struct.unpack(form, content)[0]) if len(content) == struct.calcsize(form) else None
    # A tensor without any is one of zeros.
    return float((numbers or [0.0])[0]) if len(numbers) < 2 else None


def _elements(shape: bytes) -> int:
    count = 1
    for field, dimension in _fields(shape):
        if field == 2 and isinstance(dimension, bytes):
            size = dict(_fields(dimension)).get(1, 0)
            count *= size if isinstance(size, int) else 0
    return count


def _whole_numbers(value: int | bytes, field: int, kind: int) -> list[float]:
    """Numbers stored as integers: in a field each, or packed into one."""
    found: list[int] = []
    if isinstance(value, int):
        found.append(value)
    else:
        here = 0
        while here < len(value):
            number, here = _varint(value, here)
            found.append(number)
    if field == 13:
        return [_upper_half(n) if kind == _BFLOAT16 else struct.unpack("<e", struct.pack("<H", n))[0] for n in found]
    return [float(n if field in (16, 17) else _signed(n)) for n in found]


def _upper_half(bits: int) -> float:
    """The float32 whose upper half these bits are."""
    return float(_FLOAT.unpack(_CHECK.pack(bits << 16 & 0xFFFFFFFF))[0])


def _session_settings(details: bytes) -> dict[str, Any]:
    """The settings in what the plugin `hparams` keeps of a session's start."""
    settings: dict[str, Any] = {}
    for field, start in _fields(details):
        if field != 3 or not isinstance(start, bytes):
            continue
        for number, entry in _fields(start):
            if number == 1 and isinstance(entry, bytes):
                pair: dict[int, Any] = dict(_fields(entry))
                name = pair.get(1, b"").decode("utf-8", "replace")
                if 0 < len(name) <= NAME_CHARACTERS:
                    settings[name] = _setting(pair.get(2, b""))
    return settings


def _setting(value: bytes) -> Any:
    """A `google.protobuf.Value`; integers, which it lacks, come back as such."""
    for field, content in _fields(value):
        if field == 2 and isinstance(content, bytes):
            (number,) = _DOUBLE.unpack(content)
            return int(number) if number.is_integer() and abs(number) <= 1 << 53 else number
        if field == 3 and isinstance(content, bytes):
            return content.decode("utf-8", "replace")
        if field == 4:
            return bool(content)
    return None
