"""The files of what was submitted: the promise of `ds submit`, kept even when the power fails or the database is lost.

One file for each call, JSON lines: what all its jobs share, then one line for each job. Written whole, synced and
renamed before anything is acknowledged; mode 0600, because it holds the variables of that moment. It goes when its last
job has ended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dstui.errors import DeviceError
from dstui.scheduler.jobs import Demand, NewJob, Submission

VERSION = 1
"""Form of the files."""


def write(path: Path, submission: Submission, at: float) -> None:
    """Write the file of a submission, durably.

    Raises:
        DeviceError: the disk refused; nothing was submitted.
    """
    head = {
        "v": VERSION,
        "at": at,
        "project": submission.project,
        "cwd": submission.cwd,
        "account": submission.account,
        "user": submission.user,
        "tier": submission.tier,
        "demand": demand_to_json(submission.demand),
        "spec": submission.spec,
        "environment": submission.environment,
        "array": submission.array,
        "held": submission.held,
        "memory_automatic": submission.memory_automatic,
        "retries": submission.retries,
    }
    encode = json.JSONEncoder(separators=(",", ":")).encode
    lines = [encode(head)]
    lines += [
        encode([job.id, list(job.words), job.name, dict(job.params), list(job.after), job.learned])
        for job in submission.jobs
    ]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write("\n".join(lines).encode("utf-8", "surrogateescape") + b"\n")
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DeviceError(
            f"`{path}` could not be written: {error.strerror}; nothing was submitted", hint="free some space"
        ) from error


def read(path: Path) -> tuple[Submission, float]:
    """A submission and when it was made.

    Raises:
        DeviceError: the file is gone or holds something else.
    """
    try:
        head, *rest = path.read_bytes().decode("utf-8", "surrogateescape").splitlines()
        data = json.loads(head)
        jobs = [
            NewJob(job, tuple(words), name, params, tuple(after), learned)
            for job, words, name, params, after, learned in map(json.loads, rest)
        ]
        submission = Submission(
            project=str(data["project"]),
            cwd=str(data["cwd"]),
            account=str(data["account"]),
            user=str(data["user"]),
            tier=str(data["tier"]),
            demand=Demand(**data["demand"]),
            spec=data["spec"],
            environment=data["environment"],
            jobs=jobs,
            array=bool(data["array"]),
            held=bool(data["held"]),
            memory_automatic=bool(data["memory_automatic"]),
            retries=int(data["retries"]),
        )
        return submission, float(data["at"])
    except OSError as error:
        raise DeviceError(f"`{path}` cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"`{path}` is damaged: {error}", hint="what it held has to be submitted again") from error


def environment(path: Path) -> dict[str, str]:
    """The variables of the moment of a submission.

    Raises:
        DeviceError: as `read`; only the first line is looked at.
    """
    try:
        with path.open("rb") as file:
            data = json.loads(file.readline().decode("utf-8", "surrogateescape"))
        return {str(name): str(value) for name, value in data["environment"].items()}
    except OSError as error:
        raise DeviceError(f"`{path}` cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError) as error:
        raise DeviceError(f"`{path}` is damaged: {error}") from error


def names(folder: Path) -> Iterator[str]:
    """Ids of the submissions whose files are there; what a crash left half written is removed."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            owner = path.name.rpartition(".")[2]
            if not (owner.isdigit() and Path(f"/proc/{owner}").exists()):
                path.unlink(missing_ok=True)
        elif path.suffix == ".jsonl":
            yield path.stem


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def demand_to_json(demand: Demand) -> Mapping[str, Any]:
    """The fields of a demand."""
    return {name: getattr(demand, name) for name in Demand.__dataclass_fields__}
