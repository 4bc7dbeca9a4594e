"""The queue for every door: submit, list, wait, act, and say why. One queue for each user and machine.

What is submitted is durable when `submit` returns; the daemon is woken, or started, afterwards. Lists and reasons are
made from the rows, so they are there when no daemon runs.
"""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dstui.errors import DeviceError, RefusedError, RunNotFound, UsageError
from dstui.scheduler import machine, waking
from dstui.scheduler.cluster import Cluster, Waiting
from dstui.scheduler.forecast import forecast
from dstui.scheduler.imports import gpu_library
from dstui.scheduler.jobs import ACTIVE, OPEN, TIERS, WAITING, Demand, JobRow, NewJob, Submission
from dstui.scheduler.place import Place
from dstui.scheduler.plan import gpus_of_tier, plan
from dstui.scheduler.queue import Queue
from dstui.scheduler.reasons import Reason, View, explain, impossible
from dstui.scheduler.standing import candidate_of, is_due, running_of
from dstui_store import CodeTree, Store, StoreError, clean, iso_time, new_run_id

if TYPE_CHECKING:
    from dstui.execution.launch import Request
    from dstui.scheduler.cluster import DeviceState
    from dstui_store import SafeText

ANSWER_SECONDS, ANSWER_SECONDS_PER_JOB = 10.0, 0.005
"""The longest that the daemon takes for a request."""

POLL_SECONDS = 0.01
WAIT_SECONDS = 0.1
"""How often rows are looked at while somebody waits for an answer, or for the end of a job."""

MAX_ARRAY = 100_000
"""Jobs of one array."""

GOOD_STATES = frozenset({"finished"})


@dataclass(frozen=True)
class JobRequest:
    """The options of `ds submit`.

    Attributes:
        run: what to run and how to record it.
        gpus: (least, most), None = what the script's imports and the tier say.
        memory_bytes: of each GPU, which is then shared.
        memory_automatic: as soon as it has been learned.
        after: names of jobs that must have finished before.
        array: values by param; one job for each combination.
        in_place: run in the project as it is then, not in a checkout of the code of now.
    """

    run: Request
    gpus: tuple[int, int] | None = None
    memory_bytes: int | None = None
    memory_automatic: bool = False
    cpus: int | None = None
    tier: str = "normal"
    account: str | None = None
    retries: int = 0
    after: Sequence[str] = ()
    array: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    in_place: bool = False
    held: bool = False


@dataclass(frozen=True)
class JobView:
    """One job as it is shown.

    Attributes:
        row: what the queue holds.
        id: as it is shown.
        reason: why it waits, None when it does not.
        detail: what was said of its last change, where that was asked for.
    """

    row: JobRow
    id: str
    reason: Reason | None = None
    detail: SafeText | None = None

    @property
    def name(self) -> SafeText:
        """What it is called."""
        return clean(self.row.name)

    def to_json(self) -> dict[str, Any]:
        """As `ds queue ls --json` prints it."""
        row, reason = self.row, self.reason
        return {
            "id": row.id,
            "state": row.state,
            "priority": row.tier,
            "account": row.account,
            "user": row.user,
            "name": row.name,
            "command": list(row.words),
            "project": row.project,
            "gpus": row.demand.gpus,
            "gpu_memory_bytes": row.demand.memory_bytes,
            "cpus": row.demand.cpus,
            "attempt": row.attempt,
            "run": row.run,
            "array": row.array,
            "submitted_at": iso_time(row.submitted_at),
            "started_at": iso_time(row.started_at),
            "ended_at": iso_time(row.ended_at),
            "exit_code": row.exit_code,
            "reason": None
            if reason is None
            else {
                "code": reason.code,
                "sentence": str(clean(reason.sentence)),
                "evidence": dict(reason.evidence),
                "estimate_at": iso_time(reason.estimate_at),
                "action": str(clean(reason.action)),
            },
        }


class JobQueue:
    """The queue of this user on this machine. Made by `open_queue`; used by one thread."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.rows = Queue.open(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database."""
        self.rows.close()

    # --- submit ---

    def submit(
        self, store: Store, request: JobRequest, cwd: Path, environment: Mapping[str, str]
    ) -> tuple[list[JobView], str]:
        """Puts a command into the queue; durable when this returns.

        Returns:
            Its jobs, and one line about what it got and why.

        Raises:
            RefusedError: it could never start on this machine.
            LaunchError: the command does not exist.
            UsageError: a wrong option.
        """
        from dstui.execution import command
        from dstui.execution.launch import take_snapshot

        if request.tier not in TIERS:
            raise UsageError(f"There is no priority `{clean(request.tier)}`", hint=f"one of {', '.join(TIERS)}")
        command.resolve(request.run.words, cwd, environment)
        account = request.account or store.layout.project.name
        demand, cause = self._demand(request, account, cwd)
        snapshot = take_snapshot(store)
        if snapshot.tree is None and not request.in_place:
            cause += f"; code not stored: {snapshot.refused}"
        spec = _spec(store, request, snapshot, environment)
        submission = Submission(
            project=str(store.layout.project),
            cwd=str(cwd.resolve()),
            account=account,
            user=_user(),
            tier=request.tier,
            demand=demand,
            spec=spec,
            environment=dict(environment),
            jobs=self._jobs(request, account),
            array=bool(request.array),
            held=request.held,
            memory_automatic=request.memory_automatic,
            retries=request.retries,
        )
        ids = self.rows.submit(submission)
        waking.rouse(self.place, wait=False)
        length = self.rows.shown_id_length()
        first = self.rows.job(ids[0])
        array = None if first is None else first.array
        rows = self.rows.jobs(array=array) if array is not None else [first] if first is not None else []
        return [JobView(row, row.id[:length]) for row in rows], cause

    def _demand(self, request: JobRequest, account: str, cwd: Path) -> tuple[Demand, str]:
        policy, slots = machine.read_policy()
        cluster = self._machine(slots, wants_gpu=request.gpus is None or request.gpus[0] > 0)
        if request.gpus is not None:
            least, most, cause = *request.gpus, ""
        else:
            library = gpu_library(request.run.words, cwd)
            if library is None or not (cluster.devices or cluster.driver):
                least, most = 0, 0
                cause = f"no GPU is used: {library} finds none on this machine" if library is not None else ""
            else:
                least, most = gpus_of_tier(policy, account, request.tier, max(1, len(cluster.devices)))
                cause = f"{least if least == most else f'{least} to {most}'} GPU: it imports {library}"
        demand = Demand(
            gpus=least,
            gpus_max=max(least, most),
            memory_bytes=request.memory_bytes if least else None,
            cpus=request.cpus if request.cpus is not None else (0 if least else 1),
            time_limit_seconds=request.run.time_limit_seconds,
        )
        refusal = impossible(demand, account, request.tier, cluster, policy)
        if refusal is not None:
            raise RefusedError(refusal[0], hint=refusal[1])
        return demand, cause

    def _jobs(self, request: JobRequest, account: str) -> list[NewJob]:
        from dstui.execution.command import default_name, parameters

        after = [self.resolve(name, what="wait for")[0] for name in request.after]
        names = list(request.array)
        count = 1
        for values in request.array.values():
            count *= len(values)
        if not 0 < count <= MAX_ARRAY:
            raise UsageError(f"The array has {count:,} jobs", hint=f"1 to {MAX_ARRAY:,}")
        jobs = []
        for values in itertools.product(*request.array.values()):
            chosen = dict(zip(names, values, strict=True))
            words = _with_values(request.run.words, chosen)
            params = {**request.run.params, **chosen}
            guessed = parameters(words)
            name = request.run.name or default_name(words, {**guessed, **params})
            jobs.append(
                NewJob(new_run_id(), words, name, params, after, _learned_key(account, words, {**guessed, **params}))
            )
        return jobs

    # --- read ---

    def jobs(self, *, ended: int = 0, reasons: bool = True) -> list[JobView]:
        """Jobs that have not ended in the order of their arrival, after so many that have ended last."""
        rows = self.rows.open_jobs()
        old = self.rows.jobs(states=self.rows.counts().keys() - OPEN, newest=ended) if ended else []
        length = self.rows.shown_id_length()
        view = self._view(rows) if reasons and any(row.state in WAITING for row in rows) else None
        return [JobView(row, row.id[:length]) for row in old] + [
            JobView(row, row.id[:length], explain(row, view) if view is not None and row.state in WAITING else None)
            for row in rows
        ]

    def job(self, identity: str) -> JobView:
        """One job by its whole id, with the reason if it waits.

        Raises:
            RunNotFound: there is none.
        """
        row = self.rows.job(identity)
        if row is None:
            raise RunNotFound(
                f"There is no job `{clean(identity)}`", name=identity, candidates=[], hint="`ds queue ls`"
            )
        reason = None
        if row.state in WAITING:
            reason = explain(row, self._view(self.rows.open_jobs()))
        said = [detail for _, _, detail in self.rows.events(identity) if detail]
        detail = clean(said[-1]) if said else None
        return JobView(row, row.id[: self.rows.shown_id_length()], reason, detail)

    def resolve(self, name: str, *, what: str = "do that to", many: bool = False) -> list[str]:
        """Whole ids of the jobs that a name stands for: a prefix of an id, or with `many` an array's.

        Raises:
            RunNotFound: none.
            UsageError: several, and not an array.
        """
        found = self.rows.resolve(name)
        if not found:
            raise RunNotFound(
                f"There is no job `{clean(name)}` to {what}", name=name, candidates=[], hint="`ds queue ls` lists them"
            )
        if len(found) > 1 and not many:
            shown = ", ".join(f"`{identity[:8]}`" for identity in found[:5])
            raise UsageError(f"`{clean(name)}` stands for {len(found)} jobs", hint=f"for example {shown}")
        return found

    def job_of(self, name: str) -> str | None:
        """The whole id of the one job that a name stands for, else None; for verbs that take runs too."""
        found = self.rows.resolve(name)
        return found[0] if len(found) == 1 else None

    def daemon(self) -> dict[str, Any] | None:
        """`{"pid", "since"}` of the daemon."""
        return waking.identity(self.place)

    def counts(self) -> dict[str, int]:
        """Jobs that have not ended, by state."""
        return {state: count for state, count in self.rows.counts().items() if state in OPEN}

    def status(self) -> dict[str, Any]:
        """As `ds cluster status --json` prints it."""
        rows = self.rows.open_jobs()
        policy, slots = machine.read_policy()
        cluster = self._machine(slots, wants_gpu=True)
        leases = {lease.device: lease for lease in self.rows.leases()}
        daemon = self.daemon()
        accounts = sorted({row.account for row in rows} | self.rows.accounts().keys())
        used = self.rows.accounts()
        return {
            "daemon": None if daemon is None else {"pid": daemon.get("pid"), "since": iso_time(daemon.get("since"))},
            "paused": self.rows.meta("paused"),
            "cpu_slots": {
                "total": cluster.cpu_slots,
                "used": sum(row.demand.cpus for row in rows if row.state in ACTIVE),
            },
            "devices": [
                {
                    "index": device.index,
                    "id": device.id,
                    "problem": device.problem,
                    "why": device.why or None,
                    "job": leases[device.id].job if device.id in leases else None,
                }
                for device in cluster.devices
            ],
            "driver": cluster.driver,
            "jobs": {
                tier: {
                    state: sum(row.tier == tier and row.state == state for row in rows)
                    for state in ("held", "queued", "starting", "running", "stopping")
                }
                for tier in TIERS
            },
            "accounts": [
                {
                    "name": account,
                    "weight": policy.weight(account),
                    "open": sum(row.account == account for row in rows),
                    "running": sum(row.account == account and row.state in ACTIVE for row in rows),
                    "used_share_hours": used.get(account, (0.0, 0.0))[0] / 3600,
                }
                for account in accounts
            ],
        }

    def usage(self, seconds: float) -> dict[str, Any]:
        """What ended in the last so many seconds, by account, beside the time before."""
        now = time.time()
        old = self.rows.jobs(states=self.rows.counts().keys() - OPEN, newest=KEPT_FOR_USAGE)
        return {
            "seconds": seconds,
            "now": _usage_of([row for row in old if now - seconds <= (row.ended_at or 0.0)]),
            "before": _usage_of([row for row in old if now - 2 * seconds <= (row.ended_at or 0.0) < now - seconds]),
        }

    # --- act ---

    def act(self, verb: str, names: Sequence[str] = (), **arguments: Any) -> dict[str, Any]:
        """Has the daemon do something with jobs, and waits until it has.

        Returns:
            `done` and `refused`, the latter with the reason by job.

        Raises:
            RunNotFound, UsageError: a name stands for no job.
            DeviceError: no daemon answers.
        """
        jobs = [identity for name in names for identity in self.resolve(name, what=verb, many=True)]
        number = self.rows.ask(verb, jobs=jobs, by=_user(), **arguments)
        waking.rouse(self.place)
        deadline = time.monotonic() + ANSWER_SECONDS + ANSWER_SECONDS_PER_JOB * len(jobs)
        while True:
            answer = self.rows.answer(number)
            if answer is not None:
                break
            if time.monotonic() > deadline:
                raise DeviceError("The scheduler's daemon does not answer", hint=f"`{self.place.log}` may say why")
            time.sleep(POLL_SECONDS)
        if "error" in answer:
            raise UsageError(str(answer["error"]))
        return answer

    def wait(
        self, names: Sequence[str], *, seconds: float | None = None, on_end: Callable[[JobView], None] | None = None
    ) -> list[JobView]:
        """Waits until jobs have ended; without names, until none of this user's jobs is open.

        Args:
            seconds: at most so long; what has ended by then is returned.
            on_end: called for each at its end.
        """
        ids = [identity for name in names for identity in self.resolve(name, what="wait for", many=True)]
        ids = ids or [row.id for row in self.rows.open_jobs()]
        waking.rouse(self.place, wait=False)
        deadline = None if seconds is None else time.monotonic() + seconds
        left, ended = list(dict.fromkeys(ids)), []
        while left:
            states = self.rows.states(left)
            for identity in [identity for identity in left if states.get(identity) not in OPEN]:
                left.remove(identity)
                view = self.job(identity)
                ended.append(view)
                if on_end is not None:
                    on_end(view)
            if not left or (deadline is not None and time.monotonic() > deadline):
                break
            if not waking.is_running(self.place):
                waking.rouse(self.place, wait=False)
            time.sleep(WAIT_SECONDS)
        return ended

    def reset(self, *, grace_seconds: float | None = None) -> tuple[Path, int]:
        """Stops every job, then moves the queue's files aside; returns where they are and how many jobs were open.

        Raises:
            DeviceError: something does not end.
        """
        rows = self.rows.open_jobs()
        if rows:
            self.act("pause")
            self.act("stop", [row.id for row in rows], reason="ds queue reset", grace_seconds=grace_seconds)
            self.wait([row.id for row in rows], seconds=(grace_seconds or 30.0) + 60.0)
        if self.rows.open_jobs():
            raise DeviceError("Some jobs have not ended, so nothing was reset", hint="`ds queue ls` shows them")
        if waking.is_running(self.place):
            self.act("leave")
            deadline = time.monotonic() + ANSWER_SECONDS
            while waking.is_running(self.place) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        self.rows.close()
        aside = self.place.folder / f"reset-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}"
        aside.mkdir(mode=0o700)
        for name in ("queue.db", "queue.db-wal", "queue.db-shm", "submits", "attempts"):
            path = self.place.folder / name
            if path.exists():
                path.rename(aside / name)
        self.place = Place(self.place.folder)
        self.rows = Queue.open(self.place)
        return aside, len(rows)

    def device_ids(self, names: Sequence[str]) -> list[str]:
        """Devices by index or id.

        Raises:
            UsageError: there is none such.
        """
        cluster = self._machine(0, wants_gpu=True)
        known = {str(device.index): device.id for device in cluster.devices} | {
            device.id: device.id for device in cluster.devices
        }
        for name in names:
            if name not in known:
                shown = ", ".join(str(device.index) for device in cluster.devices) or "none"
                raise UsageError(f"There is no GPU `{clean(name)}` here", hint=f"GPUs: {shown}")
        return [known[name] for name in names]

    # --- inside ---

    def _machine(self, slots: int, *, wants_gpu: bool) -> Cluster:
        devices: list[DeviceState] = []
        driver = None
        if wants_gpu and machine.may_have_gpus():
            devices, driver = self._devices()
        return Cluster(devices, machine.cpu_slots(slots, len(devices)), [], Waiting(), driver=driver)

    def _devices(self) -> tuple[list[DeviceState], str | None]:
        from dstui.devices.interest import Meeting
        from dstui.devices.samples import latest

        try:
            meeting = Meeting()
            with meeting.watching():
                deadline = time.monotonic() + 3.0
                while (found := latest(meeting)).time is None and time.monotonic() < deadline:
                    time.sleep(POLL_SECONDS)
            keepers = {attempt.pid for attempt in self.rows.attempts(going=True) if attempt.pid is not None}
            return machine.devices_of(found, self.rows.drained(), keepers)
        except DeviceError as error:
            return [], error.message

    def _view(self, rows: Sequence[JobRow]) -> View:
        """The present as the daemon would see it now, made from the rows."""
        now = time.time()
        policy, slots = machine.read_policy()
        learned = self.rows.learned()
        cluster = self._machine(slots, wants_gpu=any(row.demand.gpus for row in rows))
        needed = {other for row in rows for other in row.after}
        states = self.rows.states(needed)
        held: dict[str, list[str]] = {}
        for lease in self.rows.leases():
            held.setdefault(lease.job, []).append(lease.device)
        cluster.running = [
            running_of(row, tuple(held.get(row.id, ())), row.started_at or now, learned)
            for row in rows
            if row.state in ACTIVE
        ]
        for row in rows:
            if row.state == "queued" and is_due(row, now, states):
                cluster.waiting.add(candidate_of(row, learned))
        cluster.usage = {name: used for name, (used, _) in self.rows.accounts().items()}
        cluster.paused = self.rows.meta("paused")
        cluster.utc_offset_seconds = machine.utc_offset_seconds(now)
        length = self.rows.shown_id_length()
        return View(
            cluster=cluster,
            plan=plan(cluster, now, policy),
            policy=policy,
            now=now,
            states=states,
            daemon=self._why_no_daemon(),
            forecast=forecast(cluster, now, policy),
            short=lambda identity: identity[:length],
        )

    def _why_no_daemon(self) -> str | None:
        if waking.is_running(self.place):
            return None
        try:
            last = self.place.log.read_text(errors="replace").strip().splitlines()[-1]
        except (OSError, IndexError):
            return "it has not been started, or was killed"
        return f"the last word of one was: {clean(last)}"


KEPT_FOR_USAGE = 20_000
"""Ended jobs that the usage is reckoned from."""


def open_queue() -> JobQueue:
    """The queue of this user on this machine, made when it is not there.

    Raises:
        DeviceError: its folder or database cannot be used.
    """
    return JobQueue(Place())


def queue_exists() -> bool:
    """Whether this user has a queue here; makes nothing."""
    from dstui.devices.interest import sampler_folder

    try:
        return (sampler_folder().parent / "queue.db").exists()
    except DeviceError:
        return False


def job_named(name: str, run: str | None = None) -> JobView | None:
    """The job that a name stands for, or whose attempt a run is; None when there is none. For verbs that take both.

    Args:
        name: of a job.
        run: the whole id of a run, which is then meant instead.
    """
    if not queue_exists():
        return None
    with open_queue() as queue:
        job = queue.job_of(name) if run is None else queue.rows.job_of_run(run)
        return None if job is None else queue.job(job)


def open_job_named(name: str) -> JobView | None:
    """The job that has not ended which a name stands for: its own, or that of a run that is an attempt of it."""
    if not queue_exists():
        return None
    run = None
    with contextlib.suppress(StoreError), Store.open() as store:
        run = store.resolve(name) if store.exists else None
    view = job_named(name, run)
    return None if view is None or view.row.ended_at is not None else view


def run_of_job(name: str) -> str | None:
    """The whole id of the last run of the job that a name stands for, None when it has none."""
    view = job_named(name)
    return None if view is None else view.row.run


def stop_job(view: JobView, *, reason: str = "ds stop", grace_seconds: float | None = None) -> JobView:
    """Ends a job, waiting or running, and returns it as it is then."""
    with open_queue() as queue:
        answer = queue.act("stop", [view.row.id], reason=reason, grace_seconds=grace_seconds)
        if answer["refused"]:
            raise UsageError(f"Job `{view.id}` has ended already: it is {view.row.state}")
        queue.wait([view.row.id], seconds=(30.0 if grace_seconds is None else grace_seconds) + 30.0)
        return queue.job(view.row.id)


def queue_counts() -> dict[str, int] | None:
    """Jobs of this user that have not ended, by state; None without a queue, or with one that cannot be read."""
    if not queue_exists():
        return None
    try:
        with open_queue() as queue:
            return queue.counts()
    except DeviceError:
        return None


def exit_code(views: Sequence[JobView]) -> int:
    """What `ds wait` ends with: 0 when all finished well, else 1."""
    return 0 if all(view.row.state in GOOD_STATES for view in views) else 1


def parse_gpus(text: str) -> tuple[int, int]:
    """(least, most) of `2` or `1-4`.

    Raises:
        UsageError: it is written in another way.
    """
    least, dash, most = text.partition("-")
    if not least.isdecimal() or (dash and not most.isdecimal()) or (dash and int(most) < int(least)):
        raise UsageError(f"`--gpus {clean(text)}` is no number of GPUs", hint="for example `--gpus 2` or `--gpus 1-4`")
    return int(least), int(most) if dash else int(least)


def parse_array(items: Sequence[str]) -> dict[str, list[Any]]:
    """Values by param of `lr=0.1,0.01`.

    Raises:
        UsageError: it is written in another way.
    """
    from dstui.execution.command import parse_assignment

    found: dict[str, list[Any]] = {}
    for item in items:
        key, equals, values = item.partition("=")
        if not equals or not key.strip() or not values:
            raise UsageError(
                f"`--array {clean(item)}` is not of the form KEY=VALUE,VALUE", hint="`--array lr=0.1,0.01`"
            )
        found[key.strip()] = [parse_assignment(f"{key}={value}")[1] for value in values.split(",")]
    return found


def _with_values(words: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """The command of one job of an array: `{lr}` replaced where it stands, else `--lr VALUE` at the end."""
    made = list(words)
    for key, value in values.items():
        mark = "{" + key + "}"
        if any(mark in word for word in made):
            made = [word.replace(mark, str(value)) for word in made]
        else:
            made += [f"--{key}", str(value)]
    return made


def _learned_key(account: str, words: Sequence[str], params: Mapping[str, Any]) -> str:
    script = next((word for word in words if word.endswith((".py", ".sh"))), words[0])
    return " ".join([account, os.path.basename(script), *sorted(params)])[:300]


def _spec(store: Store, request: JobRequest, snapshot: Any, environment: Mapping[str, str]) -> dict[str, Any]:
    run = request.run
    return {
        "code": snapshot.to_json(),
        "skipped": [[item.path, item.size, item.reason] for item in snapshot.skipped[:1000]],
        "links": [] if request.in_place or snapshot.tree is None else _links(store, snapshot.tree),
        "in_place": request.in_place,
        "named": run.name is not None,
        "experiment": run.experiment,
        "tags": list(run.tags),
        "notes": run.notes,
        "seed": run.seed,
        "private": run.private,
        "data": [list(item) for item in run.data],
        "hash_max_bytes": run.hash_max_bytes,
        "capture": {name: getattr(run.capture, name) for name in type(run.capture).__dataclass_fields__},
        "sample": run.sample,
        "grace_seconds": run.grace_seconds,
        "log_max_bytes": run.log_max_bytes,
        "parent_run": environment.get("DSTUI_RUN_ID"),
    }


def _links(store: Store, tree: str) -> list[str]:
    """What stands in the project and not in its snapshot: git's own folder, ignored and skipped files and folders."""
    try:
        code = CodeTree(store.git, tree)
    except StoreError:
        return []
    known = {*code.folders, *(entry.path for entry in code.entries)}
    found: list[str] = []
    for folder in ("", *code.folders):
        try:
            names = os.listdir(store.layout.project / folder)
        except OSError:
            continue
        paths = (f"{folder}/{name}" if folder else name for name in names if name != "__pycache__")
        found += [path for path in paths if path not in known]
        if len(found) > 20_000:
            return found[:20_000]
    return found


def _usage_of(rows: Sequence[JobRow]) -> dict[str, Any]:
    waits = sorted((row.started_at or row.submitted_at) - row.submitted_at for row in rows)
    accounts: dict[str, dict[str, float]] = {}
    for row in rows:
        entry = accounts.setdefault(row.account, {"jobs": 0, "gpu_hours": 0.0, "cpu_hours": 0.0})
        took = max(0.0, (row.ended_at or 0.0) - (row.started_at or row.ended_at or 0.0)) / 3600
        entry["jobs"] += 1
        entry["gpu_hours"] += took * row.demand.gpus
        entry["cpu_hours"] += took * row.demand.cpus
    return {
        "jobs": len(rows),
        "waiting_p50_seconds": waits[len(waits) // 2] if waits else None,
        "waiting_p95_seconds": waits[min(len(waits) - 1, int(len(waits) * 0.95))] if waits else None,
        "accounts": [{"name": name, **values} for name, values in sorted(accounts.items())],
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
