"""The keeper of a queued job, from its fork to the start of its command: devices, fence, gate.

The scheduler's daemon forks it, so it costs no start of an interpreter. Order, and why:

1. a session of its own, nothing of the daemon's left open;
2. the leases, in the order of their names, none waited for: one refusal lets go of all;
3. the fence, a file that only one process can make: an attempt begins once, whoever else believes that it should;
4. `ready`, and then it waits for one byte. The end of the socket instead means that the daemon has died before it wrote
   down that this attempt runs: nothing has begun, and it leaves;
5. `begun` in the fence, before the command is started: from here on the attempt counts, whatever is killed.
"""

from __future__ import annotations

import _socket
import fcntl
import gc
import json
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from dstui.inside.control import Client

if TYPE_CHECKING or __package__:
    from dstui.inside import processes
    from dstui.inside.child import StartError
    from dstui.inside.command import CommandSupervisor
    from dstui.inside.live import LiveDirectory
else:
    import processes
    from child import StartError
    from command import CommandSupervisor
    from live import LiveDirectory

SAVED_CODE = 75
"""Exit code of a command that has saved itself and wants to be started again."""

BEGUN = b"begun\n"
"""In a fence: the attempt counts."""


class QueuedCommand(CommandSupervisor):
    """A command of the queue: it may be asked to yield, and may ask to be started again.

    Args:
        job: see `keep`.
        gate: the daemon's end is told once that the command has started, and then let go.
    """

    def __init__(self, live: LiveDirectory, job: dict[str, Any], gate: _socket.socket) -> None:
        super().__init__(live, job["argv"], job["cwd"], "ttt", terminal=True, like=None)
        self._preempt_file: str = job["preempt_file"]
        self._gate = gate

    def _begin(self) -> None:
        super()._begin()
        _tell(self._gate, {"event": "started", "pid": self.pid})
        self._gate.close()

    def _on_stop(self, client: Client, data: bytes) -> None:
        wish = json.loads(data)
        if wish.get("state") != "preempted":
            super()._on_stop(client, data)
            return
        # The file first: who polls it saves at a step of its own choice.
        os.close(os.open(self._preempt_file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.stop("preempted", str(wish["reason"]), float(wish["grace_seconds"]))

    def _verdict(self) -> dict[str, Any]:
        verdict = super()._verdict()
        if verdict["exit_code"] == SAVED_CODE and verdict["state"] == "failed":
            verdict.update(state="preempted", stop_reason="saved itself, to be started again")
        return verdict


def keep(job: dict[str, Any], gate_descriptor: int, alive: int) -> NoReturn:
    """Be the keeper of a job; called in a forked process, and never returns.

    Args:
        job: `live argv cwd environment fence run leases preempt_file daemon daemon_environment daemon_lock`. A lease is
            `[path of its lock, whether for this job alone, name of the claim or ""]`; `daemon` is the command that
            starts a daemon, for when nobody holds `daemon_lock` at the end.
        gate_descriptor: our end of a SOCK_SEQPACKET.
        alive: descriptor of the locked file `alive`.
    """
    code = 70
    try:
        code = _keep(job, gate_descriptor, alive)
    except BaseException as error:
        try:
            LiveDirectory(job["live"]).complain(f"the keeper failed: {error!r}")
        except (OSError, ValueError):
            pass
    finally:
        # Nothing of the daemon's may be closed or flushed by our end.
        os._exit(code)


def _keep(job: dict[str, Any], gate_descriptor: int, alive: int) -> int:
    gc.disable()
    os.setsid()
    _forget_signals()
    _close_all_but({0, 1, 2, gate_descriptor, alive})
    gate = _socket.socket(fileno=gate_descriptor)
    held = take_leases(job["leases"])
    if isinstance(held, str):
        _tell(gate, {"event": "refused", "device": held})
        return 0
    try:
        fence = os.open(job["fence"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        _tell(gate, {"event": "refused", "device": ""})
        return 0
    identity = {
        "run": job["run"],
        "pid": os.getpid(),
        "ticks": processes.start_ticks(os.getpid()),
        "boot": processes.boot_id(),
    }
    os.write(fence, json.dumps(identity).encode() + b"\n")
    _tell(gate, {"event": "ready", **identity})
    if not gate.recv(1):
        return 0
    os.write(fence, BEGUN)
    os.close(fence)
    os.environ.clear()
    os.environ.update(job["environment"])
    live = LiveDirectory(job["live"])
    live.claim(alive)
    os.set_inheritable(alive, False)
    supervisor = QueuedCommand(live, job, gate)
    try:
        live.reserve()
        supervisor.control.listen(live.descriptor)
        supervisor.run()
    except OSError as error:
        _refuse(live, gate, 125, f"the run could not be kept in `{live.path}`: {error.strerror}")
    except StartError as error:
        _refuse(live, gate, error.code, str(error))
    live.release()
    _see_to_a_daemon(job)
    return 0


def _refuse(live: LiveDirectory, gate: _socket.socket, code: int, message: str) -> None:
    """The command was not started. Written down, for the daemon may be gone."""
    try:
        descriptor = live.open("refused.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, json.dumps({"code": code, "message": message}).encode())
        os.close(descriptor)
    except OSError:
        pass
    _tell(gate, {"event": "failed", "code": code, "message": message})


def take_leases(leases: list[list[Any]]) -> list[int] | str:
    """Hold these devices, or say which one is held by somebody else; the descriptors pass to the command.

    A lock tells our own jobs apart, a claim (an abstract socket, which only one process of the machine can bind) those
    of all users.
    """
    held: list[int] = []
    for path, alone, claim in sorted(leases):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        held.append(descriptor)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            if claim:
                held.append(_bind(claim, alone))
        except OSError:
            for number in held:
                os.close(number)
            return str(path)
    for number in held:
        os.set_inheritable(number, True)
        # A copy of our own: those that pass to the command are closed here once it runs.
        os.set_inheritable(os.dup(number), False)
    return held


def _bind(claim: str, alone: bool) -> int:
    """The socket that is the claim.

    Raises:
        OSError: another process of the machine has it.
    """
    claimed = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    name = "\0" + claim
    try:
        claimed.bind(name)
        claimed.listen(16)
    except OSError:
        if alone:
            claimed.close()
            raise
        # Shared with a job of ours, which has it, or with another user's, whom this tells apart.
        claimed.connect(name)
        peer = claimed.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        if int.from_bytes(peer[4:8], sys.byteorder) != os.geteuid():
            claimed.close()
            raise
    return claimed.detach()


def _tell(gate: _socket.socket, event: dict[str, Any]) -> None:
    try:
        gate.send(json.dumps(event).encode())
    except OSError:
        pass  # The daemon is gone.


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                pass
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # As in every Python: a closed pipe is an error, not the end of us.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor not in kept:
            try:
                os.close(descriptor)
            except OSError:
                pass


def _see_to_a_daemon(job: dict[str, Any]) -> None:
    """Become a new daemon if none runs: somebody must commit this run, and start what waits."""
    try:
        lock = os.open(job["daemon_lock"], os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(lock)
    except BlockingIOError:
        return
    except OSError:
        return
    os.execve(job["daemon"][0], job["daemon"], job["daemon_environment"])
