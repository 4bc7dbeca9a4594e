"""Sweep files, ours and wandb's: what they ask for, and how wrong ones are refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.errors import ConfigError, UsageError
from dstui.search.parameters import Choice, Integer, Real
from dstui.search.sweep_file import sweep_of
from dstui.search.sweep_reading import read_sweep_file
from dstui.search.wandb_file import sweep_of_wandb
from dstui.search.yaml_subset import read_yaml

TOML = """
name = "resnet-lr"
command = ["train.py", "--data", "cifar"]
maximize = "val_acc"
trials = 40
parallel = 4
gpus = 1
repeat = 2
sampler = "auto"
seed = 7
timeout = "2h"
stop = {rule = "asha", resource = "epoch", min = 1, max = 81, eta = 3}
limits = {wall = "8h", gpu_hours = 20.0, target = 0.95, plateau = 20}
[space]
lr = {low = 1e-5, high = 1e-1, scale = "log"}
batch_size = [16, 32, 64]
momentum = {low = 0.0, high = 0.99, when = {optimizer = ["sgd"]}}
optimizer = ["sgd", "adam"]
epochs = 30
"""

YAML = """
program: train.py   # what to run
method: bayes
metric:
  name: val_loss
  goal: minimize
run_cap: 30
parameters:
  lr:
    distribution: log_uniform_values
    min: 1e-5
    max: 1.0e-1
  batch_size: {values: [16, 32, 64]}
  layers:
    min: 1
    max: 4
  dropout: {distribution: q_uniform, min: 0.0, max: 0.5, q: 0.1}
  optimizer:
    values:
    - adam
    - "sgd"
  epochs:
    value: 10
early_terminate:
  type: hyperband
  min_iter: 3
command:
  - ${env}
  - python
  - ${program}
  - --verbose
  - ${args}
"""


def test_a_file_says_all_that_it_says(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(TOML)
    sweep = read_sweep_file(path)
    assert (sweep.objective, sweep.maximize, sweep.trials, sweep.parallel) == ("val_acc", True, 40, 4)
    assert sweep.command == ("train.py", "--data", "cifar")
    assert (sweep.limits.wall_seconds, sweep.limits.gpu_hours, sweep.timeout_seconds) == (8 * 3600, 20.0, 7200)
    assert sweep.stop is not None
    assert sweep.stop["resource"] == "epoch"
    assert sweep.space.describe() == [
        "lr: 1e-5 to 0.1, log scale",
        "batch_size: in order 16, 32, 64",
        "momentum: 0 to 0.99, only when optimizer is sgd",
        "optimizer: one of sgd, adam",
        "epochs: always 30",
    ]


def test_a_resolved_file_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(TOML)
    sweep = read_sweep_file(path)
    assert sweep_of(sweep.table()) == sweep
    least = sweep_of({"minimize": "loss", "space": {"x": [1, 2]}})
    assert sweep_of(least.table()) == least


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"minimize": "loss"}, "this has both"),
        ({"trails": 5}, "`trails` is not a key"),
        ({"trials": 0}, "`trials` is 0"),
        ({"trials": True}, "`trials` is true"),
        ({"parallel": 2.5}, "`parallel` is 2.5"),
        ({"stop": {"rule": "ashs"}}, "the rule ashs"),
        ({"stop": {"rule": "asha", "patience": 3}}, "unknown key `patience`"),
        ({"stop": {"rule": "asha", "min": "1"}}, "`min` of `stop` is 1"),
        ({"limits": {"wal": "8h"}}, "`wal` is no limit"),
        ({"limits": {"wall": "8 parsecs"}}, "8 parsecs"),
        ({"limits": {"plateau": 0.5}}, "`plateau` is 0.5"),
        ({"timeout": -1}, "`timeout` is -1"),
        ({"command": [["a"]]}, "no word"),
        ({"value": "first"}, "`value` is first"),
        ({"seed": "x"}, "`seed` is x"),
        ({"maximize": 3}, "`maximize` is 3"),
        ({"space": 3}, "not a table"),
    ],
)
def test_a_wrong_key_or_value_is_named(changed: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        sweep_of({"maximize": "acc", "space": {"x": [1, 2]}, **changed})
    assert what in caught.value.message
    assert caught.value.hint


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="exactly one of `maximize` and `minimize`"):
        sweep_of({"space": {"x": [1, 2]}})
    with pytest.raises(UsageError, match="no `space`"):
        sweep_of({"maximize": "acc"})


def test_a_wandb_file_means_the_same_here(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(YAML)
    sweep = read_sweep_file(path)
    assert (sweep.objective, sweep.maximize, sweep.trials, sweep.sampler) == ("val_loss", False, 30, "bayes")
    assert sweep.command == ("train.py", "--verbose")
    assert sweep.stop == {"rule": "asha", "min": 3, "eta": 3}
    assert sweep.space["lr"] == Real(name="lr", low=1e-5, high=1e-1, log=True)
    assert sweep.space["layers"] == Integer(name="layers", low=1, high=4)
    assert sweep.space["dropout"] == Real(name="dropout", low=0.0, high=0.5, step=0.1)
    assert sweep.space["optimizer"] == Choice(name="optimizer", values=("adam", "sgd"))


@pytest.mark.parametrize(
    ("parameter", "what"),
    [
        ({"distribution": "normal", "mu": 0, "sigma": 1}, "`mu`"),
        ({"distribution": "inv_log_uniform", "min": 1, "max": 2}, "no counterpart"),
        ({"min": 1}, "`max` of `p` is missing"),
        ({"min": "1", "max": 2}, "`min` of `p` is 1"),
        ({"parameters": {"q": {"value": 1}}}, "parameters of its own"),
        ({"distribution": "log_uniform", "min": -900, "max": 1}, "e^-900"),
        (3, "not a mapping"),
    ],
)
def test_what_wandb_has_and_we_have_not_is_refused_by_name(parameter: Any, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        sweep_of_wandb({"metric": {"name": "loss"}, "parameters": {"p": parameter}})
    assert what in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.toml", b"trials = = 3", "is no TOML"),
        ("a.toml", b"\xff\xfe", "is not UTF-8"),
        ("a.toml", b"x = 1\n" * 200_000, "is larger than"),
        ("a.yaml", b"a: &anchor 1", "uses `&`"),
        ("a.yaml", b"a: !!python/object:os.system x", "uses `!`"),
        ("a.yaml", b"a: |\n  text", "uses `|`"),
        ("a.yaml", b"a: 1\n---\nb: 2", "another document"),
        ("a.yaml", b"\ta: 1", "indented by a tab"),
        ("a.yaml", b"a: 1\na: 2", "a second time"),
        ("a.yaml", b"a: [1, 2", "does not close"),
        ("a.yaml", b"a: 'x", "does not close"),
        ("a.yaml", b"a: 1\n   b: 2", "stands at no level"),
        ("a.yaml", b"- a\nb: 1", "stands at no level"),
        ("a.yaml", b"a: " + b"[" * 50, "more than 20 levels"),
        ("a.yaml", b"", "holds no mapping"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, name: str, data: bytes, what: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_sweep_file(path)
    assert what in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_sweep_file(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb:\n  - x\n  - y: 2\n    z: 3\n", {"a": 1, "b": ["x", {"y": 2, "z": 3}]}),
        ("a:\n- 1\n- 2\nb: null", {"a": [1, 2], "b": None}),
        ("a: {b: [1, {c: 'it''s'}], d: ''}", {"a": {"b": [1, {"c": "it's"}], "d": ""}}),
        ('a: "x # no comment"  # a comment', {"a": "x # no comment"}),
        ("a: x#y", {"a": "x#y"}),
        ("- - 1\n  - 2\n- 3", [[1, 2], 3]),
        ("a: 1e-5\nb: 1_000\nc: -.5\nd: 1.\ne: 0x1f\nf: yes\ng: ~", None),
        ("url: http://a:80/b", {"url": "http://a:80/b"}),
        ('"quoted key": 1', {"quoted key": 1}),
        ("a:\n  # only a comment\nb: []", {"a": None, "b": []}),
    ],
)
def test_the_part_of_yaml_that_is_read(text: str, value: Any) -> None:
    if value is None:
        value = {"a": 1e-5, "b": 1000, "c": -0.5, "d": 1.0, "e": "0x1f", "f": True, "g": None}
    assert read_yaml(text) == value


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.text("abc xyz", max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def written(value: Any, indent: int = 0) -> str:
    """A value as block YAML, the way a library would write it."""
    pad = " " * indent

    def behind(inner: Any) -> str:
        nested = inner and isinstance(inner, (dict, list))
        return f"\n{written(inner, indent + 2)}" if nested else f" {flow(inner)}\n"

    if isinstance(value, dict) and value:
        return "".join(f'{pad}"{key}":{behind(inner)}' for key, inner in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{behind(inner)}" for inner in value)
    return f"{pad}{flow(value)}\n"


def flow(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"'{key}': {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return str(value)


@settings(max_examples=100, deadline=None)
@given(plain)
def test_what_is_written_as_yaml_is_read_back(value: Any) -> None:
    assert read_yaml(written(value)) == value
    assert read_yaml(flow(value)) == value


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60) | st.text("ab:-[]{}'\",# \n&*!|>%~", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        read_yaml(text)
