"""What the dashboard keeps between two sessions: the last screen, the page, the pin, how charts are drawn.

In `$XDG_STATE_HOME/dstui/ui/<store>/`, mode 0700; files are written whole or not at all. Read before the first frame
and written after the last, never by the event loop.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MAX_SCREEN_BYTES = 64 << 10
"""Of the kept last screen."""


@dataclass
class Layout:
    """What is the same when the dashboard is opened again.

    Attributes:
        page: "overview" or "runs".
        pinned: id of the baseline, or "".
        preview: whether Runs shows one.
        smoothing, band, axis, log: how charts are drawn.
    """

    page: str = "overview"
    pinned: str = ""
    preview: bool = True
    smoothing: float = 0.0
    band: bool = True
    axis: str = "step"
    log: bool = False
    theme: str = ""


@dataclass
class Kept:
    """The files of one store; without a place to write them nothing is kept."""

    folder: Path | None
    layout: Layout = field(default_factory=Layout)

    @classmethod
    def of(cls, project: Path, *, read_only: bool) -> Kept:
        """What was kept for the project; a damaged file counts as none."""
        folder = _folder(project)
        kept = cls(None if read_only else folder)
        data = _read_json(folder / "layout.json")
        for name, default in asdict(kept.layout).items():
            if type(data.get(name)) is type(default):
                setattr(kept.layout, name, data[name])
        return kept

    def save(self, screen: list[str], size: tuple[int, int]) -> None:
        """Writes the layout and the last screen; a failure is not worth a word."""
        if self.folder is None:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_json(self.folder / "layout.json", asdict(self.layout))
            if sum(map(len, screen)) < MAX_SCREEN_BYTES // 4:
                _write_json(self.folder / "last_screen.json", {"size": list(size), "lines": screen})


def last_screen(project: Path) -> list[str]:
    """The lines of the last screen, [] without one. Not cleaned: whoever draws them does."""
    data = _read_json(_folder(project) / "last_screen.json")
    lines = data.get("lines")
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []


def _folder(project: Path) -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "dstui" / "ui" / hashlib.sha256(os.fsencode(project)).hexdigest()[:16]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_SCREEN_BYTES:
            return {}
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _write_json(path: Path, data: dict[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, json.dumps(data).encode())
    finally:
        os.close(descriptor)
    temporary.rename(path)
