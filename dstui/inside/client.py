"""What a training script sees: `init`, `log`, `config`, `finish` and the run they belong to.

Standard library only, Python 3.9. Inside `ds run` everything joins the run named by `DSTUI_RUN_DIR`, and `log` works
without `init`. Outside, `init` starts a run; `log` without `init` records nothing and says so once: a script that is
only being tried out must not fill the store by itself.

Nothing here raises into the training for the tracker's own trouble, nor for a value that is no metric: what cannot be
recorded is refused once per name, on stderr, with what to do.

Config: params typed at `ds run -p` (or proposed by a sweep) stand over what `init(config=...)` gives, because the
script's values are its defaults. `run.config` holds the result, and the result is what is recorded.
"""

from __future__ import annotations

import atexit
import json
import os
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from .media import MediaWriter

if TYPE_CHECKING or __package__:
    from .journal import JournalWriter, tell
    from .values import (
        MASKED,
        NESTING,
        flatten,
        is_secret,
        log_checked,
        rank_of_process,
        refuse,
        settings_of,
        whole_step,
    )
else:
    # Run by path: the folder of this file is on `sys.path`.
    from journal import JournalWriter, tell
    from values import (
        MASKED,
        NESTING,
        flatten,
        is_secret,
        log_checked,
        rank_of_process,
        refuse,
        settings_of,
        whole_step,
    )

START_SECONDS = 120
"""How long `init` outside `ds run` waits for a new run; the code snapshot is taken meanwhile."""

LOOK_SECONDS = 0.1
"""How often `should_stop` looks at the disk at most."""


class Config(dict[str, Any]):
    """The settings of a run, as the script reads them; every change is recorded.

    A plain dict, nested as it was given. `config({...})` and `config.update({...})` do the same.
    """

    def __init__(self, run: Run, params: Mapping[str, Any]) -> None:
        super().__init__()
        self._run = run
        self._params = params
        for key, value in params.items():
            self._put(key, value)

    def __call__(self, values: object) -> None:
        """Add settings, given as for `init(config=...)`."""
        self._merge(settings_of(values))

    def update(self, *others: Any, **values: Any) -> None:
        """Add settings; params given to the run stay as they are."""
        self._merge(dict(*others, **values))

    def __setitem__(self, key: str, value: Any) -> None:
        self._merge({key: value})

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The setting of this name, added when there is none."""
        if key not in self:
            self._merge({key: default})
        return self[key]

    def _merge(self, values: Mapping[str, Any]) -> None:
        super().update(values)
        for key, value in self._params.items():
            self._put(key, value)
        self._run._record_config(self)

    def _put(self, key: str, value: Any) -> None:
        """Set a dotted key where the nested dicts have its place, else as it stands."""
        *folders, name = key.split(".")
        place: Any = self
        for folder in folders:
            place = place.get(folder) if isinstance(place, dict) else None
        if folders and isinstance(place, dict):
            place[name] = value
            self.pop(key, None)
        else:
            dict.__setitem__(self, key, value)


class Run:
    """The run of this process: made by `init`, or joined inside `ds run`.

    Thread-safe; after a fork the child goes on in the same run.

    Attributes:
        id: 16 characters, or None when tracking could not start (then nothing is recorded, and stderr said why).
        directory: its live directory, or None likewise.
        config: settings as the script gave them, with the params of the run over them.
        resumed: the checkpoint to go on from, when an earlier attempt of the job has published one; else None.
    """

    def __init__(self, id: str | None, directory: str | None, params: Mapping[str, Any]) -> None:
        self.id = id
        self.directory = directory
        self._journal: JournalWriter | None = None
        if directory is not None:
            self._journal = JournalWriter(os.path.join(directory, "journal"), rank_of_process(), str(os.getpid()))
        # The process that must write the end of the run, if it was started by `init`.
        self._owner: int | None = None
        self._finished = False
        self._recorded: dict[str, Any] = {}
        self._media: MediaWriter | None = None
        self._stop_asked = False
        self._looked_at = 0.0
        self.resumed = os.environ.get("DSTUI_RESUME") or None
        self.config = Config(self, params)

    def __repr__(self) -> str:
        return f"<dstui run {self.id}>" if self.id else "<dstui run, not recorded>"

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Record metrics; safe from SIGKILL once it has returned.

        Args:
            values: number by name: float, int, bool, or a NumPy or PyTorch scalar or one-element tensor. NaN and
                infinities are kept. Nested dicts get dotted names.
            step: an integer of any order; without one, readers count the points of each metric from 0.
        """
        journal = self._journal
        if journal is None:
            if self._finished:
                refuse("log()", f"was called after run {self.id} was finished; nothing is recorded")
            return
        try:
            journal.log(values, step)
        except (TypeError, AttributeError, struct.error):
            log_checked(journal.log, values, step)

    def log_image(self, name: str, image: Any, step: int | None = None) -> None:
        """Keep an image.

        Args:
            name: what to call it; an image of the same name at another step is the next of a series.
            image: a path or the bytes of a PNG or JPEG, an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of bytes or
                of floats from 0 to 1, a tensor of PyTorch (C, H, W), a PIL image or a figure of matplotlib.
            step: as for `log`.
        """
        self._keep(name, lambda media: media.image(name, image, whole_step(step)))

    def log_text(self, name: str, text: str, step: int | None = None) -> None:
        """Keep a text of at most 4 MiB; args as of `log_image`."""
        self._keep(name, lambda media: media.text(name, text, whole_step(step)))

    def log_histogram(self, name: str, values: Any, step: int | None = None, bins: int = 64) -> None:
        """Keep how often values occur.

        Args:
            name: as of `log_image`.
            values: an array, a tensor, or numbers in nested lists; NaN and infinities are counted apart.
            step: as for `log`.
            bins: parts of equal width from the smallest to the largest finite value.
        """
        self._keep(name, lambda media: media.histogram(name, values, whole_step(step), bins))

    def log_table(self, name: str, rows: Any, columns: Sequence[str] | None = None, step: int | None = None) -> None:
        """Keep a table of at most 10,000 rows and 256 columns.

        Args:
            name: as of `log_image`.
            rows: a list of dicts or of lists, or a data frame.
            columns: names and order of the columns; by default the keys of the dicts as they come.
            step: as for `log`.
        """
        self._keep(name, lambda media: media.table(name, rows, columns, whole_step(step)))

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Keep a copy of a file of any size, or of a folder of at most 1,000 files; of one name the last counts.

        Args:
            path: where it is.
            name: what to call it; by default its own name.
        """
        self._keep(name or str(path), lambda media: media.artifact(path, name))

    def _keep(self, name: object, keep: Callable[[MediaWriter], None]) -> None:
        """Keep what is no number; whatever goes wrong is said once per name."""
        if self._journal is None or self.directory is None:
            if self._finished:
                refuse("log()", f"was called after run {self.id} was finished; nothing is recorded")
            return
        if TYPE_CHECKING or __package__:
            from . import media
        else:
            import media
        if self._media is None:
            self._media = media.MediaWriter(self.directory, self._journal.rank)
        said = name if isinstance(name, str) else repr(type(name).__name__)
        try:
            keep(self._media)
        except media.Refusal as refusal:
            refuse(said, str(refusal))
        except OSError as error:
            refuse(said, f"is not kept: {error.strerror or error}")
        except Exception as error:
            refuse(said, f"raises {type(error).__name__} when it is looked at, so it is not kept")

    @property
    def checkpoint_dir(self) -> str:
        """A folder for checkpoints that outlives the run: the job's, which every attempt finds again, else the run's.

        When nothing is recorded it is `checkpoints` in the present folder.
        """
        path = os.environ.get("DSTUI_CHECKPOINT_DIR")
        try:
            if not path and self.directory is not None:
                # Beside `live/`, which is removed when the run is committed.
                above = os.path.join(os.path.dirname(os.path.dirname(self.directory)), "checkpoints")
                os.makedirs(above, mode=0o700, exist_ok=True)
                path = os.path.join(above, os.path.basename(self.directory))
            path = path or os.path.abspath("checkpoints")
            os.makedirs(path, mode=0o700, exist_ok=True)
        except OSError as error:
            refuse("checkpoint_dir", f"cannot be made: {error.strerror} (`{path}`)")
        return str(path)

    def should_stop(self) -> bool:
        """Whether to save and leave: the job has to make room, or `ds stop` or a time limit asked.

        Looks at most ten times a second, so it may stand in the innermost loop. The first call in the main thread makes
        SIGTERM set it, unless the script handles that signal by itself; a second SIGTERM ends the process.
        """
        if self._stop_asked or _terminated:
            return True
        now = monotonic()
        if now - self._looked_at < LOOK_SECONDS or self.directory is None:
            return False
        if self._looked_at == 0.0:
            _watch_termination()
        self._looked_at = now
        paths = (os.environ.get("DSTUI_PREEMPT_FILE"), os.path.join(self.directory, "stop"))
        self._stop_asked = any(path and os.path.exists(path) for path in paths)
        return self._stop_asked

    def finish(self, exit_code: int = 0) -> None:
        """End the run that `init` started; inside `ds run` the command's own end counts, so this does nothing.

        Args:
            exit_code: 0 for `finished`, anything else for `failed`.
        """
        self._end(exit_code, "finished" if exit_code == 0 else "failed", None)

    def _record_config(self, config: Mapping[str, Any]) -> None:
        """Write those settings that are new or changed, flat and masked."""
        # Other ranks run the same script: their settings would only repeat those of rank 0.
        if self._journal is None or self._journal.rank != 0:
            return
        flat: dict[str, Any] = {}
        flatten(config, "", flat, NESTING)
        masked = {key: MASKED if is_secret(key, value) else value for key, value in flat.items()}
        changed = {key: value for key, value in masked.items() if self._recorded.get(key, self) != value}
        if changed:
            self._recorded.update(changed)
            self._journal.config(changed)

    def _end(self, exit_code: int | None, state: str, reason: str | None) -> None:
        if self._owner != os.getpid() or self._finished or self.directory is None:
            return
        self._finished = True
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        _forget(self)
        path = os.path.join(self.directory, "finish.json")
        end = {"exit_code": exit_code, "state": state, "stop_reason": reason}
        try:
            descriptor = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(end, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(path + ".tmp", path)
        except OSError as error:
            tell(f"the end of run {self.id} could not be written ({error.strerror}); it will be listed as killed")


_state = threading.RLock()
_run: Run | None = None
# `log` of the present run's journal, for it saves a twentieth of the time of a call.
_write: Callable[..., None] | None = None
_outside_told = False
_crash: tuple[int | None, str, str | None] | None = None
_hooked = False
_terminated = False


def init(
    config: object = None,
    name: str | None = None,
    experiment: str | None = None,
    tags: Sequence[str] | None = None,
) -> Run:
    """The run to record into: joined inside `ds run`, where a further call gives the same one; else a new one.

    Outside `ds run`, a second call finishes the first run and starts another.

    Args:
        config: settings: a dict, nested or flat, an `argparse.Namespace` or a dataclass.
        name: what to call the run.
        experiment: the experiment it belongs to.
        tags: short words to find it by.
    """
    with _state:
        run = _run
        if run is not None and run._owner == os.getpid():
            run.finish()
            run = _run
        about = _about(name, experiment, tags)
        if run is None:
            run = _join() or _start(about)
            _enter(run)
            about = {} if run._owner is not None else about
        if about and run._journal is not None:
            run._journal.config({}, about)
        if config is not None:
            run.config(config)
        return run


def log(values: Mapping[str, Any], step: int | None = None) -> None:
    """Record metrics of the present run.

    Args:
        values: number by name: float, int, bool, or a NumPy or PyTorch scalar or one-element tensor. NaN and infinities
            are kept. Nested dicts get dotted names.
        step: an integer of any order; without one, readers count the points of each metric from 0.
    """
    write = _write
    if write is None:
        run = _run or _present()
        if run is not None:
            run.log(values, step)
        return
    try:
        write(values, step)
    except (TypeError, AttributeError, struct.error):
        log_checked(write, values, step)


def config(values: object) -> None:
    """Record settings of the present run, given as for `init(config=...)`."""
    run = _run or _present()
    if run is not None:
        run.config(values)


def log_image(name: str, image: Any, step: int | None = None) -> None:
    """Keep an image; see `Run.log_image`."""
    run = _run or _present()
    if run is not None:
        run.log_image(name, image, step)


def log_text(name: str, text: str, step: int | None = None) -> None:
    """Keep a text; see `Run.log_text`."""
    run = _run or _present()
    if run is not None:
        run.log_text(name, text, step)


def log_histogram(name: str, values: Any, step: int | None = None, bins: int = 64) -> None:
    """Keep how often values occur; see `Run.log_histogram`."""
    run = _run or _present()
    if run is not None:
        run.log_histogram(name, values, step, bins)


def log_table(name: str, rows: Any, columns: Sequence[str] | None = None, step: int | None = None) -> None:
    """Keep a table; see `Run.log_table`."""
    run = _run or _present()
    if run is not None:
        run.log_table(name, rows, columns, step)


def log_artifact(path: str | os.PathLike[str], name: str | None = None) -> None:
    """Keep a copy of a file or folder; see `Run.log_artifact`."""
    run = _run or _present()
    if run is not None:
        run.log_artifact(path, name)


def checkpoint_dir() -> str:
    """A folder for checkpoints that outlives the run; see `Run.checkpoint_dir`."""
    return (_run or _present() or Run(None, None, {})).checkpoint_dir


def should_stop() -> bool:
    """Whether to save and leave; see `Run.should_stop`. Outside a run never."""
    run = _run or (_present() if os.environ.get("DSTUI_RUN_DIR") else None)
    return run is not None and run.should_stop()


def finish(exit_code: int = 0) -> None:
    """End the run that `init` started; see `Run.finish`."""
    if _run is not None:
        _run.finish(exit_code)


def _enter(run: Run | None) -> None:
    """Make a run the present one, or none."""
    global _run, _write
    _run = run
    _write = run._journal.log if run is not None and run._journal is not None else None


def _present() -> Run | None:
    """The run joined at the first `log` or `config` without `init`, or None outside `ds run`, said once."""
    global _outside_told
    if _outside_told:
        return None
    with _state:
        if _run is None:
            _enter(_join())
        if _run is None and not _outside_told:
            _outside_told = True
            tell(
                "nothing is recorded, because this script runs outside a run. "
                "Start it with `ds run`, or call `dstui.init()` first"
            )
        return _run


def _join() -> Run | None:
    """The run that `DSTUI_RUN_DIR` names, or None when there is none or it has ended."""
    directory = os.environ.get("DSTUI_RUN_DIR")
    if not directory or not os.path.isdir(directory):
        return None
    return Run(os.environ.get("DSTUI_RUN_ID") or os.path.basename(directory), directory, _params())


def _params() -> dict[str, Any]:
    """What `DSTUI_PARAMS_FILE` holds: one JSON object."""
    path = os.environ.get("DSTUI_PARAMS_FILE")
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            params = json.load(file)
    except (OSError, ValueError) as error:
        tell(f"the params of this run could not be read from `{path}` ({error}); the script's own values count")
        return {}
    return {str(key): value for key, value in params.items()} if isinstance(params, dict) else {}


def _about(name: str | None, experiment: str | None, tags: Sequence[str] | None) -> dict[str, Any]:
    about: dict[str, Any] = {}
    if name is not None:
        about["name"] = str(name)
    if experiment is not None:
        about["experiment"] = str(experiment)
    if tags is not None:
        about["tags"] = [tags] if isinstance(tags, str) else [str(tag) for tag in tags]
    return about


def _start(about: Mapping[str, Any]) -> Run:
    """A new run of this process, kept by a keeper of its own; one that records nothing when that fails."""
    try:
        answer = _ask_for_run(about)
        run_id, directory = str(answer["run"]), str(answer["live"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        tell(f"no run could be started, so nothing is recorded: {error}. The training goes on; try it with `ds run`")
        return Run(None, None, {})
    run = Run(run_id, directory, {})
    run._owner = os.getpid()
    # Worker processes that the script spawns join this run.
    os.environ["DSTUI_RUN_ID"] = run_id
    os.environ["DSTUI_RUN_DIR"] = directory
    _hook_exit()
    _look(directory, str(answer.get("capture") or ""))
    return run


def _look(directory: str, switches: str) -> None:
    """See what comes after `init`, as a script under `ds run` is seen from its start: later cells, `%run train.py`."""
    if not switches or not __package__:
        return
    os.environ["DSTUI_CAPTURE"] = switches
    try:
        from .capture.begin import begin_again

        begin_again(directory)
    except Exception as error:
        tell(f"settings and loggers of this process are not seen: {type(error).__name__}: {error}")


def _ask_for_run(about: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `dstui.execution.begin`: `{"run": id, "live": directory}`.

    Raises:
        OSError: it could not be started.
        ValueError: it failed; the message says what it said.
    """
    import selectors
    import subprocess
    import time

    if not sys.executable:
        raise ValueError("this Python does not know its own executable")
    options: list[str] = []
    for option in ("name", "experiment"):
        if option in about:
            options += [f"--{option}", about[option]]
    for tag in about.get("tags", ()):
        options += ["--tag", tag]
    command = [sys.executable, "-P", "-m", "dstui.execution.begin", "--pid", str(os.getpid()), *options]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    # One line, not the end of the pipe: the keeper that it leaves behind may still hold it.
    received = {process.stdout: b"", process.stderr: b""}
    deadline = time.monotonic() + START_SECONDS
    with selectors.DefaultSelector() as selector:
        for pipe in received:
            selector.register(pipe, selectors.EVENT_READ)
        while b"\n" not in received[process.stdout] and selector.get_map():
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                data = os.read(pipe.fileno(), 65_536)
                received[pipe] += data
                if not data:
                    selector.unregister(pipe)
            if time.monotonic() > deadline:
                process.kill()
                break
    line = received[process.stdout].partition(b"\n")[0]
    words = received[process.stderr].decode(errors="replace").strip().splitlines()
    process.stdout.close()
    process.stderr.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if not line:
        raise ValueError(words[-1] if words else f"no answer from `dstui.execution.begin` in {START_SECONDS} s")
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("the answer of `dstui.execution.begin` is no object")
    return answer


def _forget(run: Run) -> None:
    """Take a finished run out of this process and of what its children would inherit."""
    with _state:
        if _run is run:
            _enter(None)
        if os.environ.get("DSTUI_RUN_DIR") == run.directory:
            os.environ.pop("DSTUI_RUN_DIR", None)
            os.environ.pop("DSTUI_RUN_ID", None)


def _hook_exit() -> None:
    """See how this process ends: `sys.excepthook` for a crash, `sys.exit` for a code, `atexit` to write it."""
    global _hooked, _crash
    _crash = None
    if _hooked:
        return
    _hooked = True
    atexit.register(_end_at_exit)
    sys.excepthook = _note_crash(sys.excepthook)
    sys.exit = _note_exit(sys.exit)


_ExceptHook = Callable[[type[BaseException], BaseException, "TracebackType | None"], Any]


def _note_crash(original: _ExceptHook) -> _ExceptHook:
    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _crash
        if issubclass(kind, KeyboardInterrupt):
            _crash = (130, "stopped", "interrupted")
        else:
            _crash = (1, "failed", kind.__name__)
        original(kind, error, trace)

    return excepthook


def _note_exit(original: Callable[..., Any]) -> Any:
    def exit(code: Any = None, /) -> None:
        global _crash
        # In another thread it ends that thread only.
        if threading.current_thread() is threading.main_thread():
            number = 0 if code is None else int(code) & 0xFF if isinstance(code, int) else 1
            _crash = (number, "finished" if number == 0 else "failed", None)
        original(code)

    return exit


def _end_at_exit() -> None:
    run = _run
    if run is not None:
        run._end(*(_crash or (0, "finished", None)))


def _watch_termination() -> None:
    """Let SIGTERM be heard by `should_stop`, if it would only end the process."""
    import signal

    def heard(number: int, frame: object) -> None:
        global _terminated
        _terminated = True
        signal.signal(number, signal.SIG_DFL)

    def as_before() -> None:
        # Workers are ended by SIGTERM, and whoever does that waits for them.
        if signal.getsignal(signal.SIGTERM) is heard:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, heard)
        os.register_at_fork(after_in_child=as_before)
