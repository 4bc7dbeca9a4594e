"""Which change is suspected for which failure, what a curve says, and what differs between two environments."""

from __future__ import annotations

import math

import pytest

from dstui.sdk import differences
from dstui.sdk.differences import Difference
from dstui.sdk.divergence import Curve, broken, diverged
from dstui.sdk.failures import Failure, read_failure
from dstui.sdk.suspects import Judge
from dstui.sdk.why import script_of

PATCH = b"""diff --git a/src/model.py b/src/model.py
index 1..2 100644
--- a/src/model.py
+++ b/src/model.py
@@ -8,4 +8,5 @@ def build():
 a
-b
+c
+d
 e
"""


def judge(output: str, *, is_diverged: bool = False) -> Judge:
    return Judge(read_failure(output.splitlines()), "/home/ada/project", PATCH, diverged=is_diverged)


def test_a_param_that_the_message_names_is_suspected_before_one_that_is_merely_large() -> None:
    found = judge("Traceback (most recent call last):\nValueError: dropout must be below 1, not 3\n")
    named, other = found.config(Difference("model.dropout", 0.1, 3)), found.config(Difference("epochs", 1, 100))
    assert named.weight > other.weight
    assert (named.likely, other.likely) == ("the message names it", None)


def test_full_memory_points_to_what_grew() -> None:
    found = judge("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n")
    grew, shrank = found.config(Difference("batch_size", 8, 64)), found.config(Difference("seq_len", 512, 128))
    lr = found.config(Difference("lr", 0.1, 0.2))
    assert grew.weight > shrank.weight > lr.weight


def test_a_diverged_loss_points_to_the_step() -> None:
    found = judge("AssertionError: stop\n", is_diverged=True)
    assert found.config(Difference("lr", 0.1, 10)).weight > found.config(Difference("batch_size", 8, 64)).weight


def test_the_failing_line_is_matched_with_the_lines_that_changed() -> None:
    place = '  File "/home/ada/project/src/model.py", line {}, in f\n'
    text = f"Traceback (most recent call last):\n{place}    c\nTypeError: no\n"
    hit = judge(text.format(10)).code("src/model.py", 2, 1, "changed")
    near = judge(text.format(40)).code("src/model.py", 2, 1, "changed")
    elsewhere = judge(text.format(10)).code("README.md", 2, 1, "changed")
    assert hit.weight > near.weight > elsewhere.weight
    assert hit.likely == "it failed in line 10, which changed"


def test_the_package_that_raised_is_suspected() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/home/ada/project/a.py", line 1, in f\n    g()\n'
        '  File "/venv/lib/python3.11/site-packages/transformers/trainer.py", line 5, in g\n    h()\nTypeError: no\n'
    )
    found = judge(text)
    raised, other = (found.package(Difference(name, "1.0", "2.0")) for name in ("transformers", "rich"))
    assert (raised.likely, other.likely) == ("the error was raised in it", None)


def test_without_a_failure_nothing_is_suspected() -> None:
    found = Judge(None, "/x", PATCH, diverged=False)
    changes = [
        found.config(Difference("lr", 1, 2)),
        found.code("src/model.py", 2, 1, "changed"),
        found.package(Difference("torch", "1", "2")),
        found.environment(Difference("driver.nvidia", "1", "2")),
        found.data(Difference("a.csv", None, None)),
    ]
    assert [change.likely for change in changes] == [None] * 5


def test_a_curve_tells_when_it_stopped_being_a_number() -> None:
    curve = Curve([0, 10, 20, 30], [1.0, 0.5, math.nan, math.nan])
    assert broken("loss", curve) == "loss is NaN since step 20; the last number was 0.5 at step 10"
    assert broken("loss", Curve([0, 1, 2], [math.nan, 1.0, 0.5])) is None
    assert broken("loss", Curve([3], [math.inf])) == "loss is infinite since step 3, from its first value on"
    assert broken("loss", Curve([], [])) is None


@pytest.mark.parametrize(
    ("name", "values", "has_diverged"),
    [
        ("loss", [2.0, 1.0, 0.5, 90.0], True),
        ("loss", [2.0, 1.0, 0.5, 0.6], False),  # noise
        ("loss", [90.0, 1.0, 0.5, 3.0], False),  # still below its start
        ("acc", [0.1, 0.2, 0.9], False),  # more is better
        ("loss", [1.0, 9.0], False),  # too few
    ],
)
def test_a_loss_far_above_its_best_and_its_first_value_has_diverged(
    name: str, values: list[float], has_diverged: bool
) -> None:
    assert (diverged(name, Curve(range(len(values)), values)) is not None) == has_diverged


@pytest.mark.parametrize(
    ("command", "script"),
    [
        (("train.py", "--lr", "1"), "train.py"),
        (("python", "-u", "./train.py"), "train.py"),
        (("torchrun", "--nproc-per-node", "2", "src/train.py"), "src/train.py"),
        (("python", "-m", "pkg.train", "x"), "-m pkg.train"),
        (("/usr/bin/make", "all"), "make"),
        ((), ""),
    ],
)
def test_runs_of_one_script_are_known_by_it(command: tuple[str, ...], script: str) -> None:
    assert script_of(command) == script


def test_packages_that_results_hang_on_come_first_then_the_larger_step() -> None:
    before = {"packages": {"torch": "2.6.0", "rich": "13.1", "click": "8.1.0", "numpy": "2.1.0", "gone": "1"}}
    after = {"packages": {"torch": "2.7.0", "rich": "14.0", "click": "8.1.9", "numpy": "2.1.0", "new": "1"}}
    found = differences.packages_between(before, after)
    assert [item.key for item in found] == ["torch", "rich", "click", "gone", "new"]
    assert differences.packages_between({}, after) == []


def test_a_package_from_git_differs_by_its_commit() -> None:
    sides = [{"packages": {"peft": "0.1"}, "sources": {"peft": {"commit": letter * 40}}} for letter in "ab"]
    (found,) = differences.packages_between(*sides)
    assert (found.before, found.after) == ("0.1 (aaaaaaa)", "0.1 (bbbbbbb)")


def test_the_environment_names_python_before_variables_and_no_package() -> None:
    before = {
        "python": {"version": "3.11.7"},
        "variables": {"OMP_NUM_THREADS": "1"},
        "packages": {"a": "1"},
        "gpus": None,
    }
    after = {
        "python": {"version": "3.12.1"},
        "variables": {},
        "packages": {"a": "2"},
        "gpus": [{"name": "NVIDIA H100"}],
    }
    found = differences.environment_between(before, after)
    assert [item.key for item in found] == ["python.version", "gpus", "variables.OMP_NUM_THREADS"]


def test_data_without_a_hash_is_unknown_and_not_the_same() -> None:
    def data(**hashes: str | None) -> dict[str, object]:
        return {"inputs": [{"path": path, "sha256": value, "size": 3} for path, value in hashes.items()]}

    changed, unknown = differences.data_between(data(a="1", b="2", c=None), data(a="1", b="3", c="4", d="5"))
    assert [item.key for item in changed] == ["b", "d"]
    assert unknown == "`c` has no hash in one of the runs"


@pytest.mark.parametrize("value", [None, [], "text", {"packages": 3}, {"inputs": [3, None]}, {"gpus": ["x", 3]}])
def test_records_of_another_form_break_nothing(value: object) -> None:
    record = value if isinstance(value, dict) else {"packages": value, "inputs": value, "editable": value}
    differences.environment_between(record, {"python": {"version": "3"}})
    differences.packages_between(record, record)
    differences.data_between(record, {})


def test_the_cause_of_an_unknown_end_is_not_invented() -> None:
    assert read_failure([]) == Failure("unknown")
