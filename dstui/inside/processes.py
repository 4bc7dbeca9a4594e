"""What `/proc` and the kernel say about processes: who descends from the keeper, when one started, who was killed."""

from __future__ import annotations

import os

PR_SET_CHILD_SUBREAPER = 36
"""From <linux/prctl.h>."""


def become_subreaper() -> bool:
    """Make orphans below this process its children, so that none is lost; False where that cannot be asked for."""
    arguments = (PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        # The extension module alone: the package `ctypes` around it costs the start of every run 5 ms.
        import _ctypes

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        return bool(_ctypes.call_function(prctl, arguments) == 0)
    except (ImportError, AttributeError, OSError, TypeError):
        pass
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(*arguments) == 0)
    except (ImportError, AttributeError, OSError):
        return False


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the pid, its identity. None when it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended (a zombie has)."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in ("Z", "X")


def boot_id() -> str:
    """Random identity of the present boot; a pid and its start time mean nothing in another."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def pid_namespace() -> int | None:
    """Identity of the namespace in which our pids count."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def family(root: int) -> list[int]:
    """Living processes below `root` or in its session, without `root` itself, in no order.

    The session counts because an orphan made before `become_subreaper` worked is no descendant any more.
    """
    children: dict[int, list[int]] = {}
    found: set[int] = set()
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdigit() else []
        if fields and fields[0] not in ("Z", "X"):
            children.setdefault(int(fields[1]), []).append(int(name))
            if int(fields[3]) == root:
                found.add(int(name))
    waiting = [root, *found]
    while waiting:
        new = set(children.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return [pid for pid in found if pid != root]


def memory_kills() -> int:
    """How often the kernel has killed for lack of memory, in this control group and on the machine together."""
    return sum(_counter(path, "oom_kill") for path in ("/proc/vmstat", *_memory_groups()))


def _memory_groups() -> list[str]:
    groups = []
    for line in _read("/proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            groups.append(f"/sys/fs/cgroup{path}/memory.events")
        elif controllers == "memory":
            groups.append(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
    return groups


def _counter(path: str, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _stat(pid: int) -> list[str]:
    """Fields of `/proc/PID/stat` from the third (the state) on; empty when the process is gone."""
    # The name before them may hold spaces and brackets of its own.
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
