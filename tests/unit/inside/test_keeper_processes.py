"""What `/proc` says: families of processes, and who is who."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from dstui.inside import processes

SLEEPER = "import sys; sys.stdin.read()"
PARENT = (
    "import subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)\n"
    "print(child.pid, flush=True)\n"
    "sys.stdin.read()\n"
)


@pytest.fixture
def parent() -> Iterator[tuple[int, int]]:
    """Pids of a process and its child, which has a session of its own."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate()


def test_a_family_is_everyone_below(parent: tuple[int, int]) -> None:
    assert processes.family(parent[0]) == [parent[1]]
    assert set(parent) <= set(processes.family(os.getpid()))
    assert processes.family(parent[1]) == []


def test_a_process_is_known_by_its_start_and_is_gone_at_its_end(
    parent: tuple[int, int], wait_until: Callable[..., None]
) -> None:
    ticks = processes.start_ticks(parent[1])
    assert ticks is not None
    assert ticks >= (processes.start_ticks(os.getpid()) or 0)
    assert processes.is_running(parent[1])
    os.kill(parent[1], 9)
    wait_until(lambda: not processes.is_running(parent[1]))


def test_a_name_with_brackets_and_spaces_does_not_confuse(tmp_path: object) -> None:
    text = "import sys; open('/proc/self/comm', 'w').write(') R 1 (x'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.pid in processes.family(os.getpid())
        process.communicate()


def test_the_machine_s_count_of_memory_kills_is_a_number() -> None:
    assert processes.memory_kills() >= 0
    assert processes.boot_id()
    assert processes.pid_namespace() == os.stat("/proc/self/ns/pid").st_ino
