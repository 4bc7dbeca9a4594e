"""Runs as doors show them: the record for JSON, and every text that came from outside as `SafeText`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dstui.errors import UsageError
from dstui_store import clean, iso_time, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas

    from dstui_store import ArtifactFile, MediaItem, MetricSummary, RunRecord, SafeText, Series, Store

MAX_CODE_BYTES = 1 << 20
"""A larger ignored file is data."""

CODE_SUFFIXES = (".py", ".yaml", ".yml", ".toml", ".json")
"""Of files that decide what a script does."""

WRITTEN = "written during the run"
"""Reason of an opened file without a hash: it is an output."""


@dataclass(frozen=True)
class Naming:
    """How runs are named for this reader: length of ids, and whose numbers go without a name before them."""

    id_length: int
    writer: str


class RunView:
    """One run. `record` holds the raw fields; the others are ready for a screen."""

    def __init__(self, record: RunRecord, naming: Naming, store: Store) -> None:
        self.record = record
        self._naming = naming
        self._store = store

    def __repr__(self) -> str:
        return f"<run {self.id} {self.name} {self.state}>"

    def metrics(self, keys: list[str] | None = None) -> dict[str, Series]:
        """The points by metric, in time order; arrays `step`, `time` (seconds since the epoch), `value` each."""
        return self._store.metrics(self.record.id, keys)

    def system(self, keys: list[str] | None = None) -> dict[str, Series]:
        """The samples of its processes, GPUs and machine, such as `cpu` and `gpu0.utilization`; else as `metrics`."""
        return self._store.system(self.record.id, keys)

    def media(self) -> list[MediaItem]:
        """Images, texts, histograms and tables that its script kept, in order of time."""
        return self._store.media(self.record.id)

    def artifacts(self) -> list[ArtifactFile]:
        """The files that its script kept, a line for each file of a folder."""
        return self._store.artifacts(self.record.id)

    @property
    def id(self) -> SafeText:
        """The shortest unique prefix of the id."""
        return clean(self.record.id[: self._naming.id_length])

    @property
    def number(self) -> SafeText:
        """`#142`, or `alice#142` for a run of another clone."""
        own = self.record.writer == self._naming.writer
        return clean(f"#{self.record.number}" if own else f"{self.record.user}#{self.record.number}")

    @property
    def name(self) -> SafeText:
        """The run's name."""
        return clean(self.record.name)

    @property
    def experiment(self) -> SafeText:
        """The experiment, empty when it has none."""
        return clean(self.record.experiment or "")

    @property
    def user(self) -> SafeText:
        """Who ran it."""
        return clean(self.record.user)

    @property
    def host(self) -> SafeText:
        """Where it ran."""
        return clean(self.record.host)

    @property
    def notes(self) -> SafeText:
        """Its notes, with line breaks."""
        return clean(self.record.notes, multiline=True)

    @property
    def tags(self) -> list[SafeText]:
        """Its tags, sorted."""
        return [clean(tag) for tag in self.record.tags]

    @property
    def command(self) -> SafeText:
        """The command as one would type it."""
        import shlex

        return clean(shlex.join(self.record.command))

    @property
    def stop_reason(self) -> SafeText:
        """Why it ended, empty when that is all in the state."""
        return clean(self.record.stop_reason or "")

    @property
    def state(self) -> str:
        """One of the states of a run; checked when it was read, so safe as it is."""
        return self.record.state

    @property
    def config(self) -> Mapping[str, Any]:
        """Params, raw."""
        return self.record.config

    @property
    def summary(self) -> Mapping[str, MetricSummary]:
        """Metrics, raw names."""
        return self.record.summary

    def duration_seconds(self, now: float | None = None) -> float | None:
        """How long it took, or has taken so far."""
        record = self.record
        if record.duration_seconds is not None or record.started_at is None or record.state != "running":
            return record.duration_seconds
        return max(0.0, (time.time() if now is None else now) - record.started_at)

    def to_json(self) -> dict[str, Any]:
        """The run as `ds ls --json` prints it."""
        return to_json(self.record)


class RunList(list[RunView]):
    """Runs in order, as a list that can become a data frame."""

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each run: its fields, then `param.KEY` and `metric.KEY` (last values) as columns.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError("pandas is not installed here", hint="pip install pandas") from error
        return pandas.DataFrame([_row(view.to_json(), view.summary) for view in self])


def _row(data: dict[str, Any], summary: Mapping[str, MetricSummary]) -> dict[str, Any]:
    params = {f"param.{key}": value for key, value in data.pop("config").items()}
    del data["summary"]
    return {**data, **params, **{f"metric.{key}": item.last for key, item in summary.items()}}


def _is_code(item: Mapping[str, Any]) -> bool:
    path, size = str(item.get("path")), item.get("size")
    small = isinstance(size, int) and size <= MAX_CODE_BYTES
    return small and path.endswith(CODE_SUFFIXES) and not path.startswith(("/", "..")) and item.get("reason") != WRITTEN


@dataclass(frozen=True)
class RunDetail:
    """One run with all that `ds show` tells.

    Attributes:
        meta: `meta.json`, or what a running run would write.
        environment: `env.json`.
        config: every param, those too many for a listing included.
        skipped: files that the snapshot left out: `{"path", "size", "reason"}`.
        data: `data.json`: the files that it was given or opened; empty when there are none.
        system_summary: what it used, `summary` by metric and `devices`; empty when it was not sampled.
        problems: what could not be read, one sentence each; the rest is shown all the same.
        where: for a running run of another machine, where and when it was last seen; else None.
        media: images, texts, histograms and tables that the script kept.
        artifacts: files that it kept.
        checkpoints: the folder that `checkpoint_dir` gave the script, on this machine; None when it did not ask.
    """

    view: RunView
    meta: Mapping[str, Any]
    environment: Mapping[str, Any]
    config: Mapping[str, Any]
    skipped: list[dict[str, Any]]
    data: Mapping[str, Any]
    system_summary: Mapping[str, Any]
    problems: list[SafeText]
    where: SafeText | None
    media: list[MediaItem]
    artifacts: list[ArtifactFile]
    checkpoints: str | None

    @property
    def missing_code(self) -> list[str]:
        """Files that the script read and that its stored code lacks: without them it does not run again.

        Those that the snapshot skipped, and files of code or settings that git ignores; data is listed apart.
        """
        skipped = {str(item.get("path")) for item in self.skipped}
        inputs = self.data.get("inputs") or []
        opened = [item for item in inputs if isinstance(item, dict) and item.get("source") == "opened"]
        return [
            str(item.get("path"))
            for item in opened
            if item.get("path") in skipped or (not item.get("unstable") and _is_code(item))
        ]

    def to_json(self) -> dict[str, Any]:
        """The run as `ds show --json` prints it."""
        code = dict(self.meta.get("code") or {})
        return {
            **self.view.to_json(),
            "config": dict(self.config),
            "cwd": self.meta.get("cwd"),
            "code": {**{key: code.get(key) for key in ("commit", "branch", "dirty", "tree")}, "skipped": self.skipped},
            "notes": self.view.record.notes,
            "environment": dict(self.environment),
            "artifacts": [artifact_json(item) for item in self.artifacts],
            "media": [media_json(item) for item in self.media],
            "checkpoints": self.checkpoints,
            "data": self.data.get("inputs"),
            "missing_code": self.missing_code,
            "sources": dict(self.meta.get("sources") or {}),
            "origins": dict(self.meta.get("origins") or {}),
            "seeds": dict(self.meta.get("seeds") or {}),
            "capture": dict(self.meta.get("capture") or {}),
            "system": dict(self.system_summary) or None,
            "reproduction": None,
            "attempts": None,
        }


def media_json(item: MediaItem) -> dict[str, Any]:
    """An item as `ds media --json` prints it."""
    data = {key: value for key, value in item.to_json().items() if key != "offset"}
    return {**data, "time": iso_time(item.time)}


def artifact_json(item: ArtifactFile) -> dict[str, Any]:
    """A file as `ds artifacts --json` prints it."""
    return {"name": item.name, "path": item.path, "size": item.size, "sha256": item.sha256}
