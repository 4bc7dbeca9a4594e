"""The queue in motion: what the daemon knows of jobs and attempts, and each change of them.

Every change is made in the memory and in the open transaction at once; what must not happen before it is written
(`later`) is done after the commit: messages to clerks, the byte at a gate, signals.
"""

from __future__ import annotations

import heapq
import json
import os
import select
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.inside import processes
from dstui.scheduler import attempts, ending, submits, waking
from dstui.scheduler.attempts import Active
from dstui.scheduler.clerks import ClerkLink
from dstui.scheduler.cluster import Cluster, Running, Waiting, decayed, share
from dstui.scheduler.jobs import ACTIVE, OPEN, Attempt, Hold, JobRow, Learned
from dstui.scheduler.mend import read_fence
from dstui.scheduler.plan import Plan, plan
from dstui.scheduler.standing import candidate_of, is_due, running_of
from dstui_store import new_run_id

if TYPE_CHECKING:
    from dstui.scheduler.cluster import DeviceState
    from dstui.scheduler.place import Place
    from dstui.scheduler.policy import Policy
    from dstui.scheduler.queue import Queue

STORE_PAUSE_SECONDS = 30.0
"""After a start that the store or the disk refused it is tried again."""

KEPT_DURATIONS = 20
"""Of runs alike."""

BRAKE_COUNT, BRAKE_SECONDS = 3, 60.0
"""So many jobs of an array that fail within so long hold the rest."""

SAMPLE_SECONDS = 1.0
"""A job that has ended before is not sampled."""

REFUSED_SECONDS = 10.0
"""A device that somebody else turned out to hold is tried again after this time."""

CLAIM = "dstui/1/"
"""Names of the sockets that show all users of a machine who has a GPU."""


class Engine:
    """All of it. Used by the daemon's one thread.

    Attributes:
        later: to be called once the transaction is committed.
        unheard: stop requests that no keeper has taken yet.
        paused: who paused the queue, None = nobody.
        wake_at: when the plan wants to be asked again, seconds since the epoch.
        leaving: a request to leave.
        last: sequence of the newest job that was taken in.
    """

    def __init__(self, place: Place, queue: Queue, policy: Policy, slots: int) -> None:
        self._place, self._queue = place, queue
        self.policy, self.slots = policy, slots
        self.devices: list[DeviceState] = []
        self.driver: str | None = None
        self.later: list[Callable[[], None]] = []
        self.unheard: list[Callable[[], bool]] = []
        self.active: dict[str, Active] = {}
        self.rows: dict[str, JobRow] = {}
        self.starter = ClerkLink(place, self._on_started)
        self.committer = ClerkLink(place, self._on_committed)
        self.paused: str | None = queue.meta("paused")
        self.wake_at: float | None = None
        self.leaving = False
        self._waiting = Waiting()
        self._due: list[tuple[float, str]] = []
        self._waits_for: dict[str, set[str]] = {}
        self.last = 0
        self._promised: dict[str, str] = {}
        self._learned: dict[str, Learned] = queue.learned()
        self._usage = {name: used for name, (used, _) in queue.accounts().items()}
        self._used_at = max((at for _, at in queue.accounts().values()), default=time.time())
        self._failures: dict[str, list[float]] = {}
        self._unneeded: list[str] = []
        self._sample_at: deque[tuple[float, Active]] = deque()
        self._claimed: dict[str, float] = {}
        self._environment = dict(os.environ)

    # --- what is in the queue ---

    def take_new(self) -> bool:
        """Take in the jobs that have come; returns whether there were any."""
        new = self._queue.open_jobs(above=self.last)
        for job in new:
            self.last = max(self.last, job.sequence)
            self._keep(job)
        return bool(new)

    def _keep(self, job: JobRow) -> None:
        """Remember a job as it is now, where the plan sees it if it may start."""
        self.rows[job.id] = job
        self._waiting.remove(job.id)
        if job.state != "queued":
            return
        if not is_due(job, time.time(), self._states_of(job)):
            if job.hold is not None and job.hold.until is not None:
                heapq.heappush(self._due, (job.hold.until, job.id))
            for needed in job.after:
                self._waits_for.setdefault(needed, set()).add(job.id)
            return
        self._waiting.add(candidate_of(job, self._learned))

    def _states_of(self, job: JobRow) -> Mapping[str, str]:
        return self._queue.states(job.after) if job.after else {}

    def change(self, job: str, state: str | None = None, detail: str | None = None, **columns: Any) -> JobRow:
        """Change a row, here and there."""
        now = time.time()
        if state is not None:
            columns["state"] = state
            self._queue.note(job, state, now, detail)
        self._queue.change(job, **columns)
        row = self.rows[job]
        changed: dict[str, Any] = dict(columns)
        if "memory_bytes" in changed:
            changed["demand"] = replace(row.demand, memory_bytes=changed.pop("memory_bytes"))
        row = replace(row, **changed)
        if row.state in OPEN:
            self._keep(row)
        else:
            self._forget(row)
        return row

    def _forget(self, row: JobRow) -> None:
        del self.rows[row.id]
        self._waiting.remove(row.id)
        for other in self._waits_for.pop(row.id, ()):
            if other in self.rows:
                self._keep(self.rows[other])
        if not self._queue.has_open_jobs(row.submit):
            self.later.append(lambda: self._clear_submit(row.submit))

    def _clear_submit(self, submit: str) -> None:
        """All jobs of a submission have ended: its file and fences are not needed, once the last run is committed."""
        if self._queue.metas("commit:"):
            # Whoever commits masks the values of its variables.
            self._unneeded.append(submit)
            return
        for job, last in self._queue.attempts_of_submit(submit).items():
            for number in range(1, last + 1):
                self._place.fence(job, number).unlink(missing_ok=True)
            try:
                (self._place.checkpoints / job).rmdir()
            except OSError:
                pass  # It never began, or has left checkpoints.
        # Last: without it nothing is ever submitted again from here.
        self._place.submit_file(submit).unlink(missing_ok=True)

    # --- decide ---

    def decide(self, now: float) -> None:
        """One pass: start what can start, ask those to yield who must."""
        self._account(now)
        self._release_due(now)
        self._sample_due(now)
        if not len(self._waiting):
            self.wake_at = min(self._timers(), default=None)
            return
        self._promised = {device: job for device, job in self._promised.items() if job in self._waiting}
        decided = plan(self.cluster(now), now, self.policy)
        for start in decided.starts:
            self._start(start.job, start.devices, now)
        for item in decided.preemptions:
            self._ask_to_yield(item.victim, item.job)
        self._plan_wake(decided, now)

    def cluster(self, now: float) -> Cluster:
        """The present as the plan sees it."""
        from dstui.scheduler.machine import utc_offset_seconds

        return Cluster(
            devices=[self._as_claimed(device, now) for device in self.devices],
            cpu_slots=self.slots,
            running=[self._running(active) for active in self.active.values()],
            waiting=self._waiting,
            usage=self._usage,
            promised=self._promised,
            paused=self.paused,
            driver=self.driver,
            utc_offset_seconds=utc_offset_seconds(now),
        )

    def _as_claimed(self, device: DeviceState, now: float) -> DeviceState:
        if device.problem is not None or self._claimed.get(device.id, 0.0) <= now:
            return device
        return replace(device, problem="claimed", why="is held by another process of this machine")

    def _running(self, active: Active) -> Running:
        row = self.rows[active.job]
        found = running_of(row, active.devices, active.started_at, self._learned)
        return replace(found, stopping_for=active.stopping_for, stopping=active.stopping)

    def _plan_wake(self, decided: Plan, now: float) -> None:
        claims = [at for at in self._claimed.values() if at > now]
        planned = [] if decided.wake_at is None else [decided.wake_at]
        self.wake_at = min([*planned, *claims, *self._timers()], default=None)

    def _timers(self) -> list[float]:
        """When something is due whatever the plan says."""
        return [*(at for at, _ in list(self._due)[:1]), *(at for at, _ in list(self._sample_at)[:1])]

    def _sample_due(self, now: float) -> None:
        while self._sample_at and self._sample_at[0][0] <= now:
            _, active = self._sample_at.popleft()
            if self.active.get(active.job) is active and active.phase == "running":
                wish = {"op": "sample", "job": active.job, "attempt": 0, "run": active.run, "live": active.live}
                self.later.append(partial(self.committer.ask, wish, time.monotonic()))

    def _release_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            _, job = heapq.heappop(self._due)
            row = self.rows.get(job)
            if row is not None and row.hold is not None and row.hold.until is not None and row.hold.until <= now:
                self.change(job, hold=None)

    def _account(self, now: float) -> None:
        passed = now - self._used_at
        if passed <= 0:
            return
        for name in self._usage:
            self._usage[name] = decayed(self._usage[name], passed, self.policy.half_life_seconds)
        for active in self.active.values():
            row = self.rows[active.job]
            part = share(len(active.devices), row.demand.cpus, len(self.devices), self.slots)
            self._usage[row.account] = self._usage.get(row.account, 0.0) + part * passed
        self._used_at = now

    # --- start ---

    def _start(self, job: str, devices: tuple[str, ...], now: float) -> None:
        """Write down that a job starts, then have its run made."""
        row = self.rows[job]
        number, run = row.attempt + 1, new_run_id()
        candidate = self._waiting.get(job)
        memory = row.demand.memory_bytes if candidate is None else candidate.demand.memory_bytes
        attempt = Attempt(job, number, run, "starting", None, None, None, devices, now)
        self._queue.add_attempt(attempt, memory)
        self.change(job, "starting", attempt=number, started_at=now, memory_bytes=memory)
        self.active[job] = Active(job, number, run, devices, now)
        self._promised = {device: other for device, other in self._promised.items() if other != job}
        visible = None if not row.demand.gpus and not self.devices else self._visible(devices)
        wish = {"op": "start", "job": job, "attempt": number, "run": run, "visible": visible}
        self.later.append(lambda: self.starter.ask(wish, time.monotonic()))

    def _visible(self, devices: tuple[str, ...]) -> str:
        indexes = {device.id: device.index for device in self.devices}
        return ",".join(str(indexes[device]) if not device.startswith("MIG") else device for device in devices)

    def _on_started(self, answer: dict[str, Any], descriptors: list[int]) -> None:
        """The clerk has made the run of an attempt, or could not."""
        active = self.active.get(answer["job"])
        if active is None or active.number != answer["attempt"] or answer["op"] != "start":
            for descriptor in descriptors:
                os.close(descriptor)
            return
        if not answer["ok"]:
            self._refused(active, answer)
            return
        alive, content = descriptors
        with os.fdopen(content, "rb") as file:
            file.seek(0)
            start = json.loads(file.read().decode("utf-8", "surrogateescape"))
        active.live = start["live"]
        row = self.rows[active.job]
        if row.stop is not None:
            os.close(alive)
            self._cancel_run(active)
            self._end(active, ending.End(None, reason=row.stop))
            return
        alone = row.demand.memory_bytes is None
        start["leases"] = [[str(self._place.leases / device), alone, CLAIM + device] for device in active.devices]
        active.checkpoint = self._checkpoint(active.job)
        self._queue.change_attempt(active.job, active.number, live=active.live)
        daemon = {"command": waking.command(self._place), "environment": self._environment}
        self.later.append(lambda: attempts.fork_keeper(active, start, alive, self._place, daemon))

    def _refused(self, active: Active, answer: Mapping[str, Any]) -> None:
        """The store or the command line said no."""
        self._drop(active)
        row, message = self.rows[active.job], str(answer["message"])
        if row.stop is not None:
            self.change(active.job, "cancelled", row.stop, ended_at=time.time())
            return
        if isinstance(answer["code"], int):
            self.change(active.job, "failed", message, exit_code=answer["code"], ended_at=time.time())
            return
        now = time.time()
        code = "disk" if "space" in message.lower() else "storage"
        hold = Hold(code, message, now, now + STORE_PAUSE_SECONDS)
        self.change(active.job, "queued", message, hold=hold)

    def at_gate(self, active: Active) -> None:
        """A keeper has said something at its gate, or has left it."""
        assert active.gate is not None
        try:
            message = active.gate.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            active.gate.close()
            active.gate = None
            return
        event = json.loads(message)
        if event["event"] == "ready":
            self._let_in(active, event)
        elif event["event"] in {"refused", "failed"}:
            active.refusal = event

    def _let_in(self, active: Active, event: Mapping[str, Any]) -> None:
        """Write down that an attempt runs; then, and only then, let its keeper start the command."""
        active.phase = "running"
        identity = {"pid": event["pid"], "ticks": event["ticks"], "boot": event["boot"]}
        self._queue.change_attempt(active.job, active.number, state="running", **identity)
        row = self.rows[active.job]
        if row.stop is not None:
            # Not let in: it leaves, and has not begun.
            self.later.append(lambda: self._close_gate(active))
            return
        self.change(active.job, "running", run=active.run)
        self._sample_at.append((time.time() + SAMPLE_SECONDS, active))

        def open_gate() -> None:
            try:
                if active.gate is not None:
                    active.gate.send(b"\1")
            except OSError:
                pass  # It has been killed; its end is noticed by its pidfd.

        self.later.append(open_gate)

    def _close_gate(self, active: Active) -> None:
        if active.gate is not None:
            active.gate.close()
            active.gate = None

    # --- end ---

    def keeper_ended(self, active: Active) -> None:
        """A keeper is gone: how did its attempt come out?"""
        if active.pidfd >= 0 and not select.select([active.pidfd], [], [], 0)[0]:
            return  # Woken by a number that was another file's a moment ago.
        if active.gate is not None:
            self.at_gate(active)
        self._let_go(active)
        if active.pid:
            try:
                os.waitpid(active.pid, os.WNOHANG)
            except ChildProcessError:
                pass  # An earlier daemon's child.
        if active.refusal.get("event") == "refused":
            device = os.path.basename(str(active.refusal.get("device", "")))
            if device:
                self._claimed[device] = time.time() + REFUSED_SECONDS
            self._cancel_run(active)
            self._end(active, ending.End(None, reason="a device was taken by somebody else"))
        elif active.refusal.get("event") == "failed" or (Path(active.live) / "refused.json").exists():
            self._command_failed(active)
        elif not attempts.has_begun(self._place, active.job, active.number):
            self._cancel_run(active)
            self._end(active, ending.End(None))
        else:
            self._settle(active)

    def _command_failed(self, active: Active) -> None:
        refusal = dict(active.refusal)
        if not refusal:
            try:
                refusal = json.loads((Path(active.live) / "refused.json").read_bytes())
            except (OSError, ValueError):
                refusal = {}
        self._cancel_run(active)
        self._drop(active)
        code = int(refusal.get("code", 125))
        self.change(
            active.job, "failed", str(refusal.get("message", "")), exit_code=code, ended_at=time.time(), run=None
        )

    def _settle(self, active: Active) -> None:
        record = attempts.exit_record(active.live) if active.live else None
        if record is not None:
            self._queue_commit(active)
            self._end(active, _end_of(record, self._progressed(active)))
            return
        # Killed, or somebody has committed it already: the store knows, once nothing of it is left running.
        attempts.end_orphans(active.pid, processes.boot_id())
        active.phase = "ended"
        self._queue_commit(active)

    def _queue_commit(self, active: Active) -> None:
        self._queue.set_meta(f"commit:{active.run}", active.job)
        wish = {"op": "commit", "job": active.job, "attempt": active.number, "run": active.run}
        self.later.append(lambda: self.committer.ask(wish, time.monotonic()))

    def commit_again(self) -> None:
        """Have the runs committed whose commits an earlier daemon did not see done."""
        asked = {active.run for active in self.active.values()}
        for run, job in self._queue.metas("commit:").items():
            if run not in asked:
                wish = {"op": "commit", "job": job, "attempt": 0, "run": run}
                self.committer.ask(wish, time.monotonic())

    def clear_leftovers(self) -> None:
        """See to the files of submissions whose jobs had all ended when an earlier daemon was killed."""
        for submit in submits.names(self._place.submits):
            if not self._queue.has_open_jobs(submit):
                self._clear_submit(submit)

    def _on_committed(self, answer: dict[str, Any], descriptors: list[int]) -> None:
        if answer["op"] != "commit":
            return
        self._queue.set_meta(f"commit:{answer['run']}", None)
        self._learn_peak(answer)
        if self._unneeded and not self._queue.metas("commit:"):
            for submit in self._unneeded:
                self.later.append(partial(self._clear_submit, submit))
            self._unneeded.clear()
        active = self.active.get(answer["job"])
        if active is None or active.run != answer["run"] or active.phase != "ended":
            return
        state = answer.get("state") if answer["ok"] else "lost"
        reason = answer.get("stop_reason") if answer["ok"] else answer.get("message")
        end = ending.End(str(state or "lost"), answer.get("exit_code"), reason, self._progressed(active))
        self._end(active, end)

    def _end(self, active: Active, end: ending.End) -> None:
        """An attempt is over, and this is how."""
        now = time.time()
        row = self.rows[active.job]
        self._drop(active, state=end.state)
        if active.stopping_for is not None and end.state is not None:
            self._promised.update(dict.fromkeys(active.devices, active.stopping_for))
        outcome = ending.after(row, end, now)
        self._learn(row, active, end, now)
        changes = dict(outcome.changes)
        if active.stopping_for is not None:
            changes["spare"] = {**changes.get("spare", row.spare), "preempted_at": now}
        if outcome.state not in OPEN:
            changes |= {"ended_at": now, "exit_code": end.exit_code}
        self.change(active.job, outcome.state, outcome.detail, **changes)
        self._queue.set_account(row.account, self._usage.get(row.account, 0.0), now)
        if outcome.state == "failed" and row.array is not None:
            self._brake(row.array, now)

    def _learn(self, row: JobRow, active: Active, end: ending.End, now: float) -> None:
        if end.state != "finished" or not row.learned:
            return
        before = self._learned.get(row.learned, Learned())
        durations = (*before.durations, now - active.started_at)[-KEPT_DURATIONS:]
        self._learned[row.learned] = Learned(before.runs + 1, before.peak_bytes, durations)
        self._queue.set_learned(row.learned, self._learned[row.learned])

    def _learn_peak(self, answer: Mapping[str, Any]) -> None:
        """The memory that a run has used is known once it is committed."""
        key, peak = answer.get("learned"), answer.get("peak_bytes")
        if not key or not isinstance(peak, int) or answer.get("state") != "finished":
            return
        before = self._learned.get(str(key), Learned())
        self._learned[key] = replace(before, peak_bytes=max(peak, before.peak_bytes or 0))
        self._queue.set_learned(key, self._learned[key])

    def _brake(self, array: str, now: float) -> None:
        times = [at for at in self._failures.get(array, []) if now - at < BRAKE_SECONDS]
        self._failures[array] = [*times, now]
        if len(self._failures[array]) < BRAKE_COUNT:
            return
        hold = Hold("brake", f"{len(self._failures[array])} jobs of its array failed within a minute", now)
        for job in [row.id for row in self.rows.values() if row.array == array and row.state == "queued"]:
            self.change(job, hold=hold)

    def _progressed(self, active: Active) -> bool:
        latest = self._checkpoint(active.job)
        return latest != active.checkpoint

    def _checkpoint(self, job: str) -> str:
        path = self._place.checkpoints / job / "LATEST"
        try:
            return f"{path.read_text(errors='replace')[:500]} {path.stat().st_mtime_ns}"
        except OSError:
            return ""

    def _cancel_run(self, active: Active) -> None:
        wish = {"op": "cancel", "job": active.job, "attempt": active.number, "run": active.run}
        self.later.append(lambda: self.committer.ask(wish, time.monotonic()))

    def _drop(self, active: Active, state: str | None = None) -> None:
        """Its devices are free."""
        self._let_go(active)
        self.active.pop(active.job, None)
        if state is None and not attempts.has_begun(self._place, active.job, active.number):
            self._queue.drop_attempt(active.job, active.number)
        else:
            self._queue.change_attempt(active.job, active.number, state=state or "failed", ended_at=time.time())

    def _let_go(self, active: Active) -> None:
        if active.pidfd >= 0:
            os.close(active.pidfd)
            active.pidfd = -1
        if active.gate is not None:
            active.gate.close()
            active.gate = None

    # --- stop and yield ---

    def _ask_to_end(self, active: Active, reason: str, grace_seconds: float | None, *, preempt: bool = False) -> None:
        """Ask an attempt to end; again until somebody listens, for it may only just have been let in."""
        active.stopping = True

        def ask() -> bool:
            if self.active.get(active.job) is not active or active.phase == "ended":
                return True
            if active.phase != "running" or not active.live:
                return False
            return attempts.ask_to_end(active.live, reason, grace_seconds=grace_seconds, preempt=preempt)

        self.unheard.append(ask)

    def ask_again(self) -> None:
        """Repeat what nobody has heard so far."""
        self.unheard = [ask for ask in self.unheard if not ask()]

    def _ask_to_yield(self, victim: str, job: str) -> None:
        active = self.active[victim]
        active.stopping_for = job
        reason = f"yields to job {job[:5]}"
        self.change(victim, "stopping", reason)
        self._ask_to_end(active, reason, self.policy.grace_seconds, preempt=True)

    def stop(self, job: str, reason: str, grace_seconds: float | None) -> None:
        """End a job, in whatever state."""
        row = self.rows[job]
        active = self.active.get(job)
        if active is None:
            self.change(job, "cancelled", reason, stop=reason, ended_at=time.time())
            return
        self.change(job, "stopping" if row.state in {"running", "stopping"} else None, stop=reason)
        self._ask_to_end(active, reason, grace_seconds)

    # --- after a crash ---

    def reattach(self) -> None:
        """Find the attempts of an earlier daemon again, or see how they ended."""
        for attempt in self._queue.attempts(going=True):
            if attempt.job not in self.rows:
                self._queue.change_attempt(attempt.job, attempt.number, state="lost", ended_at=time.time())
                continue
            self._reattach(attempt)
        for row in list(self.rows.values()):
            if row.state in ACTIVE and row.id not in self.active:
                # Its attempt was never written down.
                self.change(row.id, "queued", "not begun")

    def _reattach(self, attempt: Attempt) -> None:
        active = Active(attempt.job, attempt.number, attempt.run or "", attempt.devices, attempt.started_at)
        active.live, active.pid = attempt.live or "", attempt.pid or 0
        self.active[attempt.job] = active
        fence = read_fence(self._place.fence(attempt.job, attempt.number), attempt.job, attempt.number)
        if attempt.state == "starting" and attempts.close_fence(self._place, attempt.job, attempt.number):
            self._cancel_run(active)
            self._end(active, ending.End(None))
            return
        pid, ticks, boot = (
            (attempt.pid, attempt.ticks, attempt.boot) if attempt.pid else (fence.pid, fence.ticks, fence.boot)
        )
        active.pid, active.phase = pid or 0, "running"
        active.pidfd = attempts.find_keeper(pid, ticks, boot)
        if active.pidfd < 0:
            self.keeper_ended(active)


def _end_of(record: Mapping[str, Any], progressed: bool) -> ending.End:
    code, reason = record.get("exit_code"), record.get("stop_reason")
    return ending.End(
        str(record.get("state") or "failed"),
        code if isinstance(code, int) else None,
        None if reason is None else str(reason),
        progressed,
    )
