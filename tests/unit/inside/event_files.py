"""Event files made of plain bytes, for tests that need one of a certain form.

The reader's own check is used; that it is the right one is known from the files in `tests/data/event_files`.
"""

from __future__ import annotations

import struct

from dstui.inside.events import masked_crc


def varint(number: int) -> bytes:
    number &= 0xFFFFFFFFFFFFFFFF
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def record(body: bytes) -> bytes:
    length = struct.pack("<Q", len(body))
    return length + struct.pack("<I", masked_crc(length)) + body + struct.pack("<I", masked_crc(body))


def version(time: float) -> bytes:
    """The record that every event file begins with."""
    return record(b"\x09" + struct.pack("<d", time) + field(3, b"brain.Event:2"))


def scalar(tag: str | bytes, value: float, step: int, time: float) -> bytes:
    """The record of one scalar, as PyTorch writes it."""
    name = tag.encode() if isinstance(tag, str) else tag
    summary = field(1, field(1, name) + b"\x15" + struct.pack("<f", value))
    return record(b"\x09" + struct.pack("<d", time) + (b"\x10" + varint(step) if step else b"") + field(5, summary))


def text(size: int, time: float) -> bytes:
    """A record of this many bytes without a scalar."""
    return record(b"\x09" + struct.pack("<d", time) + field(3, b"x" * size))
