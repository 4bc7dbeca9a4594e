"""Who may have what: tiers, accounts with their quotas and weights, hours, and the times of ageing and preemption.

Read from `[scheduler]` of the user's configuration file, for the queue is one per user and machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dstui.errors import ConfigError
from dstui.scheduler.jobs import TIERS

DAY_MINUTES = 24 * 60

_HOURS = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)-([01]?\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Tier:
    """What a priority gives; None for a number of GPUs means all of the machine.

    Attributes:
        gpus: for a job that needs GPUs and does not say how many: as many as are free, up to this.
        max_gpus: the most that one job may ask for.
        quota: GPUs that all jobs of an account may hold in this tier.
        borrow: whether they may go beyond it while nobody else has a right to those GPUs.
        preemptible: whether they give them back when somebody has.
    """

    gpus: int = 1
    max_gpus: int | None = None
    quota: int | None = None
    borrow: bool = False
    preemptible: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """Who is charged; `weight` is its share of the machine beside others, `tiers` what differs from the common ones."""

    weight: float = 1.0
    tiers: Mapping[str, Tier] = field(default_factory=dict)


COMMON_TIERS: Mapping[str, Tier] = {
    "high": Tier(),
    "normal": Tier(),
    "low": Tier(quota=0, borrow=True, preemptible=True),
}
"""Without any configuration."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of a machine.

    Attributes:
        hours: (from, to) in minutes after midnight local time in which jobs start; None = always. It may go over
            midnight.
        half_life_seconds: what an account has used counts half after this time.
        lift_seconds: each such time of waiting lifts a job's place in the order by one tier, never its rights.
        unharmed_seconds: no preemption in so long after a start.
        again_seconds: and none within so long of the one before.
        grace_seconds: what a preempted job has to save itself.
        backfill: whether a job may pass one that waits for more.
    """

    tiers: Mapping[str, Tier] = field(default_factory=lambda: COMMON_TIERS)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    hours: tuple[int, int] | None = None
    half_life_seconds: float = 86_400.0
    lift_seconds: float = 43_200.0
    unharmed_seconds: float = 300.0
    again_seconds: float = 1_800.0
    grace_seconds: float = 60.0
    backfill: bool = True
    preemption: bool = True

    def tier(self, account: str, name: str) -> Tier:
        """What a tier gives to an account."""
        own = self.accounts.get(account)
        return own.tiers[name] if own is not None and name in own.tiers else self.tiers[name]

    def weight(self, account: str) -> float:
        """The share of an account beside others."""
        own = self.accounts.get(account)
        return 1.0 if own is None else own.weight

    def opens_at(self, now: float, utc_offset_seconds: float) -> float | None:
        """When jobs may start again, seconds since the epoch; None when they may now."""
        if self.hours is None:
            return None
        start, end = self.hours
        minute = ((now + utc_offset_seconds) / 60) % DAY_MINUTES
        inside = start <= minute < end if start < end else minute >= start or minute < end
        return None if inside else now + ((start - minute) % DAY_MINUTES) * 60


def parse_hours(text: str) -> tuple[int, int]:
    """Minutes after midnight of `20:00-08:00`.

    Raises:
        ConfigError: it is written in another way.
    """
    match = _HOURS.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"`scheduler.hours` is {text!r}", hint='for example `hours = "20:00-08:00"`')
    first, last = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if first == last or first > DAY_MINUTES or last > DAY_MINUTES:
        raise ConfigError(f"`scheduler.hours` is {text!r}, which is no span", hint='for example `"20:00-08:00"`')
    return first % DAY_MINUTES, last


def policy_of(tiers: Mapping[str, Any], accounts: Mapping[str, Any], hours: str = "") -> Policy:
    """The policy that the tables `scheduler.tiers` and `scheduler.accounts` of a configuration describe.

    Raises:
        ConfigError: a key is unknown, or a value has a wrong type or is out of its range.
    """
    common = {name: _tier(f"scheduler.tiers.{name}", tiers.get(name, {}), COMMON_TIERS[name]) for name in TIERS}
    for name in tiers:
        if name not in TIERS:
            raise ConfigError(f"There is no tier `{name}` (in scheduler.tiers)", hint=f"tiers: {', '.join(TIERS)}")
    found = {}
    for name, content in accounts.items():
        where = f"scheduler.accounts.{name}"
        table = _table(where, content, {"weight", *TIERS})
        weight = table.get("weight", 1.0)
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < 1e6:
            raise ConfigError(
                f"`{where}.weight` is {weight!r}", hint="it is a number above 0, for example `weight = 2`"
            )
        own = {tier: _tier(f"{where}.{tier}", table[tier], common[tier]) for tier in TIERS if tier in table}
        found[name] = Account(float(weight), own)
    return Policy(tiers=common, accounts=found, hours=parse_hours(hours) if hours else None)


def _tier(where: str, content: object, base: Tier) -> Tier:
    table = _table(where, content, {"gpus", "max_gpus", "quota", "borrow", "preemptible"})
    changes: dict[str, Any] = {}
    for key, value in table.items():
        if key in {"borrow", "preemptible"}:
            if not isinstance(value, bool):
                raise ConfigError(f"`{where}.{key}` is {value!r}", hint="it is true or false")
            changes[key] = value
        elif value == "all" and key != "gpus":
            changes[key] = None
        elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1024:
            changes[key] = value
        else:
            raise ConfigError(f"`{where}.{key}` is {value!r}", hint='a number of GPUs, or "all"')
    return replace(base, **changes)


def _table(where: str, content: object, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ConfigError(f"`{where}` is {content!r}, and it must be a table", hint=f"keys: {', '.join(sorted(known))}")
    for key in content:
        if key not in known:
            raise ConfigError(f"There is no key `{key}` in `{where}`", hint=f"keys: {', '.join(sorted(known))}")
    return content
