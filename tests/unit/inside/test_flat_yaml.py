"""Scalars at the top of a YAML file are read; nothing else is, and nothing runs."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dstui.inside.flat_yaml import KEYS, TEXT_CHARACTERS, read


def test_settings_as_lightning_writes_them() -> None:
    text = """# written by a logger
lr: 0.001
weight_decay: 1.0e-05
steps: 12
negative: -3
name: adam
quoted: 'it''s'
double: "a\\nb"
flag: true
nothing: null
empty:
url: http://x/y#z  # a note
_target_: torch.optim.Adam
'odd key': 1
"""
    assert read(text) == {
        "lr": 0.001,
        "weight_decay": 1e-05,
        "steps": 12,
        "negative": -3,
        "name": "adam",
        "quoted": "it's",
        "double": "a\nb",
        "flag": True,
        "nothing": None,
        "empty": None,
        "url": "http://x/y#z",
        "_target_": "torch.optim.Adam",
        "odd key": 1,
    }


def test_a_long_text_over_several_lines_is_one() -> None:
    assert read("prompt: one two\n  three\nquoted: 'four\n  five'\nlr: 1\n") == {
        "prompt": "one two three",
        "quoted": "four five",
        "lr": 1,
    }


def test_what_is_no_scalar_is_left_out() -> None:
    text = """nested:
  a: 1
list:
- 1
- b: 2
flow: [1, 2]
mapping: {a: 1}
object: !!python/object/apply:os.system
- touch /tmp/x
anchor: &a 1
alias: *a
block: |
  text
lr: 1
"""
    assert read(text) == {"lr": 1}


def test_nan_and_infinities_have_names_of_their_own() -> None:
    values = read("a: .nan\nb: -.inf\n")
    assert math.isnan(values["a"])
    assert values["b"] == -math.inf


def test_a_file_has_bounds() -> None:
    values = read("".join(f"k{number}: {'x' * 1_000}\n" for number in range(2 * KEYS)))
    assert len(values) == KEYS
    assert {len(value) for value in values.values()} == {TEXT_CHARACTERS}


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    read(text)
