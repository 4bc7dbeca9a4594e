"""Keep what is no number: images, texts, histograms, tables, and files of any size.

Standard library only, Python 3.9. In the run's live folder `media/<rank>-<pid>.jsonl` has one line for each thing, its
bytes lie beside it: `<sha256>` for what is looked at, `file-<pid>-<n>` for files, which are hashed when the run is
committed. The bytes come first and by rename, so a line never names half a file, and once a call has returned, what it
kept survives the death of the process.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from . import images  # noqa: TID252
    from .copying import NotAFile, copy_file  # noqa: TID252
    from .journal import json_value, shorten  # noqa: TID252
else:
    # Run by path: the folder of this file is on `sys.path`.
    import images
    from copying import NotAFile, copy_file
    from journal import json_value, shorten

LARGEST_BYTES = 16 << 20
"""Of one image."""

LARGEST_TEXT_BYTES = 4 << 20
"""Of one text, table or histogram."""

LARGEST_ROWS, LARGEST_COLUMNS, LARGEST_BINS = 10_000, 256, 1_000
"""Of a table, and of a histogram."""

LARGEST_NAME = 200
"""Characters of a name."""

LARGEST_FOLDER = 1_000
"""Files of one folder that is kept."""

LARGEST_PATH = 1_000
"""Bytes of a path in such a folder."""

LINES_BYTES = 4 << 20
"""Of the lines of one process; readers take no more."""

KEPT_BYTES = 1 << 30
"""Of all images, texts, tables and histograms of one process together."""

JSON = "application/json"


class Refusal(Exception):
    """Something is not kept; the message goes on after its name."""


class MediaWriter:
    """The media of this process. Thread-safe; after a fork the child writes lines of its own.

    Args:
        directory: the run's live folder.
        rank: rank of the process among those of the run.
    """

    def __init__(self, directory: str, rank: int) -> None:
        self.directory = os.path.join(directory, "media")
        self.rank = rank
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        # A new lock, since after a fork the old one may be held by a thread that the child does not have.
        self._lock = threading.RLock()
        self._kept = 0
        self._number = 0
        self._files: dict[str, list[str]] = {}

    def _alone(self) -> threading.RLock:
        """The lock of this process."""
        if self._pid != os.getpid():
            self._start_over()
        return self._lock

    def image(self, name: str, image: Any, step: int | None) -> None:
        """Keep an image as PNG or JPEG.

        Raises:
            Refusal: it is none, or there is no room for it.
            OSError: the disk refused.
        """
        try:
            content, kind = images.encode(image, LARGEST_BYTES)
        except images.NoImage as error:
            raise Refusal(str(error)) from None
        self._keep("image", name, content, kind, step)

    def text(self, name: str, text: Any, step: int | None) -> None:
        """Keep a text; raises as `image`."""
        content = str(text).encode("utf-8", "replace")
        self._keep("text", name, content, "text/plain", step)

    def histogram(self, name: str, values: Any, step: int | None, bins: int) -> None:
        """Keep how often values occur; raises as `image`."""
        if not isinstance(bins, int) or not 1 <= bins <= LARGEST_BINS:
            raise Refusal(f"has {shorten(repr(bins))} bins, and a histogram has 1 to {LARGEST_BINS:,}")
        self._keep("histogram", name, _json(histogram_of(values, bins)), JSON, step)

    def table(self, name: str, rows: Any, columns: Any, step: int | None) -> None:
        """Keep a table; raises as `image`."""
        self._keep("table", name, _json(table_of(rows, columns)), JSON, step)

    def artifact(self, path: Any, name: str | None) -> None:
        """Keep a copy of a file, or of the files of a folder; of one name the last counts.

        Raises:
            Refusal: it is neither, or too many files, or its name is no name.
            OSError: it cannot be read, or there is too little room; nothing of it is kept.
        """
        source = os.path.abspath(os.fspath(path))
        name = os.path.basename(source) if name is None else name
        if not isinstance(name, str) or not 0 < len(name) <= LARGEST_NAME or "/" in name or "\0" in name:
            raise Refusal(f"has a name that is none: 1 to {LARGEST_NAME} characters without `/`; give `name=`")
        if name in (".", ".."):
            raise Refusal("has a name that is none; give `name=`")
        found = [("", source)] if not os.path.isdir(source) else list(_files_below(source))
        if not found:
            raise Refusal("is a folder without a file")
        with self._alone():
            self._make_directory()
            made: list[str] = []
            files: list[dict[str, Any]] = []
            try:
                for inner, file in found:
                    self._number += 1
                    target = f"file-{os.getpid()}-{self._number}"
                    try:
                        size = copy_file(file, os.path.join(self.directory, target))
                    except NotAFile:
                        if inner:
                            continue
                        raise Refusal("is neither a file nor a folder") from None
                    made.append(target)
                    files.append({"path": inner, "size": size, "file": target})
                self._write_line({"kind": "artifact", "name": name, "time": time.time(), "files": files})
            except BaseException:
                self._remove(made)
                raise
            self._remove(self._files.get(name, ()))
            self._files[name] = made

    def _keep(self, kind: str, name: str, content: bytes, media: str, step: int | None) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= LARGEST_NAME:
            raise Refusal(f"is no name: a name is text of 1 to {LARGEST_NAME} characters")
        largest = LARGEST_BYTES if kind == "image" else LARGEST_TEXT_BYTES
        if len(content) > largest:
            raise Refusal(
                f"is a {kind} of {len(content):,} bytes, and at most {largest:,} are kept; keep a part, or the file "
                "with `log_artifact`"
            )
        digest = hashlib.sha256(content).hexdigest()
        with self._alone():
            if self._kept + len(content) > KEPT_BYTES:
                raise Refusal(f"is not kept: this process has logged {KEPT_BYTES >> 30} GiB of media; log fewer")
            self._make_directory()
            path = os.path.join(self.directory, digest)
            if not os.path.exists(path):
                self._number += 1
                _write_whole(path, f"{path[: -len(digest)]}.{os.getpid()}-{self._number}", content)
                self._kept += len(content)
            line = {"kind": kind, "name": name, "step": step, "time": time.time(), "rank": self.rank}
            self._write_line({**line, "type": media, "size": len(content), "sha256": digest})

    def _make_directory(self) -> None:
        # Only the last folder: when the run's own directory is gone, the run is over and must not come back as a ghost.
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            pass

    def _write_line(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line) + "\n").encode("ascii")
        path = os.path.join(self.directory, f"{self.rank}-{os.getpid()}.jsonl")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size + len(data) > LINES_BYTES:
                raise Refusal("is not kept: this process has logged as many media as a run takes; log fewer")
            if os.write(descriptor, data) < len(data):
                os.ftruncate(descriptor, size)
                raise OSError(28, "the disk is full")
        finally:
            os.close(descriptor)

    def _remove(self, names: Any) -> None:
        for name in names:
            try:
                os.unlink(os.path.join(self.directory, name))
            except OSError:
                pass


def _write_whole(path: str, temporary: str, content: bytes) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _files_below(folder: str) -> Iterator[tuple[str, str]]:
    """(path below the folder, path) of its files in order; links to files count as files, to folders as nothing."""
    count = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            if not os.path.isfile(path):
                continue
            count += 1
            if count > LARGEST_FOLDER:
                raise Refusal(f"has over {LARGEST_FOLDER:,} files; pack it into one (`tar`) and keep that")
            inner = os.path.relpath(path, folder)
            if len(os.fsencode(inner)) > LARGEST_PATH:
                raise Refusal(
                    f"holds a path of over {LARGEST_PATH:,} bytes; pack it into one file (`tar`) and keep that"
                )
            yield inner, path


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def table_of(rows: Any, columns: Any = None) -> dict[str, Any]:
    """`{"columns": [..], "rows": [[..]]}` of a list of dicts or of lists, or of a data frame.

    Raises:
        Refusal: it is neither, or too large.
    """
    if hasattr(rows, "columns") and hasattr(rows, "values") and not isinstance(rows, Mapping):  # pandas
        _check_rows(len(rows))
        columns = [str(column) for column in rows.columns] if columns is None else columns
        rows = rows.values.tolist()
    if hasattr(rows, "tolist"):
        _check_rows(len(rows))
        rows = rows.tolist()
    if isinstance(rows, (str, bytes, Mapping)) or not hasattr(rows, "__len__") or not hasattr(rows, "__iter__"):
        raise Refusal(f"is a {type(rows).__name__}, and a table is a list of dicts or of lists")
    _check_rows(len(rows))
    rows = list(rows)
    if columns is None:
        named: dict[str, None] = {}
        width = 0
        for row in rows:
            if isinstance(row, Mapping):
                named.update((str(key), None) for key in row)
            elif isinstance(row, (list, tuple)):
                width = max(width, len(row))
        columns = list(named) if named else [str(number) for number in range(width)]
    columns = [str(column) for column in columns]
    if len(columns) > LARGEST_COLUMNS:
        raise Refusal(f"has {len(columns):,} columns, and a table has at most {LARGEST_COLUMNS}; log a part of it")
    listed: list[list[Any]] = []
    for row in rows:
        if isinstance(row, Mapping):
            texts = {str(key): value for key, value in row.items()}
            listed.append([_cell(texts.get(column)) for column in columns])
        elif isinstance(row, (list, tuple)) and len(row) <= len(columns):
            listed.append([*map(_cell, row), *[None] * (len(columns) - len(row))])
        elif isinstance(row, (list, tuple)):
            raise Refusal(f"has a row of {len(row):,} values for {len(columns):,} columns")
        else:
            raise Refusal(f"has a row of type {type(row).__name__}, and a row is a dict or a list")
    return {"columns": columns, "rows": listed}


def _check_rows(count: int) -> None:
    if count > LARGEST_ROWS:
        raise Refusal(
            f"has {count:,} rows, and a table has at most {LARGEST_ROWS:,}; log a part of it, or keep the file with "
            "`log_artifact`"
        )


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return json_value(value)
    try:
        if callable(getattr(value, "item", None)):
            value = value.item()
    except Exception:
        pass
    return json_value(value, 2)


def histogram_of(values: Any, bins: int) -> dict[str, Any]:
    """Edges, one more than `counts`, and what is not finite apart.

    Raises:
        Refusal: they are no numbers.
    """
    if hasattr(values, "detach"):  # PyTorch
        values = values.detach().cpu()
        if str(values.dtype).endswith("bfloat16"):
            values = values.float()
    if hasattr(values, "__array__"):
        if "numpy" in sys.modules:
            return _histogram_of_array(values, bins)
        values = values.tolist()
    flat: list[float] = []
    try:
        _flatten(values, flat, 8)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Refusal(f"holds what is no number ({shorten(str(error))}); a histogram is made of numbers") from None
    finite = [value for value in flat if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    half = high / 2 - low / 2
    counts = [0] * bins
    if half > 0:
        for value in finite:
            counts[min(int((value / 2 - low / 2) / half * bins), bins - 1)] += 1
    mean = math.fsum(value / len(finite) for value in finite) if finite else None
    apart = [sum(map(math.isnan, flat)), flat.count(math.inf), flat.count(-math.inf)]
    return _histogram(low, high, half, counts, len(finite), mean, apart)


def _flatten(values: Any, flat: list[float], depth: int) -> None:
    for value in values:
        if isinstance(value, (list, tuple)) and depth:
            _flatten(value, flat, depth - 1)
        elif isinstance(value, (str, bytes)):
            raise TypeError("text")
        else:
            flat.append(float(value))


def _histogram_of_array(values: Any, bins: int) -> dict[str, Any]:
    numpy: Any = sys.modules["numpy"]
    array = numpy.asarray(values)
    if array.dtype.kind not in "fiub":
        raise Refusal(f"holds values of type {array.dtype}, and a histogram is made of numbers")
    array = array.ravel().astype(numpy.float64)
    finite = array[numpy.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    half = high / 2 - low / 2
    counts = [0] * bins
    if half > 0:
        places = numpy.minimum(((finite / 2 - low / 2) / half * bins).astype(numpy.int64), bins - 1)
        counts = numpy.bincount(places, minlength=bins).tolist()
    mean = float((finite / finite.size).sum()) if finite.size else None
    apart = [int(numpy.isnan(array).sum()), int((array == math.inf).sum()), int((array == -math.inf).sum())]
    return _histogram(low, high, half, counts, int(finite.size), mean, apart)


def _histogram(
    low: float, high: float, half: float, counts: list[int], count: int, mean: float | None, apart: list[int]
) -> dict[str, Any]:
    bins = len(counts)
    if count == 0:
        edges, counts = [], []
    elif half > 0:
        edges = [low * (1 - place / bins) + high * (place / bins) for place in range(bins + 1)]
    else:  # All are equal.
        edges, counts = [low, high], [count]
    return {
        "edges": edges,
        "counts": counts,
        "count": count,
        "min": low if count else None,
        "max": high if count else None,
        "mean": mean,
        "nan": apart[0],
        "infinity": apart[1],
        "minus_infinity": apart[2],
    }
