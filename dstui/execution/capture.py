"""What is captured of a command, and how its Python processes come to load the hook.

The files that run in the project's own Python are copied once for each version of them to `<store>/hook/<hash>/`, below
the project where its containers see them, and that folder's `start/` goes first on `PYTHONPATH`. Kept from run to run,
it also keeps the bytecode of every interpreter that used it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dstui.errors import LaunchError

if TYPE_CHECKING:
    from dstui.settings import Settings

INSIDE = Path(__file__).parents[1] / "inside"
"""Where they come from."""

CONTAINERS = frozenset({"docker", "podman", "nerdctl"})
"""Programs that start a command with a file system and variables of its own."""

CONTAINER_VARIABLES = ("PYTHONPATH", "DSTUI_RUN_DIR", "DSTUI_RUN_ID", "DSTUI_PARAMS_FILE", "DSTUI_CAPTURE")
"""Those that the hook and the client need there."""

CLIENT = ("__init__", "journal", "client", "values", "media", "images", "copying")
"""Modules of it that a training script loads, some of them when they are first needed."""

OFF = frozenset({"0", "off", "no", "false"})
"""Values of `DSTUI_CAPTURE` that turn all of it off."""


@dataclass(frozen=True)
class Capture:
    """What to take from a command; the settings `[capture]`.

    Attributes:
        hook: see settings, loggers, seeds and opened files from inside its Python processes, each also by itself.
        params: of argparse and its kin, of Hydra.
        wandb: `replace` records here and sends nothing, `both` also lets wandb do its work, `off` does not look.
        files: read metrics from event files, CSV, JSON lines.
        stdout: take printed numbers for metrics.
    """

    hook: bool = True
    params: bool = True
    seeds: bool = True
    opens: bool = True
    tensorboard: bool = True
    mlflow: bool = True
    wandb: str = "replace"
    files: bool = True
    stdout: bool = True

    @classmethod
    def nothing(cls) -> Capture:
        """Only what the script logs by itself."""
        return cls(False, False, False, False, False, False, "off", False, False)

    def switches(self) -> list[str]:
        """What the hook does, as `DSTUI_CAPTURE` says it to the processes; empty without the hook."""
        if not self.hook:
            return []
        names = [name for name in ("params", "seeds", "opens", "tensorboard", "mlflow") if getattr(self, name)]
        return [*names, *([] if self.wandb == "off" else [f"wandb={self.wandb}"])]


def capture_of(settings: Settings, environment: Mapping[str, str], *, off: bool = False) -> Capture:
    """What the settings say, unless it is all off: asked for, or by `DSTUI_CAPTURE=0`."""
    if off or environment.get("DSTUI_CAPTURE", "").lower() in OFF:
        return Capture.nothing()
    switches = {
        name: settings[f"capture.{name}"] == "auto"
        for name in ("hook", "params", "seeds", "opens", "tensorboard", "mlflow", "files", "stdout")
    }
    return Capture(wandb=settings["capture.wandb"], **switches)


def variables(capture: Capture, root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What the command's environment needs for the hook: none of its own when there is nothing to do for it.

    Args:
        root: the store's folder.
        environment: the user's; a hook of an outer run is taken out of its `PYTHONPATH`.

    Raises:
        LaunchError: the files could not be copied.
    """
    hook = root / "hook"
    kept = [
        path
        for path in environment.get("PYTHONPATH", "").split(os.pathsep)
        if path and not (os.path.basename(path) == "start" and _is_ours(Path(path)))
    ]
    own = {"PYTHONPATH": os.pathsep.join(kept)} if "PYTHONPATH" in environment else {}
    # Those of an outer run.
    own |= {name: "" for name in ("DSTUI_TOP", "DSTUI_CAPTURE") if name in environment}
    if capture.hook:
        own["PYTHONPATH"] = os.pathsep.join([str(install(hook) / "start"), *kept])
        own["DSTUI_CAPTURE"] = ",".join(capture.switches())
    return own


def replaced_wandb(live: Path) -> bool:
    """Whether a process of this run logged to wandb and nothing was sent there."""
    try:
        return b'"wandb": "replaced"' in (live / "hello.jsonl").read_bytes()
    except OSError:
        return False


def container_hint(words: Sequence[str]) -> str | None:
    """What a container must be given so that the run sees into it; None for other commands and for one that has it."""
    program = os.path.basename(words[0]) if words else ""
    if program not in CONTAINERS or "run" not in words[1:] or any("DSTUI_RUN_DIR" in word for word in words):
        return None
    names = " ".join(f"-e {name}" for name in CONTAINER_VARIABLES)
    return f'to see settings and metrics inside the container: {program} run -v "$PWD:$PWD" -w "$PWD" {names} ...'


def install(hook: Path) -> Path:
    """Copies the hook into the store unless it is there; returns its folder.

    Raises:
        LaunchError: the disk refused.
    """
    files = _files()
    digest = hashlib.sha256()
    for name, data in files.items():
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    folder = hook / digest.hexdigest()[:16]
    if folder.is_dir():
        return folder
    try:
        hook.mkdir(mode=0o700, parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".", dir=hook))
        try:
            for name, data in files.items():
                (building / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                (building / name).write_bytes(data)
            building.rename(folder)
        except OSError:
            shutil.rmtree(building, ignore_errors=True)
            if not folder.is_dir():  # Another start was faster.
                raise
    except OSError as error:
        raise LaunchError(
            f"The capture hook cannot be copied to `{hook}`: {error.strerror}",
            hint="free some space, or run with `--no-capture`",
        ) from error
    return folder


def _files() -> dict[str, bytes]:
    """Content by its name in the copy."""
    capture = INSIDE / "capture"
    found = {f"_dstui/{name}.py": (INSIDE / f"{name}.py").read_bytes() for name in CLIENT}
    for path in sorted(capture.glob("*.py")):
        found[f"_dstui/capture/{path.name}"] = path.read_bytes()
    for folder in ("start", "fallback"):
        for path in sorted((capture / folder).glob("*.py")):
            found[f"{folder}/{path.name}"] = path.read_bytes()
    return found


def _is_ours(start: Path) -> bool:
    return (start / "sitecustomize.py").is_file() and (start.parent / "_dstui").is_dir()
