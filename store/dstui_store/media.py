"""Media of a run: images, texts, histograms and tables, and the files that a script kept.

In the live folder they are lines in `media/*.jsonl` with their bytes beside them, which any process of the run may
write, so every line is taken as it may be. In a commit `media.json` lists the media; the bytes of small ones stand one
after another in `media.bin`, those of others in `cas/`. Bytes are handed on and never decoded here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui_store import declared
from dstui_store.errors import DamagedError, LimitError, StoreError
from dstui_store.layout import private_folder
from dstui_store.limits import (
    MAX_ARTIFACT_FILES,
    MAX_JSON_BYTES,
    MAX_MEDIA_BYTES,
    MAX_MEDIA_ITEM_BYTES,
    MAX_MEDIA_ITEMS,
    MAX_MEDIA_VALUE_BYTES,
    MAX_PATH_BYTES,
)
from dstui_store.objects import is_git_name, sync_folder
from dstui_store.schema import Json, dump_json

if TYPE_CHECKING:
    from dstui_store.layout import Layout
    from dstui_store.live import LiveRun
    from dstui_store.secrets import Masker

LIST, CONTENT = "media.json", "media.bin"

KINDS = ("image", "text", "histogram", "table")
TYPES = ("image/png", "image/jpeg", "text/plain", "application/json")

MAX_NAME = 200
"""Characters of a name."""

ROOM = MAX_JSON_BYTES - 4_096
"""Bytes of `media.json`, and of `artifacts.json`; the rest is for what the store itself lists there."""

OF_ARTIFACTS, OF_MEDIA = "artifacts/", "media/"
"""What the paths in `artifacts.json` start with that the script's files, and media too big for the commit, have."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LIVE_FILE = re.compile(r"file-[0-9]{1,10}-[0-9]{1,10}")
_LINES = re.compile(r"[0-9]{1,10}-([0-9]{1,10})\.jsonl")


@dataclass(frozen=True)
class MediaItem:
    """One thing that a script kept at one moment. `name` is raw.

    Attributes:
        kind: `image`, `text`, `histogram` or `table`.
        type: media type of its bytes.
        time: seconds since the epoch.
        rank: of the process among those of the run.
        offset: where its bytes start in `media.bin`; None when they are in `cas/`, or the run still goes on.
    """

    name: str
    kind: str
    type: str
    step: int | None
    time: float
    rank: int
    size: int
    sha256: str
    offset: int | None = None

    def to_json(self) -> dict[str, Json]:
        """The item as `media.json` has it."""
        return dict(vars(self))


@dataclass(frozen=True)
class ArtifactFile:
    """One file that a script kept, by itself or in a folder. `name` and `path` are raw.

    Attributes:
        path: below the folder; empty for a file that was kept by itself.
        sha256: None while the run goes on.
        live: its name in the live folder, None in a commit.
    """

    name: str
    path: str
    size: int
    sha256: str | None
    live: str | None = None


def read_live(folder: Path) -> tuple[list[MediaItem], list[ArtifactFile]]:
    """What a live folder holds so far: media in order of time, of each artifact's name the last."""
    items: list[MediaItem] = []
    artifacts: dict[str, tuple[float, list[ArtifactFile]]] = {}
    for path in _line_files(folder):
        for line in declared.objects(path, MAX_MEDIA_ITEMS):
            if line.get("kind") == "artifact":
                found, when = _live_files(line), line.get("time")
                if found and declared.is_time(when):
                    earlier = artifacts.get(found[0].name)
                    if earlier is None or float(when or 0) >= earlier[0]:
                        artifacts[found[0].name] = (float(when or 0), found)
            elif (item := _item({**line, "offset": None})) is not None:
                items.append(item)
    items.sort(key=lambda item: item.time)
    files = [file for _, (_, parts) in sorted(artifacts.items()) for file in parts]
    return items[:MAX_MEDIA_ITEMS], files[:MAX_ARTIFACT_FILES]


def collect(
    run: LiveRun, layout: Layout, files: dict[str, bytes], masker: Masker, trouble: list[str]
) -> list[dict[str, Json]]:
    """Adds `media.json` and `media.bin`; returns what went to `cas/`, as lines of `artifacts.json`.

    What cannot be kept is named in `trouble`, and the rest is kept.
    """
    if not (run.folder / "media").is_dir():
        return []
    items, artifacts = read_live(run.folder)
    keeping = _Keeping(run.folder / "media", layout, trouble)
    room, lost = ROOM, 0
    listed: list[dict[str, Json]] = []
    for item in items:
        line = keeping.media(item, masker)
        if line is None:
            continue
        room -= len(dump_json(line))
        if room < 0:
            lost += 1
        else:
            listed.append(line)
    if lost:
        trouble.append(f"{lost:,} media are not listed: a run has room for {ROOM:,} bytes of their names")
    for file in artifacts:
        keeping.artifact(file, masker)
    if listed:
        files[LIST] = dump_json(listed)
        if keeping.content:
            files[CONTENT] = bytes(keeping.content)
    return keeping.lines


class _Keeping:
    """What is being taken from a live folder: bytes of the commit, and lines about bytes in `cas/`."""

    def __init__(self, folder: Path, layout: Layout, trouble: list[str]) -> None:
        self.folder = folder
        self.layout = layout
        self.trouble = trouble
        self.content = bytearray()
        self.lines: list[dict[str, Json]] = []
        self._room = ROOM
        self._offsets: dict[str, int] = {}
        self._kept: set[str] = set()

    def media(self, item: MediaItem, masker: Masker) -> dict[str, Json] | None:
        """The line of one thing for `media.json`, its bytes kept."""
        content = _content(self.folder / item.sha256, MAX_MEDIA_ITEM_BYTES)
        if content is None or hashlib.sha256(content).hexdigest() != item.sha256:
            self._say(f"{item.kind} `{item.name[:60]}` is not kept: its bytes are not there whole")
            return None
        if not item.type.startswith("image/"):
            content = _masked(content, item, masker)
        digest, size = hashlib.sha256(content).hexdigest(), len(content)
        is_small = size <= MAX_MEDIA_VALUE_BYTES and len(self.content) + size <= MAX_MEDIA_BYTES
        if digest not in self._offsets and is_small:
            self._offsets[digest] = len(self.content)
            self.content += content
        offset = self._offsets.get(digest)
        if offset is None and digest not in self._kept:
            line = {"path": f"{OF_MEDIA}{digest}", "size": size, "sha256": digest, "media": item.type}
            if not self._fits(line):
                return None
            self._adopt_bytes(content, digest)
            self._kept.add(digest)
        return {
            **item.to_json(),
            "name": masker.text(item.name),
            "size": size,
            "sha256": digest,
            "offset": offset,
        }

    def artifact(self, file: ArtifactFile, masker: Masker) -> None:
        """Keeps one file in `cas/`, under its hash and without another copy of it."""
        name = masker.text(file.name)
        try:
            digest, size = _adopt(self.folder / str(file.live), self.layout)
        except OSError as error:
            self._say(f"artifact `{name[:60]}` is not kept: {error.strerror}")
            return
        path = f"{OF_ARTIFACTS}{name}" + (f"/{file.path}" if file.path else "")
        line = {"path": path, "size": size, "sha256": digest, "media": "application/octet-stream"}
        self._fits(line)

    def _fits(self, line: dict[str, Json]) -> bool:
        self._room -= len(dump_json(line))
        if self._room < 0:
            self._say(f"`{str(line['path'])[:60]}` is not kept: a run lists {ROOM:,} bytes of names of files")
            return False
        self.lines.append(line)
        return True

    def _adopt_bytes(self, content: bytes, digest: str) -> None:
        private_folder(self.layout.root / "tmp")
        descriptor, name = tempfile.mkstemp(dir=self.layout.root / "tmp", suffix=f".{os.getpid()}")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            final = _place(self.layout, digest)
            Path(name).replace(final)
            sync_folder(final.parent)
        except OSError as error:
            raise StoreError(
                f"Media could not be kept in `{self.layout.cas}`: {error.strerror}", hint="free some space"
            ) from error
        finally:
            Path(name).unlink(missing_ok=True)

    def _say(self, sentence: str) -> None:
        if len(self.trouble) < 50:
            self.trouble.append(sentence)


def parse(data: Json) -> list[MediaItem]:
    """The items of a `media.json`, which somebody else may have written.

    Raises:
        DamagedError: it is no list of items.
        LimitError: more than every reader admits.
    """
    if not isinstance(data, list):
        raise DamagedError("`media.json` is no list")
    if len(data) > MAX_MEDIA_ITEMS:
        raise LimitError("The media of a run", len(data), MAX_MEDIA_ITEMS)
    items = [_item(line) for line in data]
    found = [item for item in items if item is not None]
    if len(found) < len(items):
        raise DamagedError("`media.json` holds what is no image, text, histogram or table")
    return found


def parse_artifacts(lines: list[Json]) -> list[ArtifactFile]:
    """The script's files of an `artifacts.json`; what is not fit to be a file's name is left out."""
    found: list[ArtifactFile] = []
    for line in lines[:MAX_ARTIFACT_FILES]:
        path = line.get("path") if isinstance(line, dict) else None
        if isinstance(path, str) and path.startswith(OF_ARTIFACTS):
            name, _, inner = path.removeprefix(OF_ARTIFACTS).partition("/")
            file = _artifact(name, inner, line.get("size"), line.get("sha256"))
            if file is not None and file.sha256 is not None:
                found.append(file)
    return found


def inline(item: MediaItem, content: bytes) -> bytes:
    """The bytes of an item that stands in `media.bin`.

    Raises:
        DamagedError: they are not there, or others.
    """
    start = item.offset or 0
    data = content[start : start + item.size]
    if hashlib.sha256(data).hexdigest() != item.sha256:
        raise DamagedError(f"The bytes of {item.kind} `{item.name[:60]}` are damaged")
    return data


def live_content(folder: Path, item: MediaItem) -> bytes:
    """The bytes of an item of a run that goes on.

    Raises:
        DamagedError: they are not there whole.
    """
    content = _content(folder / "media" / item.sha256, MAX_MEDIA_ITEM_BYTES)
    if content is None or hashlib.sha256(content).hexdigest() != item.sha256:
        raise DamagedError(f"The bytes of {item.kind} `{item.name[:60]}` are damaged")
    return content


def of_process(folder: Path, pid: int) -> list[Path]:
    """The files of lines that one process wrote."""
    return [path for path in _line_files(folder) if int(_LINES.fullmatch(path.name)[1]) == pid]  # type: ignore[index]


def is_content(name: str) -> bool:
    """Whether a name in `media/` is that of bytes."""
    return bool(_DIGEST.fullmatch(name) or _LIVE_FILE.fullmatch(name))


def copy_kept(source: Path, target: Path) -> None:
    """Copies a kept file to a new one, without its bytes passing through memory.

    Raises:
        OSError: the disk refused, or the target is there.
    """
    with source.open("rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)


def _line_files(folder: Path) -> list[Path]:
    place = folder / "media"
    if place.is_symlink() or not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if _LINES.fullmatch(path.name))[:1_000]


def _item(line: Json) -> MediaItem | None:
    if not isinstance(line, dict):
        return None
    name, kind, media, digest = (line.get(key) for key in ("name", "kind", "type", "sha256"))
    step, when, rank, size, offset = (line.get(key) for key in ("step", "time", "rank", "size", "offset"))
    whole = (_whole(rank, 1 << 32), _whole(size, MAX_MEDIA_ITEM_BYTES + 1))
    good = (
        isinstance(name, str)
        and 0 < len(name) <= 4 * MAX_NAME
        and kind in KINDS
        and media in TYPES
        and isinstance(digest, str)
        and _DIGEST.fullmatch(digest)
        and (step is None or (type(step) is int and abs(step) < 2**63))
        and declared.is_time(when)
        and all(whole)
        and (offset is None or _whole(offset, MAX_MEDIA_BYTES + 1))
    )
    if not good:
        return None
    return MediaItem(str(name), str(kind), str(media), step, float(when), rank, size, str(digest), offset)  # type: ignore[arg-type]


def _live_files(line: Mapping[str, Json]) -> list[ArtifactFile]:
    files = line.get("files")
    found: list[ArtifactFile] = []
    for part in files[:MAX_ARTIFACT_FILES] if isinstance(files, list) else ():
        live = part.get("file") if isinstance(part, dict) else None
        if isinstance(live, str) and _LIVE_FILE.fullmatch(live):
            file = _artifact(line.get("name"), part.get("path"), part.get("size"), None, live)
            if file is not None:
                found.append(file)
    return found


def _artifact(name: Any, path: Any, size: Any, digest: Any, live: str | None = None) -> ArtifactFile | None:
    """One file, None when a name is unfit to be made a file of, or a value is none."""
    if not isinstance(name, str) or not isinstance(path, str) or not _whole(size, 2**63):
        return None
    parts = [name, *(path.split("/") if path else ())]
    with contextlib.suppress(UnicodeEncodeError):
        if (
            len(name) <= 4 * MAX_NAME
            and len(os.fsencode(path)) <= MAX_PATH_BYTES
            and all(_is_file_name(part) for part in parts)
            and (digest is None or (isinstance(digest, str) and _DIGEST.fullmatch(digest)))
        ):
            return ArtifactFile(name, path, size, digest, live)
    return None


def _is_file_name(part: str) -> bool:
    bad = part in {"", ".", ".."} or "/" in part or "\0" in part or is_git_name(part)
    return not bad and len(os.fsencode(part)) <= 255


def _whole(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def _content(path: Path, limit: int) -> bytes | None:
    """The bytes of a regular file, None when it is none or larger."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        return file.read(limit) if stat.S_ISREG(about.st_mode) and about.st_size <= limit else None


def _masked(content: bytes, item: MediaItem, masker: Masker) -> bytes:
    """The text without known secrets; JSON stays JSON."""
    if item.type == "application/json":
        try:
            value = json.loads(content)
            if (masked := masker.inside(value)) != value:
                return json.dumps(masked, separators=(",", ":")).encode("ascii")
        except (ValueError, RecursionError):
            pass
    return masker.content(content)


def _adopt(path: Path, layout: Layout) -> tuple[str, int]:
    """(hash, size) of a file of a live folder that has got its name in `cas/` too.

    It keeps the one in the live folder until that goes, so a commit that was cut short finds the file again.

    Raises:
        OSError: it is no file, or the disk refused.
    """
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(22, "it is no file")
        for piece in _pieces(file):
            digest.update(piece)
            size += len(piece)
        os.fsync(descriptor)
    final = _place(layout, digest.hexdigest())
    if not (final.is_file() and final.stat().st_size == size):
        final.unlink(missing_ok=True)
        path.chmod(0o400)
        try:
            os.link(path, final)
        except OSError:  # A file system without links.
            building = layout.root / "tmp" / f"{digest.hexdigest()}.{os.getpid()}"
            private_folder(building.parent)
            building.unlink(missing_ok=True)
            copy_kept(path, building)
            building.replace(final)
        sync_folder(final.parent)
    return digest.hexdigest(), size


def _pieces(file: Any) -> Iterator[memoryview]:
    room = memoryview(bytearray(1 << 20))
    while count := file.readinto(room):
        yield room[:count]


def _place(layout: Layout, digest: str) -> Path:
    private_folder(layout.cas)
    place = layout.cas / digest[:2]
    private_folder(place)
    return place / digest
