"""What the processes of a live run say of it: settings with where each came from, and what the capture hook saw.

Settings stand in `journal/*.config`, what the hook saw in `hello.jsonl`; both are lines of JSON that any process of the
run may append, so every line is taken as it may be and none is trusted to be there, whole or true.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dstui_store.schema import Json, flatten, is_finite

PARSERS = frozenset({"argparse", "click", "absl", "tyro", "hydra"})
"""Sources that know every setting of a script; what was guessed from its command line gives way to them."""

LOGGERS = frozenset({"hparams", "wandb", "mlflow"})
"""Loggers of a script that take its settings."""

MAX_BYTES = 4 << 20
"""Of a file that processes of a live run write."""

MAX_FACTS = 4_096
"""Lines of `hello.jsonl` that are kept."""

MAX_COMPLAINTS = 20
"""Sentences of the hook about itself."""


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes:
        values: by flat dotted key; those that were typed stand first.
        origins: where each came from: `command line`, `argparse`, `argparse default`, `hydra`, `wandb`, `dstui`, ..
    """

    values: dict[str, Json]
    origins: dict[str, str]


@dataclass(frozen=True)
class Heard:
    """What the hook saw in the processes of the run.

    Attributes:
        processes: how many Python processes loaded it.
        seeds: seed by generator: `random`, `numpy`, `torch`.
        torch: state of PyTorch at the end of the main process.
        loggers: loggers that were seen, such as `wandb`.
        uncounted: what a logger was given and is not kept, by kind.
        complaints: where the hook itself failed.
    """

    processes: int = 0
    seeds: dict[str, Json] = field(default_factory=dict)
    torch: dict[str, Json] = field(default_factory=dict)
    loggers: list[str] = field(default_factory=list)
    uncounted: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


def settings(folder: Path, launch: Mapping[str, Json]) -> Settings:
    """The settings: those of the launcher, then of files, of the script's parser, of its loggers, of `dstui.config`."""
    lines = [(_priority(line, path), line) for path, line in _declarations(folder)]
    lines.sort(key=lambda item: item[0])
    config = launch.get("config")
    values = flatten(config if isinstance(config, dict) else {})
    origins = dict.fromkeys(values, "command line")
    if any(line.get("source") in PARSERS for _, line in lines):
        for key in _names(launch.get("guessed")):
            values.pop(key, None)
            origins.pop(key, None)
    typed = set(values)
    for _, line in lines:
        source = line.get("source")
        given = set(_names(line.get("given")))
        for key, value in flatten(line["values"]).items():
            values[key] = value
            origins[key] = str(source)[:40] if source else "dstui"
            if "given" in line and key not in given:
                origins[key] += " default"
            elif "given" in line:
                typed.add(key)
    order = [key for key in values if key in typed] + [key for key in values if key not in typed]
    return Settings({key: values[key] for key in order}, {key: origins[key] for key in order})


def about(folder: Path) -> Iterator[dict[str, Json]]:
    """What the script says of the run itself: objects with `name`, `experiment`, `tags`, in order."""
    for _, line in _declarations(folder):
        if isinstance(line.get("run"), dict):
            yield line["run"]


def heard(folder: Path) -> Heard:
    """What the hook saw."""
    found = Heard()
    processes = 0
    for line in objects(folder / "hello.jsonl", MAX_FACTS):
        if "pid" in line and "argv" in line:
            processes += 1
        for key, place in (("seeds", found.seeds), ("torch", found.torch)):
            part = line.get(key)
            if isinstance(part, dict) and len(place) < 100:
                place.update(list(part.items())[:100])
        logger = line.get("logger")
        if isinstance(logger, str) and logger[:40] not in found.loggers and len(found.loggers) < 20:
            found.loggers.append(logger[:40])
        kinds = line.get("uncounted")
        if isinstance(kinds, dict):
            for kind, count in list(kinds.items())[:20]:
                if type(count) is int and len(found.uncounted) < 20:
                    found.uncounted[str(kind)[:40]] = found.uncounted.get(str(kind)[:40], 0) + count
        error = line.get("error")
        if isinstance(error, str) and len(found.complaints) < MAX_COMPLAINTS:
            found.complaints.append(error[:400])
    return Heard(processes, found.seeds, found.torch, found.loggers, found.uncounted, found.complaints)


def heard_meta(folder: Path, end: Mapping[str, Json]) -> dict[str, Json]:
    """What the hook saw, as keys of `meta.json`; `end` is the content of `exit.json`."""
    found = heard(folder)
    return {
        "seeds": found.seeds,
        "torch": found.torch,
        "capture": {
            "processes": found.processes,
            "loggers": found.loggers,
            "uncounted": found.uncounted,
            "complaints": found.complaints,
            "why": end.get("hook"),
        },
    }


def load(text: bytes) -> Json:
    """JSON as the processes of a run write it; an integer that no reader admits becomes its text."""
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 19 else _whole_or_text(digits))


def _whole_or_text(digits: str) -> int | str:
    return int(digits) if len(digits) <= 20 and -(2**63) <= int(digits) < 2**63 else digits[:200]


def dump(line: Mapping[str, Json]) -> bytes:
    """One line as the hook writes it."""
    return (json.dumps(line) + "\n").encode("ascii")


def is_time(value: Json) -> bool:
    """Whether this is a time in seconds since the epoch."""
    return is_finite(value) and 0 <= value < 253_402_300_800


def _declarations(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((folder / "journal").glob("*.config")):
        for line in objects(path):
            if isinstance(line.get("values"), dict):
                yield path, line


def _priority(line: Mapping[str, Json], path: Path) -> int:
    source = line.get("source")
    if source is None and not path.name.partition("-")[2].startswith("file"):
        return 4
    return 3 if source in LOGGERS else 2 if source in PARSERS else 1


def objects(path: Path, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of lines; a file that is a link or a pipe has none."""
    try:
        if not path.is_file() or path.is_symlink():
            return
        with path.open("rb") as file:
            text = file.read(MAX_BYTES)
    except OSError:
        return
    for line in text[: text.rfind(b"\n") + 1].splitlines()[:limit]:
        try:
            found = load(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def _names(value: Json) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
