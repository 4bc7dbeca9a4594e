"""What the output of a failed command says of its cause: outputs of real failures, paths shortened."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dstui.sdk.explaining import last_lines
from dstui.sdk.failures import read_failure
from dstui.sdk.tracebacks import find

OUTPUTS = Path(__file__).with_name("outputs")

CAUSES = {
    # name: (kind, exception, text of the message, the user's own place)
    "loader_key_error": ("exception", "KeyError", "'label'", "dl_key.py:4"),
    "loader_worker_killed": ("worker_killed", "RuntimeError", "exited unexpectedly", "dl_kill.py:6"),
    "spawned_process": ("exception", "ValueError", "bad shard 1", "spawn.py:3"),
    "torchrun": ("exception", "KeyError", "'weight_decay'", "ranks.py:4"),
    "state_dict": ("weights", "RuntimeError", "loading state_dict", "load.py:2"),
    "cpu_memory": ("host_memory", "RuntimeError", "DefaultCPUAllocator", "cpu_oom.py:2"),
    "matrix_shapes": ("shapes", "RuntimeError", "cannot be multiplied", "mat.py:2"),
    "process_pool": ("exception", "ZeroDivisionError", "division by zero", "pool.py:4"),
    "no_cuda": ("gpu_driver", "AssertionError", "not compiled with CUDA", "nocuda.py:2"),
    "exception_group": ("exception", "ValueError", "x is wrong", "group.py:1"),
    "pandas_key_error": ("exception", "KeyError", "'label'", "pandas_key.py:3"),
    "input_nan": ("not_a_number", "ValueError", "contains NaN", "sk_nan.py:3"),
    "gpu_memory": ("gpu_memory", "torch.OutOfMemoryError", "Tried to allocate 2.26 GiB", "train.py:71"),
    "jax_memory": ("gpu_memory", "jaxlib.xla_extension.XlaRuntimeError", "3743729664 bytes", "main.py:720"),
    "device_assert": ("device_assert", "RuntimeError", "device-side assert", "train.py:41"),
    "nccl_timeout": ("nccl_timeout", None, "OpType=ALLREDUCE", None),
    "shared_memory": ("shared_memory", "RuntimeError", "Bus error", "train.py:30"),
    "slurm_memory": ("host_memory", None, "oom_kill", None),
    "rich_box": ("exception", "ValueError", "lr must be positive", "fitting.py:9"),
    "old_driver": ("gpu_driver", "RuntimeError", "too old", "train.py:12"),
}


def test_every_output_has_its_claim() -> None:
    assert {path.stem for path in OUTPUTS.glob("*.txt")} == set(CAUSES)


@pytest.mark.parametrize("name", CAUSES)
def test_a_real_output_tells_its_cause(name: str) -> None:
    kind, exception, text, place = CAUSES[name]
    found = read_failure(last_lines((OUTPUTS / f"{name}.txt").read_bytes()))
    assert (found.kind, found.exception) == (kind, exception)
    assert text in (found.message or "")
    assert place is None or (found.place is not None and f"{found.place.path}:{found.place.line}".endswith(place))


def test_of_two_ranks_the_one_that_failed_for_itself_counts() -> None:
    found = read_failure((OUTPUTS / "torchrun.txt").read_text().splitlines())
    assert found.rank == 1


def test_mixed_lines_of_ranks_are_told_apart() -> None:
    first = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "    x()", "ValueError: first"]
    second = ["Traceback (most recent call last):", '  File "b.py", line 2, in g', "    y()", "TypeError: second"]
    lines = []
    for one, two in zip(first, second, strict=True):
        lines += [f"[rank0]: {one}", f"[rank3]: {two}"]
    found = {item.rank: (item.exception, item.message, item.frames[0].path) for item in find(lines)}
    assert found == {0: ("ValueError", "first", "a.py"), 3: ("TypeError", "second", "b.py")}


def test_a_chain_has_its_first_exception_as_origin() -> None:
    output = (
        "Traceback (most recent call last):\n"
        '  File "a.py", line 2, in <module>\n    d["lr"]\nKeyError: \'lr\'\n\n'
        "During handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\n"
        '  File "a.py", line 4, in <module>\n    raise SystemError("no config")\nSystemError: no config\n'
    )
    found = read_failure(output.splitlines())
    assert (found.exception, found.origin) == ("SystemError", ("KeyError", "'lr'"))


def test_a_chain_without_end_is_cut_in_its_middle() -> None:
    link = 'Traceback (most recent call last):\n  File "a.py", line {n}, in f\n    x()\nValueError: {n}\n\n'
    text = "During handling of the above exception, another exception occurred:\n\n".join(
        link.format(n=number) for number in range(1, 600)
    )
    found = read_failure(text.splitlines())
    assert (found.message, found.origin) == ("599", ("ValueError", "1"))


def test_words_of_a_log_are_no_exception() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in f',
        "    x()",
        "INFO: going on",
        "loss: 3",
    ]
    lines += ["OSError: [Errno 28] No space left on device: '/data/ckpt.pt'"]
    found = read_failure(lines)
    assert (found.kind, found.exception) == ("disk_full", "OSError")


def test_an_output_that_says_nothing_is_unknown_and_shows_its_last_words() -> None:
    found = read_failure(["epoch 1", "", "epoch 2", ""])
    assert (found.kind, found.evidence) == ("unknown", ("epoch 1", "epoch 2"))


@pytest.mark.parametrize("seed", range(20))
def test_no_text_breaks_it(seed: int) -> None:
    chance = random.Random(seed)
    parts = [path.read_bytes() for path in sorted(OUTPUTS.glob("*.txt"))]
    pieces = [
        part[(start := chance.randrange(len(part))) : start + chance.randrange(400)]
        for part in chance.choices(parts, k=60)
    ]
    noise = [bytes(chance.randrange(256) for _ in range(chance.randrange(80))) for _ in range(40)]
    mixed = pieces + noise
    chance.shuffle(mixed)
    read_failure(last_lines(b"".join(mixed)))


@pytest.mark.parametrize(
    "line",
    [
        b"Traceback (most recent call last):\n",
        b"[rank0]: Traceback (most recent call last):\n",
        b'  File "x", line 1\n',
        b"\x1b[31mDuring handling of the above exception, another exception occurred:\n",
        b"x" * 5_000 + b"\n",
    ],
    ids=["starts", "ranks", "frames", "chains", "long"],
)
def test_a_hostile_log_is_read_in_the_time_of_an_honest_one(line: bytes) -> None:
    lines = last_lines(line * (600_000 // len(line)))
    assert len(lines) <= 600_000
    assert read_failure(lines).exception is None
