"""`ds monitor`: the GPUs and the load of this machine."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dstui.cli.app import app

if TYPE_CHECKING:
    from dstui.cli.output import Table

SHOWN_PROCESSES = 4
"""Processes of a GPU that the table names."""


@app.command()
def monitor(
    count: Annotated[
        int | None,
        typer.Option(
            "-n", "--count", min=1, help="End after so many seconds; default: once, on a terminal until Ctrl-C."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, until Ctrl-C; see docs/json.md.")
    ] = False,
) -> None:
    """Show this machine's GPUs, who uses them, and its load, once a second."""
    from dstui.cli.output import terminal, write_frame, write_json_line
    from dstui.sdk import machine_json, watch_machine

    if count is None and not as_json and terminal().width is None:
        count = 1
    moments = itertools.islice(watch_machine(), count)
    height = 0
    try:
        for machine in moments:
            if as_json:
                write_json_line(machine_json(machine))
            else:
                height = write_frame(_parts(machine), height)
    except KeyboardInterrupt:
        pass  # How one ends it.


def _parts(machine: Any) -> list[Table | list[tuple[str, object]]]:
    """The machine as fields, its GPUs as a table, and what is wrong as fields."""
    from dstui.units import format_bytes

    host = machine.host
    words = []
    if "cpu" in host:
        words.append(f"CPU {host['cpu']:.0f} %")
    if "load" in host:
        words.append(f"load {host['load']:.1f}")
    if "memory_bytes" in host and machine.memory_total_bytes:
        words.append(f"memory {format_bytes(host['memory_bytes'])} of {format_bytes(machine.memory_total_bytes)}")
    if host.get("swap_bytes"):
        words.append(f"swap {format_bytes(host['swap_bytes'])}")
    parts: list[Table | list[tuple[str, object]]] = [[("machine", "  ".join(words) or None)]]
    if machine.devices:
        parts.append(_devices_table(machine.devices))
    problems = [("gpu", machine.problem)] if machine.problem is not None else []
    problems += [
        (device.device.prefix, device.problem)
        for device in machine.devices
        if device.problem is not None and device.problem != machine.problem
    ]
    parts += [[(where, problem.message), ("", problem.mend)] for where, problem in problems]
    return parts


def _devices_table(devices: Any) -> Table:
    from dstui.cli.output import Column, Table
    from dstui.units import format_bytes

    columns = [
        Column("gpu", right=True, importance=9),
        Column("name", importance=5, minimum=10),
        Column("use", right=True, importance=9, show=lambda value: f"{value:.0f} %"),
        Column("memory", right=True, importance=8, show=format_bytes),
        Column("of", right=True, importance=7, show=format_bytes),
        Column("heat", right=True, importance=4, show=lambda value: f"{value:.0f} °C"),
        Column("power", right=True, importance=3, show=lambda value: f"{value:.0f} W"),
        Column("used by", importance=6, minimum=10),
    ]
    rows = [
        (
            item.device.index,
            f"{item.device.name} in {len(item.device.instances)} parts" if item.device.mig else item.device.name,
            item.sample.utilization_percent,
            item.sample.memory_bytes,
            item.device.memory_total_bytes,
            item.sample.temperature_celsius,
            item.sample.power_watts,
            _users(item.processes),
        )
        for item in devices
    ]
    return Table(columns, rows)


def _users(processes: Any) -> str | None:
    """`train.py (alice) 38.2G, ..`; the largest first."""
    from dstui.units import format_bytes

    if not processes:
        return None
    words = []
    for process in sorted(processes, key=lambda item: -(item.memory_bytes or 0))[:SHOWN_PROCESSES]:
        text = f"{process.name or f'pid {process.pid}'} ({process.user or 'owner unknown'})"
        words.append(text if process.memory_bytes is None else f"{text} {format_bytes(process.memory_bytes)}")
    more = len(processes) - SHOWN_PROCESSES
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")
