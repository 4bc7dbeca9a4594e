"""Why a job waits: for every waiting job one reason, with what shows it, when it ends, and what can be done.

Pure: made by whoever asks from the queue, the plan and the devices, so it is never older than the question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dstui.scheduler.placement import SPARE_BYTES, SPARE_FRACTION, room_bytes
from dstui.scheduler.plan import tier_place
from dstui.units import format_bytes, format_time

if TYPE_CHECKING:
    from dstui.scheduler.cluster import Candidate, Cluster, DeviceState, Running
    from dstui.scheduler.jobs import Demand, JobRow
    from dstui.scheduler.plan import Plan
    from dstui.scheduler.policy import Policy

GOOD_END = "finished"
"""The state in which a job lets those that wait for it start."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one job waits.

    Attributes:
        code: one word for programs; docs/json.md lists them.
        evidence: the values that the sentence speaks of.
        estimate_at: when it will probably start, seconds since the epoch; None = cannot be foretold.
        action: what a person can do, as a command or in words.
    """

    code: str
    sentence: str
    evidence: Mapping[str, Any]
    estimate_at: float | None
    action: str


@dataclass(frozen=True, slots=True)
class View:
    """What reasons are made from.

    Attributes:
        plan: the decisions of this moment.
        states: of jobs that others wait for, by id.
        daemon: why no daemon runs, in words; None = it runs.
        forecast: foretold starts.
        short: how an id is shown.
        driver: why GPUs cannot be seen, in words.
    """

    cluster: Cluster
    plan: Plan
    policy: Policy
    now: float
    states: Mapping[str, str] = field(default_factory=dict)
    daemon: str | None = None
    forecast: Mapping[str, float] = field(default_factory=dict)
    short: Callable[[str], str] = lambda identity: identity[:5]


def explain(job: JobRow, view: View) -> Reason:
    """The reason of a job in the state `held` or `queued`."""
    if job.state == "held" and job.hold is not None:
        return _held(job, view)
    if view.daemon is not None:
        return Reason(
            "daemon",
            f"no daemon is running: {view.daemon}",
            {"daemon": view.daemon},
            None,
            "`ds queue resume` starts it",
        )
    if job.hold is not None:
        return _held(job, view)
    for needed in job.after:
        state = view.states.get(needed)
        if state != GOOD_END:
            return _after(job, needed, state, view)
    candidate = view.cluster.waiting.get(job.id)
    if candidate is None:
        return Reason("order", "it was submitted a moment ago", {}, view.now, "nothing: it is looked at next")
    return _planned(job, candidate, view)


def _held(job: JobRow, view: View) -> Reason:
    hold = job.hold
    assert hold is not None
    name = view.short(job.id)
    actions = {
        "held": f"`ds queue release {name}`",
        "backoff": f"wait, or `ds queue release {name}`",
        "brake": f"mend it, then `ds queue release {name}`",
        "environment": f"install it, then `ds queue release {name}`",
        "disk": "`ds du` and `ds gc` free space",
        "storage": f"wait, or `ds queue release {name}` once it answers",
        "start": f"mend it, then `ds queue release {name}`",
    }
    sentence = hold.sentence
    if hold.until is not None:
        sentence += f"; again at {format_time(hold.until)}"
    evidence = {"since": hold.since, "until": hold.until}
    return Reason(hold.code, sentence, evidence, hold.until, actions.get(hold.code, f"`ds queue release {name}`"))


def _after(job: JobRow, needed: str, state: str | None, view: View) -> Reason:
    other, name = view.short(needed), view.short(job.id)
    evidence = {"job": needed, "state": state}
    if state is None or (state not in {"held", "queued", "starting", "running", "stopping", "preempted"}):
        ended = "is gone" if state is None else f"ended as {state}"
        return Reason(
            "after_failed", f"`{other}` {ended}, so this job can never start", evidence, None, f"`ds stop {name}`"
        )
    return Reason("after", f"waits for `{other}`, which is {state}", evidence, None, f"`ds why {other}`")


def _planned(job: JobRow, candidate: Candidate, view: View) -> Reason:
    verdict = view.plan.verdicts.get(candidate.group)
    estimate = view.forecast.get(job.id)
    code = "order" if verdict is None else verdict.code
    if code == "paused":
        return Reason(
            "paused",
            view.cluster.paused or "the queue is paused",
            {"by": view.cluster.paused},
            None,
            "`ds queue resume`",
        )
    if code == "hours":
        return _hours(job, view)
    if code == "quota":
        return _quota(job, candidate, view, estimate)
    if code in {"gpus", "gpu_memory"}:
        return _devices(job, candidate, view, estimate)
    if code == "cpus":
        return _cpus(job, candidate, view, estimate)
    return _order(job, candidate, view, estimate, None if verdict is None else verdict.about)


def _hours(job: JobRow, view: View) -> Reason:
    opens = view.policy.opens_at(view.now, view.cluster.utc_offset_seconds)
    start, end = view.policy.hours or (0, 0)
    span = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    return Reason(
        "hours",
        f"jobs start only {span} (scheduler.hours)",
        {"hours": span},
        opens,
        f"`ds queue release {view.short(job.id)}` starts it now",
    )


def _quota(job: JobRow, candidate: Candidate, view: View, estimate: float | None) -> Reason:
    tier = view.policy.tier(candidate.account, candidate.tier)
    held = sum(
        len(running.devices)
        for running in view.cluster.running
        if (running.account, running.tier) == (candidate.account, candidate.tier)
    )
    return Reason(
        "quota",
        f"`{candidate.account}` holds {held} of {tier.quota} GPUs at {candidate.tier}, and this job needs "
        f"{candidate.demand.gpus}",
        {"account": candidate.account, "tier": candidate.tier, "held": held, "quota": tier.quota},
        estimate,
        f"`ds queue priority {view.short(job.id)} low`, or wait",
    )


def _devices(job: JobRow, candidate: Candidate, view: View, estimate: float | None) -> Reason:
    cluster, demand = view.cluster, candidate.demand
    if not cluster.devices and cluster.driver is not None:
        return Reason(
            "driver", cluster.driver, {"driver": cluster.driver}, None, "`ds doctor`; often a reboot mends it"
        )
    usable = [device for device in cluster.devices if device.problem is None]
    if len(usable) < demand.gpus:
        bad = [device for device in cluster.devices if device.problem is not None]
        if bad:
            return _unusable(bad[0], len(usable), demand, view)
    if demand.memory_bytes is not None:
        return _memory(candidate, view, estimate)
    holders = [running for running in cluster.running if running.devices]
    free = len(usable) - len({device for running in holders for device in running.devices})
    text = f"needs {_gpus(demand.gpus)}, {max(0, free)} {'is' if free == 1 else 'are'} free"
    first = min(holders, key=lambda running: _known_end(running), default=None)
    evidence: dict[str, Any] = {"needs": demand.gpus, "free": max(0, free), "holders": _holders(cluster, view)}
    if first is not None:
        text += f"; {_holding(first, cluster, view)}"
    action = "wait"
    if demand.gpus > 1:
        action = f"`--gpus {max(1, free)}`, or wait"
    return Reason("gpus", text, evidence, estimate, action)


def _unusable(device: DeviceState, usable: int, demand: Demand, view: View) -> Reason:
    code = {"stalled": "driver"}.get(device.problem or "", device.problem or "unhealthy")
    text = f"needs {_gpus(demand.gpus)}, {usable} can be used; GPU {device.index} {device.why}"
    evidence: dict[str, Any] = {"device": device.index, "usable": usable, "needs": demand.gpus, "why": device.why}
    if device.foreign:
        evidence["processes"] = [
            {"pid": item.pid, "user": item.user, "memory_bytes": item.memory_bytes} for item in device.foreign
        ]
    actions = {
        "drained": f"`ds queue resume {device.index}`",
        "foreign": "wait until it ends, or ask whose it is",
        "claimed": "wait: a claim with nothing on the GPU is ignored after 30 minutes",
        "unhealthy": "reset the GPU or reboot; `ds doctor` says more",
        "driver": "`ds doctor`; often a reboot mends it",
    }
    return Reason(code, text, evidence, None, actions.get(code, "`ds doctor`"))


def _memory(candidate: Candidate, view: View, estimate: float | None) -> Reason:
    cluster, demand = view.cluster, candidate.demand
    wanted = demand.memory_bytes or 0
    rooms = {}
    for device in cluster.devices:
        sharers = [running for running in cluster.running if device.id in running.devices]
        shared = all(running.memory_bytes is not None for running in sharers)
        rooms[device.index] = max(0, room_bytes(device, sharers)) if shared else 0
    best = max(rooms.values(), default=0)
    return Reason(
        "gpu_memory",
        f"needs {format_bytes(wanted)} on {_gpus(demand.gpus)}; the most that is left on one is {format_bytes(best)}",
        {"needs_bytes": wanted, "room_bytes": rooms},
        estimate,
        "declare less with `--gpu-memory`, or wait",
    )


def _cpus(job: JobRow, candidate: Candidate, view: View, estimate: float | None) -> Reason:
    held = sum(running.cpus for running in view.cluster.running)
    slots = view.cluster.cpu_slots
    verb = "is" if slots - held == 1 else "are"
    text = f"needs {_slots(candidate.demand.cpus)}, {max(0, slots - held)} of {slots} {verb} free"
    holders = [running for running in view.cluster.running if running.cpus]
    first = min(holders, key=lambda running: _known_end(running), default=None)
    if first is not None:
        text += f"; `{view.short(first.id)}` holds {first.cpus}{_until(first)}"
    evidence = {
        "needs": candidate.demand.cpus,
        "free": max(0, slots - held),
        "slots": slots,
        "holders": [running.id for running in holders][:20],
    }
    return Reason("cpus", text, evidence, estimate, "wait, or set `scheduler.cpu_slots` higher")


def _order(job: JobRow, candidate: Candidate, view: View, estimate: float | None, about: str | None) -> Reason:
    before = count_before(candidate, view)
    if about is not None and about != job.id:
        reservation = next((item for item in view.plan.reservations if item.job == about), None)
        at = None if reservation is None else reservation.at
        when = "as soon as it can" if at is None else f"at about {format_time(at)}"
        text = f"what it needs is kept for `{view.short(about)}`, which is before it and starts {when}"
        action = "wait"
        if at is not None and at > view.now:
            left = int(at - view.now)
            limit = f"{left // 60}m" if left >= 60 else f"{max(1, left)}s"
            action = f"`--time {limit}` or less would fit in front"
        return Reason("order", text, {"before": before, "job": about, "at": at}, estimate, action)
    text = f"{before} job{'s are' if before != 1 else ' is'} before it"
    return Reason("order", text, {"before": before}, estimate, f"`ds queue move {view.short(job.id)} first`")


def count_before(candidate: Candidate, view: View) -> int:
    """How many waiting jobs of its own standing or higher come before a job."""
    own = (tier_place(candidate, view.now, view.policy.lift_seconds), candidate.rank, candidate.sequence)
    return sum(
        (tier_place(other, view.now, view.policy.lift_seconds), other.rank, other.sequence) < own
        for other in view.cluster.waiting
        if other.id != candidate.id
    )


def impossible(demand: Demand, account: str, tier: str, cluster: Cluster, policy: Policy) -> tuple[str, str] | None:
    """(message, hint) for a job that could never start on this machine, None for one that can.

    Args:
        cluster: its devices and slots; who holds them does not matter.
    """
    count, rights = len(cluster.devices), policy.tier(account, tier)
    if demand.gpus:
        if count == 0 and cluster.driver is None:
            return "This machine has no GPU, so a job that needs one could never start", "give `--gpus 0`"
        if count and demand.gpus > count:
            return f"The job needs {_gpus(demand.gpus)}, and this machine has {count}", f"`--gpus {count}` at most"
        if rights.max_gpus is not None and demand.gpus > rights.max_gpus:
            return (
                f"A {tier} job of account `{account}` may have {_gpus(rights.max_gpus)}, and this one asks for "
                f"{demand.gpus}",
                f"`--gpus {rights.max_gpus}`, or another `--priority`",
            )
        if rights.quota is not None and not rights.borrow and demand.gpus > rights.quota:
            return (
                f"Account `{account}` may hold {_gpus(rights.quota)} at {tier}, and the job needs {demand.gpus}",
                f"`--gpus {rights.quota}`, or `--priority low`",
            )
        if demand.memory_bytes is not None and count:
            sizes = [device.memory_bytes for device in cluster.devices if device.memory_bytes is not None]
            most = max((size - max(int(size * SPARE_FRACTION), SPARE_BYTES) for size in sizes), default=0)
            if sizes and demand.memory_bytes > most:
                wanted = format_bytes(demand.memory_bytes)
                return (
                    f"No GPU here has {wanted} to share; the largest has {format_bytes(most)}",
                    "leave out `--gpu-memory` for a whole GPU",
                )
    if demand.cpus > cluster.cpu_slots:
        return (
            f"The job needs {_slots(demand.cpus)}, and this machine has {cluster.cpu_slots}",
            f"`--cpus {cluster.cpu_slots}` at most, or set `scheduler.cpu_slots` higher",
        )
    return None


def _known_end(running: Running) -> float:
    ends = [end for end in (running.ends_at, running.estimate_at) if end is not None]
    return min(ends, default=float("inf"))


def _until(running: Running) -> str:
    end = _known_end(running)
    return "" if end == float("inf") else f" until about {format_time(end)}"


def _holding(running: Running, cluster: Cluster, view: View) -> str:
    indexes = [device.index for device in cluster.devices if device.id in running.devices]
    names = ", ".join(map(str, indexes))
    return f"`{view.short(running.id)}` holds GPU{'s' if len(indexes) > 1 else ''} {names}{_until(running)}"


def _holders(cluster: Cluster, view: View) -> Sequence[Mapping[str, Any]]:
    found = []
    for running in cluster.running:
        if running.devices:
            indexes = [device.index for device in cluster.devices if device.id in running.devices]
            end = _known_end(running)
            found.append({"job": running.id, "gpus": indexes, "until": None if end == float("inf") else end})
    return found[:64]


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' if count != 1 else ''}"


def _slots(count: int) -> str:
    return f"{count} CPU slot{'s' if count != 1 else ''}"
