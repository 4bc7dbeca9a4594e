"""Turn what a script calls an image into the bytes of a PNG or JPEG file.

Standard library only, Python 3.9: NumPy, PyTorch, PIL and matplotlib are used only as far as the image itself brings
them along. PNG is written with zlib.
"""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import sys
import zlib
from typing import Any

PNG = "image/png"
JPEG = "image/jpeg"

LARGEST_PIXELS = 50_000_000
"""Of one image; more is a file, not something to look at."""

TOLERANCE = 0.1
"""How far floats may lie outside of 0..1 and are cut there; further out they are in another unit."""

_MAGIC = ((b"\x89PNG\r\n\x1a\n", PNG), (b"\xff\xd8\xff", JPEG))
_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour type by number of channels."""


class NoImage(Exception):
    """Something is no image; the message goes on after its name."""


def encode(image: Any, largest_bytes: int) -> tuple[bytes, str]:
    """The image as a file: (content, media type).

    Raises:
        NoImage: it is none, or too large.
    """
    if isinstance(image, (str, os.PathLike)):
        content = _read(os.fspath(image), largest_bytes)
    elif isinstance(image, (bytes, bytearray, memoryview)):
        content = bytes(image)
    else:
        content = _encoded(image)
    if len(content) > largest_bytes:
        raise NoImage(
            f"is an image of {len(content):,} bytes, and at most {largest_bytes:,} are kept; make it smaller, or keep "
            "the file with `log_artifact`"
        )
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return content, kind
    raise NoImage("is neither a PNG nor a JPEG; give a path or bytes of one, or an array")


def _read(path: Any, largest_bytes: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NoImage(f"is a file that cannot be read: {reason}") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NoImage("is a path to something that is no file")
        return file.read(largest_bytes + 1)


def _encoded(image: Any) -> bytes:
    if hasattr(image, "savefig"):  # matplotlib
        buffer = io.BytesIO()
        image.savefig(buffer, format="png")
        return buffer.getvalue()
    if hasattr(image, "save") and hasattr(image, "convert") and hasattr(image, "mode"):  # PIL
        buffer = io.BytesIO()
        usual = ("1", "L", "LA", "I", "P", "RGB", "RGBA")
        (image if image.mode in usual else image.convert("RGB")).save(buffer, format="PNG")
        return buffer.getvalue()
    planes_first = False
    if hasattr(image, "detach"):  # PyTorch
        image = image.detach().cpu()
        planes_first = len(image.shape) == 3
    shape = getattr(image, "shape", None)
    if isinstance(shape, tuple):
        shape = tuple(int(side) for side in shape)
        _check_shape(shape, planes_first)
    if "numpy" in sys.modules and isinstance(shape, tuple):
        array = _array(image)
        if array is not None:
            return _png_of_array(array.transpose(1, 2, 0) if planes_first else array)
    rows = image.tolist() if hasattr(image, "tolist") else image
    if planes_first:
        rows = [list(zip(*lines)) for lines in zip(*rows)]
    return _png_of_rows(rows)


def _check_shape(shape: tuple[int, ...], planes_first: bool) -> None:
    if planes_first:
        shape = (*shape[1:], shape[0])
    good = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if not good or 0 in shape:
        wanted = "(1, H, W), (3, H, W) or (4, H, W)" if planes_first else "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        found = (shape[-1], *shape[:-1]) if planes_first else shape
        raise NoImage(f"has the shape {found}, and an image has {wanted}; log one image at a time")
    if shape[0] * shape[1] > LARGEST_PIXELS:
        raise NoImage(
            f"has {shape[0]:,} x {shape[1]:,} pixels, and at most {LARGEST_PIXELS:,} are kept; make it smaller"
        )


def _array(image: Any) -> Any:
    """The image as an array of NumPy, None where it does not become one."""
    numpy: Any = sys.modules["numpy"]
    try:
        if str(getattr(image, "dtype", "")).endswith("bfloat16"):
            image = image.float() if hasattr(image, "float") else image.astype("float32")
        return numpy.asarray(image)
    except Exception:
        return None


def _png_of_array(array: Any) -> bytes:
    numpy: Any = sys.modules["numpy"]
    kind = array.dtype.kind
    if kind == "b":
        array = array.astype(numpy.uint8) * numpy.uint8(255)
    elif kind == "f":
        known = numpy.nan_to_num(array.astype(numpy.float32), nan=0.0, posinf=1.0, neginf=0.0)
        _check_range(float(known.min()), float(known.max()), -TOLERANCE, 1 + TOLERANCE)
        array = (known.clip(0, 1) * 255 + 0.5).astype(numpy.uint8)
    elif kind in "iu":
        _check_range(int(array.min()), int(array.max()), 0, 255)
        array = array.astype(numpy.uint8)
    else:
        raise NoImage(f"is an array of {array.dtype}, and an image holds numbers")
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    lines = array.reshape(height, width * channels)
    filtered = numpy.empty((height, 1 + width * channels), numpy.uint8)
    # Filter 2: each line as its difference to the one above, which zlib packs far better.
    filtered[:, 0] = 2
    filtered[0, 1:] = lines[0]
    filtered[1:, 1:] = lines[1:] - lines[:-1]
    return _png(width, height, channels, filtered.tobytes())


def _png_of_rows(rows: Any) -> bytes:
    """The same of rows of numbers, or of rows of pixels that are 1, 3 or 4 numbers."""
    try:
        height, width = len(rows), len(rows[0])
        first = rows[0][0]
        channels = len(first) if isinstance(first, (list, tuple)) else 1
        _check_shape((height, width, channels), False)
        flat = [
            [part for pixel in row for part in (pixel if isinstance(pixel, (list, tuple)) else (pixel,))]
            for row in rows
        ]
        if any(len(row) != width * channels for row in flat):
            raise NoImage("has rows of different lengths")
        if any(isinstance(part, float) for row in flat for part in row):
            numbers = [0.0 if math.isnan(part) else float(part) for row in flat for part in row]
            finite = [part for part in numbers if math.isfinite(part)] or [0.0]
            _check_range(min(finite), max(finite), -TOLERANCE, 1 + TOLERANCE)
            flat = [[_byte(part) for part in row] for row in flat]
        elif all(isinstance(part, bool) for row in flat for part in row):
            flat = [[255 * part for part in row] for row in flat]
        else:
            _check_range(min(map(min, flat)), max(map(max, flat)), 0, 255)
        return _png(width, height, channels, b"".join(b"\0" + bytes(row) for row in flat))
    except (TypeError, IndexError, KeyError, ValueError):
        raise NoImage(
            f"is of type {type(rows).__name__}, which is no image; give a path, the bytes of a PNG or JPEG, a PIL "
            "image, an array or a tensor"
        ) from None


def _byte(part: float) -> int:
    return 0 if math.isnan(part) else int(min(max(part, 0.0), 1.0) * 255 + 0.5)


def _check_range(low: float, high: float, least: float, most: float) -> None:
    if low < least or high > most:
        unit = "0 to 255" if isinstance(low, int) else "0 to 1"
        kind = "integers" if isinstance(low, int) else "floats"
        raise NoImage(f"has values from {low:g} to {high:g}, and {kind} of an image go from {unit}; scale it first")


def _png(width: int, height: int, channels: int, filtered: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered, 6)), (b"IEND", b""))
    return _MAGIC[0][0] + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
