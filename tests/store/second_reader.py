"""Another program that reads a store, written from `store/FORMAT.md` alone: git, hashlib, pyarrow, nothing of ours."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

NAMES = (
    "artifacts.json code config.json env.json log.gz media.bin media.json meta.json metrics metrics.parquet "
    "skipped.json system.parquet trial.json"
).split()
NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
Points = list[tuple[int, int, float]]


@dataclass
class Run:
    """What FORMAT.md says of one run: the line of its log entry, and its commit."""

    line: dict[str, Any]
    commit: str
    author: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    code: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    deleted: bool = False

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])

    def log(self) -> bytes:
        return gzip.decompress(self.files["log.gz"]) if "log.gz" in self.files else b""

    def metrics(self) -> dict[str, Points]:
        """Metric to (step, microseconds, value), in order of time."""
        found: dict[str, Points] = {}
        for name, content in self.files.items():
            if name.endswith(".parquet") and name.startswith("metrics") and "ranks" not in name:
                table = pq.read_table(io.BytesIO(content))
                assert table.schema.metadata[b"ds.schema"] == b"1"
                keys = json.loads(table.schema.metadata[b"ds.keys"])
                columns = table.to_pydict()
                if "key" in columns:
                    for key, *point in zip(*(columns[part] for part in ("key", "step", "time", "value")), strict=True):
                        found.setdefault(keys[key], []).append(tuple(point))
                for column in set(columns) - {"key", "step", "time", "value"}:
                    points = zip(columns["step"], columns["time"], columns[column], strict=True)
                    found.setdefault(keys[int(column)], []).extend(points)
        return {key: sorted(points, key=lambda point: point[1]) for key, points in found.items()}


class Reader:
    """Reads one `store.git`."""

    def __init__(self, store_git: Path) -> None:
        self._git_dir = store_git
        self._algorithm = "sha256" if "objectFormat = sha256" in (store_git / "config").read_text() else "sha1"
        self.first_entries: list[str] = []

    def runs(self) -> dict[str, Run]:
        """Every run by its id, operations applied."""
        runs: dict[str, Run] = {}
        operations: list[tuple[float, str, dict[str, Any]]] = []
        for ref in self._git(
            "for-each-ref", "--format=%(objectname) %(refname)", "refs/ds/p", "refs/ds/r"
        ).splitlines():
            at, name = ref.decode().split(" ")
            writer = name.rpartition("/")[2]
            while at:
                parents, _, message = self._commit(at)
                at = parents[0] if parents else ""
                title, _, line = message.partition("\n\n")
                if not parents:
                    self.first_entries.append(title.strip())
                    continue
                data = json.loads(line)
                if data["v"] > 1:
                    continue
                if data["op"] == "run":
                    runs.setdefault(data["id"], self._run(data, parents[1]))
                elif data["writer"] == writer:
                    operations.append((data["time"], writer, data))
        for _, writer, data in sorted(operations, key=lambda item: item[:2]):
            if data["run"] in runs:
                apply(runs[data["run"]], writer, data)
        return runs

    def _run(self, line: dict[str, Any], commit: str) -> Run:
        parents, author, message = self._commit(commit)
        assert parents == []
        assert message == f"ds run {line['name']} {line['state']}\n\nDs-Run: {line['id']}\n"
        run = Run(line, commit, author)
        for mode, name, oid in self._tree(self._tree_of(commit)):
            text = name.decode()
            assert text in NAMES
            assert mode == (0o40000 if text in {"code", "metrics"} else 0o100644)
            if text == "code":
                run.code = self._walk(oid, b"")
            elif text == "metrics":
                inner = self._walk(oid, b"metrics/")
                run.files.update({path.decode(): content for path, (_, content) in inner.items()})
            else:
                run.files[text] = self._object("blob", oid)
        return run

    def _walk(self, tree: str, prefix: bytes) -> dict[bytes, tuple[int, bytes]]:
        found: dict[bytes, tuple[int, bytes]] = {}
        for mode, name, oid in self._tree(tree):
            if mode == 0o40000:
                found.update(self._walk(oid, prefix + name + b"/"))
            else:
                found[prefix + name] = (mode, oid.encode() if mode == 0o160000 else self._object("blob", oid))
        return found

    def _commit(self, oid: str) -> tuple[list[str], str, str]:
        head, _, message = self._object("commit", oid).decode().partition("\n\n")
        lines = head.split("\n")
        parents = [line[7:] for line in lines if line.startswith("parent ")]
        return parents, next(line[7:] for line in lines if line.startswith("author ")), message

    def _tree_of(self, commit: str) -> str:
        return self._object("commit", commit).split(b"\n")[0].removeprefix(b"tree ").decode()

    def _tree(self, oid: str) -> list[tuple[int, bytes, str]]:
        content, entries, size = self._object("tree", oid), [], len(oid) // 2
        while content:
            head, _, rest = content.partition(b"\0")
            mode, _, name = head.partition(b" ")
            entries.append((int(mode, 8), name, rest[:size].hex()))
            content = rest[size:]
        return entries

    def _object(self, kind: str, oid: str) -> bytes:
        content = self._git("cat-file", kind, oid)
        assert hashlib.new(self._algorithm, b"%s %d\0" % (kind.encode(), len(content)) + content).hexdigest() == oid
        return content

    def _git(self, *words: str) -> bytes:
        return subprocess.run(["git", f"--git-dir={self._git_dir}", *words], check=True, capture_output=True).stdout


def apply(run: Run, writer: str, data: dict[str, Any]) -> None:
    """One operation, called in order of (time, writer)."""
    op, line = data["op"], run.line
    if op in {"tag", "untag"}:
        tags = {*line["tags"], data["tag"]} if op == "tag" else {*line["tags"]} - {data["tag"]}
        line["tags"] = sorted(tags)
    elif op == "note":
        line["notes"] = data["value"]
    elif writer == line["writer"]:
        if op == "rename":
            line["name"] = data["value"]
        elif op in {"del", "undel"}:
            run.deleted = op == "del"


def number(value: Any) -> Any:
    """A number as FORMAT.md writes it."""
    return NUMBERS.get(value, value) if isinstance(value, str) else value
