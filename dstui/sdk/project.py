"""One project: the only way in for every door. What the command line can do, the dashboard and Python can do."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dstui.errors import RunNotFound, UsageError
from dstui.sdk.runs import Naming, RunDetail, RunList, RunView
from dstui.units import format_time
from dstui_store import Liveness, RunNotFoundError, Store, StoreError, clean, locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dstui import settings
    from dstui.execution.front import FrontResult
    from dstui.execution.launch import Outcome, Request, Say
    from dstui.sdk.differences import RunDifference
    from dstui_store import ArtifactFile, LiveRun, MediaItem, RunRecord, SafeText, Series

STOP_POLL_SECONDS = 0.05
FOLLOW_SECONDS = 0.2
ATTACH_BYTES = 16 << 10
"""How much of the earlier output `ds attach` shows."""


class Project:
    """The runs of one project. Made by `open_project`; used by one thread."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the store."""
        self.store.close()

    @property
    def settings(self) -> settings.Settings:
        """The settings that hold here.

        Raises:
            ConfigError: a file or a variable is wrong.
        """
        from dstui import settings

        return settings.load(self.store.layout.project)

    # --- reading ---

    def runs(self, query: str = "", sort: str = "", limit: int | None = None) -> RunList:
        """Runs that a query holds for, newest first unless `sort` says otherwise; live ones included.

        Raises:
            QueryError: the query or the sort key cannot be understood.
        """
        records = self._matching(query, sort) if query or sort else self._recovered()
        naming = self.naming()
        return RunList([RunView(record, naming, self.store) for record in records[:limit]])

    def _matching(self, query: str, sort: str) -> list[RunRecord]:
        from dstui.sdk.query import builtin_views, parse, parse_sort

        parsed, order = parse(query), parse_sort(sort)
        records, now = self._recovered(), time.time()
        if not (parsed.terms or order.keys):
            return records
        known = self._known_keys(records)
        parsed.check(known)
        order.check(known)
        parsed = parsed.expand(builtin_views(_user_of(records, self.store)))
        return order.apply(parsed.select(records, now=now), now=now)

    def _recovered(self) -> list[RunRecord]:
        """All runs, those that a crash left committed before."""
        self.store.recover()
        return self.store.records()

    def _known_keys(self, records: Sequence[RunRecord]) -> set[str]:
        """Params and metrics of any run; live ones are not in the index yet."""
        if not self.store.exists:
            return set()
        keys = self.store.index.keys()
        live = [record for record in records if record.state == "running"]
        return {*keys["param"], *keys["metric"], *(key for run in live for key in (*run.config, *run.summary))}

    def run(self, name: str) -> RunView:
        """The run that a name stands for.

        Raises:
            RunNotFound: none, or more than one.
        """
        return RunView(self.store.record(self.resolve(name)), self.naming(), self.store)

    def resolve(self, name: str) -> str:
        """The whole id of the run that a name stands for.

        Raises:
            RunNotFound: none, or more than one.
        """
        self.store.recover()
        try:
            return self.store.resolve(name)
        except RunNotFoundError as error:
            job = self._run_of_job(name)
            if job is not None:
                return job
            near = ", ".join(f"`{clean(item)}`" for item in error.candidates)
            hint = f"nearest: {near}; `ds ls` lists all" if near else error.hint
            raise RunNotFound(
                f"No run is called `{clean(name)}`", name=name, candidates=error.candidates, hint=hint
            ) from error

    def _run_of_job(self, name: str) -> str | None:
        """The last run of a job of the queue, if it is one of this project."""
        from dstui.errors import DeviceError
        from dstui.sdk.queue import run_of_job

        try:
            run = run_of_job(name)
        except DeviceError:
            return None
        with contextlib.suppress(StoreError):
            return None if run is None else self.store.resolve(run)
        return None

    def naming(self) -> Naming:
        """How runs are named for this reader."""
        if not self.store.exists:
            return Naming(5, "")
        return Naming(self.store.shown_id_length(), self.store.writer())

    def show(self, name: str) -> RunDetail:
        """A run with all that is known of it; what cannot be read is named, the rest is there."""
        view = self.run(name)
        run, problems = view.record.id, []
        parts: dict[str, Any] = {"meta": {}, "environment": {}, "config": dict(view.config), "skipped": [], "data": {}}
        parts |= {"system_summary": {}, "media": [], "artifacts": []}
        for part in parts:
            try:
                parts[part] = getattr(self.store, part)(run)
            except StoreError as error:
                problems.append(clean(error.message))
        problems += [clean(line) for line in parts["meta"].get("errors") or []]
        live = self.store.live_run(run)
        where = None if live is None or live.liveness() is not Liveness.ELSEWHERE else _last_sign(live)
        checkpoints = self.store.layout.root / "checkpoints" / run
        return RunDetail(
            view=view,
            problems=problems,
            where=where,
            checkpoints=str(checkpoints) if checkpoints.is_dir() else None,
            **parts,
        )

    def log(self, name: str) -> bytes:
        """The output of a run, exact bytes."""
        return self.store.log(self.resolve(name))

    def follow_log(self, name: str) -> Iterator[bytes]:
        """The output of a run in pieces, from its start; goes on until the run has ended."""
        run = self.resolve(name)
        live = self.store.live_run(run)
        if live is None:
            yield self.store.log(run)
            return
        path, offset = live.folder / "log", 0
        while True:
            # Asked before reading: what was written before the folder went is read after.
            going = path.exists()
            for piece in _pieces(path, offset):
                offset += len(piece)
                yield piece
            if not going:
                return
            self.store.commit_ended(run)
            time.sleep(FOLLOW_SECONDS)

    def metrics(self, name: str, keys: list[str] | None = None) -> dict[str, Series]:
        """The points of a run by metric.

        Raises:
            UsageError: the run has no metric of a given name.
        """
        run = self.resolve(name)
        series = self.store.metrics(run, keys)
        missing = [key for key in keys or [] if key not in series]
        if missing:
            known = sorted(self.store.record(run).summary)
            raise UsageError(
                f"Run `{run[:5]}` has no metric `{clean(missing[0])}`",
                hint=f"it has {', '.join(clean(key) for key in known)}" if known else "it has logged none",
            )
        return series

    def system(self, name: str, keys: list[str] | None = None) -> dict[str, Series]:
        """The samples of a run's processes, its GPUs and the machine by metric; none for a run that lasted a second.

        Raises:
            UsageError: the run has no sample of a given name.
        """
        run = self.resolve(name)
        series = self.store.system(run, keys)
        missing = [key for key in keys or [] if key not in series]
        if missing:
            known = sorted(self.store.system_summary(run).get("summary") or ())
            raise UsageError(
                f"Run `{run[:5]}` has no sample of `{clean(missing[0])}`",
                hint=f"it has {', '.join(clean(key) for key in known)}" if known else "it was not sampled",
            )
        return series

    def system_summary(self, name: str) -> dict[str, Any]:
        """Those samples in a few numbers: `summary` by metric (`mean`, `max`, `last`), and `devices`."""
        return self.store.system_summary(self.resolve(name))

    def media(self, name: str) -> list[MediaItem]:
        """Images, texts, histograms and tables that a run's script kept, in order of time."""
        return self.store.media(self.resolve(name))

    def media_content(self, name: str, media: str, step: int | None = None) -> tuple[MediaItem, bytes]:
        """One of them, the last of that name unless a step is given, and its bytes.

        Raises:
            UsageError: the run has none of that name, or none at that step.
        """
        from dstui.sdk.media import find_item

        run = self.resolve(name)
        item = find_item(run, self.store.media(run), media, step)
        return item, self.store.media_content(run, item)

    def artifacts(self, name: str) -> list[ArtifactFile]:
        """The files that a run's script kept, a line for each file of a folder."""
        return self.store.artifacts(self.resolve(name))

    def save_artifact(self, name: str, artifact: str, target: Path) -> int:
        """Copies such a file or folder to a new place; returns how many files that are.

        Raises:
            UsageError: the run has none of that name, or the place is taken.
        """
        from dstui.sdk.media import save_artifact

        return save_artifact(self.store, self.resolve(name), artifact, target)

    def code_changes(self, name: str) -> bytes:
        """The unified diff between the commit that a run was based on and the code that really ran."""
        return self.store.code_changes(self.resolve(name))

    def diff(self, first: str, second: str) -> RunDifference:
        """What differs between two runs."""
        from dstui.sdk import differences

        one, two = self.resolve(first), self.resolve(second)
        before, after = self.store.record(one), self.store.record(two)
        environments = self.store.environment(one), self.store.environment(two)
        unknown: dict[str, str] = {}
        trees = self.store.code_tree(one), self.store.code_tree(two)
        try:
            patch = self.store.code_diff(*trees)
        except StoreError as error:
            patch, unknown["code"] = b"", error.message
        if missing := [mark for mark, tree in zip("AB", trees, strict=True) if tree is None]:
            unknown["code"] = f"not stored for {' and '.join(missing)}"
        data, unknown_data = differences.data_between(self.store.data(one), self.store.data(two))
        if unknown_data is not None:
            unknown["data"] = unknown_data
        lists = [environment.get("packages") for environment in environments]
        if missing := [mark for mark, found in zip("AB", lists, strict=True) if not isinstance(found, dict)]:
            unknown["packages"] = f"not known for {' and '.join(missing)}"
        commands = self._command(before), self._command(after)
        return differences.RunDifference(
            command=None if commands[0] == commands[1] else differences.Difference("command", *commands),
            config=differences.between(self.store.config(one), self.store.config(two)),
            metrics=differences.between(_last_values(before), _last_values(after)),
            packages=differences.packages_between(*environments),
            environment=differences.environment_between(*environments),
            data=data,
            files=differences.file_changes(patch),
            patch=patch,
            same_code=trees[0] == trees[1],
            unknown=unknown,
        )

    def _command(self, record: RunRecord) -> tuple[str, ...]:
        """The whole command of a run; a listing has it cut."""
        words = self.store.meta(record.id).get("command") if record.more else None
        return tuple(map(str, words)) if isinstance(words, list) else record.command

    # --- acting ---

    def launch(self, request: Request, cwd: Path, environment: Mapping[str, str], say: Say) -> Outcome:
        """Runs a command in the foreground and commits it: `ds run`."""
        from dstui.execution import launch

        outcome = launch.run(self.store, request, cwd, environment, say)
        self.store.recover()
        return outcome

    def attach(self, name: str) -> FrontResult:
        """Follows a running run in this terminal, keys and signals included, until it ends or the terminal is lost.

        Raises:
            UsageError: it is not running here.
        """
        from dstui.execution.front import connect, follow

        live = self._living(name, "attach to")

        def commit(_: FrontResult) -> None:
            with contextlib.suppress(StoreError):
                self.store.commit_ended(live.id)

        return follow(
            connect(live.folder), live.folder, name=live.id[:5], viewer=True, tail_bytes=ATTACH_BYTES, on_exit=commit
        )

    def stop(self, name: str, *, reason: str = "ds stop", grace_seconds: float | None = None) -> RunView:
        """Asks a running run to end, waits, and returns it as committed.

        Raises:
            UsageError: it is not running, or not on this machine.
        """
        from dstui.execution.front import request_stop

        live = self._living(name, "stop")
        request_stop(live.folder, reason, grace_seconds)
        grace = grace_seconds if grace_seconds is not None else float(live.launch.get("grace_seconds") or 30.0)
        deadline = time.monotonic() + grace + 30.0
        while self.store.live_run(live.id) is not None and time.monotonic() < deadline:
            with contextlib.suppress(StoreError):
                self.store.commit_ended(live.id)
            time.sleep(STOP_POLL_SECONDS)
        return RunView(self.store.record(live.id), self.naming(), self.store)

    def give_up(self, name: str) -> RunView:
        """Commits a run of another machine or container as lost, because that machine is gone."""
        return RunView(self.store.commit_gone(self.resolve(name)), self.naming(), self.store)

    def tag(self, name: str, tags: Sequence[str]) -> RunView:
        """Adds tags to a run."""
        return self._operate(name, [("tag", {"tag": _checked_tag(tag)}) for tag in tags])

    def untag(self, name: str, tags: Sequence[str]) -> RunView:
        """Takes tags from a run; a tag that it does not have is an error.

        Raises:
            UsageError: it has no such tag.
        """
        have = self.run(name).record.tags
        for tag in tags:
            if tag not in have:
                raise UsageError(
                    f"Run `{clean(name)}` has no tag `{clean(tag)}`",
                    hint=f"it has {', '.join(clean(item) for item in have)}" if have else "it has none",
                )
        return self._operate(name, [("untag", {"tag": tag}) for tag in tags])

    def note(self, name: str, text: str) -> RunView:
        """Replaces the note of a run; an empty text removes it."""
        if len(text) > 4096:
            raise UsageError(f"A note has at most 4,096 characters, this one has {len(text):,}")
        return self._operate(name, [("note", {"value": text})])

    def rename(self, name: str, new: str) -> RunView:
        """Gives a run of this clone another name.

        Raises:
            UsageError: an empty name, one over 200 characters, or another writer's run.
        """
        text = " ".join(new.split())
        if not 0 < len(text) <= 200:
            raise UsageError(f"A name has 1 to 200 characters, this one has {len(text)}")
        record = self.run(name).record
        if record.writer != self.store.writer():
            raise UsageError(
                f"Run `{clean(name)}` was made by {clean(record.writer)}, and only its writer may rename it",
                hint="give it a tag or a note instead",
            )
        return self._operate(record.id, [("rename", {"value": text})])

    def _operate(self, name: str, operations: list[tuple[str, dict[str, Any]]]) -> RunView:
        run = self.resolve(name)
        for op, values in operations:
            self.store.operate(run, op, **values)
        return RunView(self.store.record(run), self.naming(), self.store)

    def _living(self, name: str, verb: str) -> LiveRun:
        run = self.resolve(name)
        live = self.store.live_run(run)
        if live is None:
            state = self.store.record(run).state
            raise UsageError(
                f"Cannot {verb} run `{run[:5]}`: it is {state}", hint="`ds ls state:running` lists those that run"
            )
        if live.liveness() is Liveness.ELSEWHERE:
            raise UsageError(
                f"Cannot {verb} run `{run[:5]}` from here: it runs {_last_sign(live)}",
                hint=f"do it there; if that machine is gone for good, `ds stop --gone {run[:5]}` records it as lost",
            )
        return live


def open_project(path: Path | None = None, *, create: bool = False, read_only: bool = False) -> Project:
    """The project that a folder (default: the current one) lies in.

    Args:
        path: any folder of the project.
        create: make its store on disk now; without it an absent store reads as empty.
        read_only: never write, not even the index.
    """
    return Project(Store.open(path, create=create, read_only=read_only))


def open_store(path: Path | None = None) -> Project:
    """The runs of a project, for Python: `dstui.open_store().runs("val_acc>0.9").to_pandas()`."""
    return open_project(path)


def init_project(path: Path | None = None) -> dict[str, str]:
    """Makes a project's store now; without git it also marks the folder as the project.

    Returns:
        `project`, `store` and `writer`.
    """
    from dstui import settings

    layout = locate(path)
    if layout.git_dir is None:
        (layout.project / settings.PROJECT_FILE).touch()
    with open_project(layout.project, create=True) as project:
        store = project.store
        return {"project": str(store.layout.project), "store": str(store.layout.root), "writer": store.writer()}


def _pieces(path: Path, offset: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as source:
            source.seek(offset)
            while piece := source.read(1 << 20):
                yield piece
    except FileNotFoundError:
        return


def _user_of(records: Sequence[RunRecord], store: Store) -> str:
    """The user whose runs are `mine`."""
    writer = store.writer() if store.exists else ""
    return next((record.user for record in records if record.writer == writer), "")


def _last_values(record: RunRecord) -> dict[str, float]:
    return {key: summary.last for key, summary in record.summary.items()}


def _last_sign(live: LiveRun) -> SafeText:
    seen = format_time(live.last_sign)
    return clean(f"on {live.launch.get('host') or 'another machine'}, last sign {seen}")


def _checked_tag(tag: str) -> str:
    text = tag.strip()
    if not text or len(text) > 64 or any(character.isspace() for character in text):
        raise UsageError(f"`{clean(tag)}` is no tag", hint="a tag has 1 to 64 characters and no space")
    return text
