"""Spaces from text, tables and Python: what they mean, how they are printed, and how wrong ones are refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.errors import UsageError
from dstui.search.encoding import Encoding
from dstui.search.parameters import Choice, Fixed, Integer, Real
from dstui.search.space import Space
from dstui.search.space_table import space_of
from dstui.search.space_text import parse_parameter, parse_space


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr=log:1e-5..1e-1", "lr: 1e-5 to 0.1, log scale"),
        ("lr=1e-5..1e-2", "lr: 1e-5 to 0.01, log scale"),
        ("lr=lin:1e-5..1e-2", "lr: 1e-5 to 0.01"),
        ("drop=0.0..0.5", "drop: 0 to 0.5"),
        ("drop=0.0..0.5/0.1", "drop: 0 to 0.5 in steps of 0.1"),
        ("layers=1..8", "layers: whole numbers 1 to 8"),
        ("width=16..256/16", "width: whole numbers 16 to 256 in steps of 16"),
        ("width=log:16..256", "width: whole numbers 16 to 256, log scale"),
        ("bs=16,32,64", "bs: in order 16, 32, 64"),
        ("bs=cat:16,32,64", "bs: one of 16, 32, 64"),
        ("act=relu,tanh", "act: one of relu, tanh"),
        ("flag=true,false", "flag: one of true, false"),
        ("opt=adam", "opt: always adam"),
        ("neg=-5..-1", "neg: whole numbers -5 to -1"),
        ("m=0.0..0.99@optimizer=sgd", "m: 0 to 0.99, only when optimizer is sgd"),
        (
            "m=0.0..0.99@optimizer=sgd,lion@flag=true",
            "m: 0 to 0.99, only when flag is true and optimizer is sgd or lion",
        ),
    ],
)
def test_a_text_means_what_its_words_say(text: str, words: str) -> None:
    assert parse_parameter(text).describe() == words


@pytest.mark.parametrize(
    ("text", "what", "mend"),
    [
        ("lr=1e-1..1e-5", "`lr`", "1e-5..0.1"),
        ("lr=log:0..1.0", "`lr` is on a log scale, but its lower bound is 0", "above 0"),
        ("lr=0.1..x", "upper bound of `lr` is `x`", "LOW..HIGH"),
        ("lr=log:5", "`lr=5` is no range", "LOW..HIGH"),
        ("lr", "`lr` names no parameter", "NAME=RANGE"),
        ("=1..2", "names no parameter", "NAME=RANGE"),
        ("bs=16,,32", "empty value", "a,b,c"),
        ("bs=16,32,16", "`bs` lists 16 more than once", "once"),
        ("w=1..8/20", "Step 20 of `w`", "at most 7"),
        ("w=log:1..64/2", "both a log scale and step 2", "leave one"),
        ("a b=1..2", "`a b` is no name", "letters"),
        ("m=0..1@optimizer", "Condition `@optimizer` of `m`", "CHOICE=VALUE"),
        ("x=1e400..2", "no finite number", "finite"),
        ("n=1..99999999999999999999", "beyond the whole numbers", "within"),
    ],
)
def test_a_wrong_text_is_refused_with_name_value_and_mend(text: str, what: str, mend: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_parameter(text)
    assert what in caught.value.message
    assert mend in str(caught.value.hint)


@pytest.mark.parametrize(
    ("texts", "what"),
    [
        (["a=1..2", "a=3..4"], "`a` is given 2 times"),
        (["m=0.0..1.0@opt=sgd"], "`opt`, which is not in the space"),
        (["opt=1..3", "m=0.0..1.0@opt=2"], "`opt`, which is a range"),
        (["opt=sgd,adam", "m=0.0..1.0@opt=lion"], "which `opt` never is"),
        (["a=x,y@b=x", "b=x,y@a=x"], "go in a circle"),
        ([], "no parameter"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(texts: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse_space(texts)


def test_what_was_guessed_is_said() -> None:
    notes = parse_space(["lr=1e-5..1e-2", "dropout=0..1"]).notes
    assert "log scale" in notes[0]
    assert "0.0..1.0" in notes[1]


def test_python_forms_are_read() -> None:
    space = space_of(
        {
            "a": (0.0, 0.5),
            "b": (1, 8),
            "c": ("log", 1e-5, 1e-1),
            "d": ("lin", 1e-5, 1e-1),
            "e": [16, 32, 64],
            "f": ["sgd", "adam"],
            "g": "x",
            "h": {"low": 16, "high": 256, "step": 16},
            "i": {"low": 0.0, "high": 0.99, "when": {"f": "sgd"}},
            "j": np.array([1, 2, 3]),
            "k": (np.float64(0.5), np.float64(0.75)),
        }
    )
    kinds = [type(parameter) for parameter in space.parameters]
    assert kinds == [Real, Integer, Real, Real, Choice, Choice, Fixed, Integer, Real, Choice, Real]
    assert space["c"] == Real(name="c", low=1e-5, high=1e-1, log=True)
    assert space["d"] == Real(name="d", low=1e-5, high=1e-1)
    assert space["e"] == Choice(name="e", values=(16, 32, 64), ordered=True)


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"a": (1, 2, 3)}, "`a` is the tuple"),
        ({"a": ("exp", 1, 2)}, "the scale `exp`"),
        ({"a": {"low": 1}}, "`a` has no `high`"),
        ({"a": {"low": 1, "high": 2, "hihg": 3}}, "unknown key `hihg`"),
        ({"a": {"low": "1", "high": 2}}, "`low` of `a` is 1, which is no number"),
        ({"a": {"values": "abc"}}, "not a list"),
        ({"a": {"low": 0, "high": 1, "when": "sgd"}}, "not a table"),
        ({"a": [1]}, "1 choices"),
        ({"a": []}, "0 choices"),
        ({"a": [1, [2]]}, "neither a finite number"),
        ({"a": [1.0, float("nan")]}, "neither a finite number"),
        ({"a": None}, "`a` is a `NoneType`"),
        ({"a": float("inf")}, "fixed at inf"),
        ({1: (0, 1)}, "no name"),
        ("lr", "not a table"),
        ({}, "no parameter"),
    ],
)
def test_a_wrong_table_is_refused(table: object, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        space_of(table)
    assert what in caught.value.message
    assert caught.value.hint


def test_a_point_knows_what_counts() -> None:
    space = parse_space(["opt=sgd,adam", "m=0.0..0.99@opt=sgd", "epochs=10"])
    assert space.point({"opt": "adam", "m": 0.5}) == {"opt": "adam", "m": None, "epochs": 10}
    assert space.active(space.point({"opt": "adam"})) == {"opt": "adam", "epochs": 10}
    with pytest.raises(UsageError, match="`m` has no value"):
        space.point({"opt": "sgd"})
    with pytest.raises(UsageError, match="`m` is 2, outside"):
        space.point({"opt": "sgd", "m": 2.0})
    with pytest.raises(UsageError, match="`lr` is not a parameter"):
        space.point({"opt": "adam", "lr": 1.0})


def test_conditions_can_be_nested_and_each_point_is_counted_once() -> None:
    space = parse_space(["a=x,y", "b=p,q@a=x", "c=1..3@b=p"])
    points = list(space.points())
    assert len(points) == space.size() == 5
    assert len({space.key(point) for point in points}) == 5


def test_end_values_of_whole_numbers_get_a_full_share() -> None:
    encoding = Encoding(parse_space(["n=1..4"]))
    rows = encoding.snap(np.linspace(0.0, 1.0, 4001)[:, None])
    drawn = [encoding.point(row)["n"] for row in rows]
    assert [round(drawn.count(value) / len(drawn), 2) for value in (1, 2, 3, 4)] == [0.25] * 4


def test_two_different_choices_lie_at_distance_one() -> None:
    encoding = Encoding(parse_space(["act=relu,tanh,gelu"]))
    points = [encoding.space.point({"act": name}) for name in ("relu", "tanh", "gelu")]
    encoded = encoding.encode(encoding.locate(points))
    distances = [float(np.linalg.norm(encoded[i] - encoded[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert distances == pytest.approx([1.0, 1.0, 1.0])


names = st.sampled_from(["lr", "batch_size", "a.b", "w-1"])
numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def parameters(draw: Any, name: str) -> Any:
    kind = draw(st.sampled_from(["real", "log", "int", "step", "choice", "ordered", "fixed"]))
    if kind == "real":
        low = draw(numbers)
        return Real(name=name, low=low, high=low + draw(st.floats(0.001, 1e6)))
    if kind == "log":
        low = draw(st.floats(1e-8, 1e3))
        return Real(name=name, low=low, high=low * draw(st.floats(1.01, 1e6)), log=True)
    if kind == "int":
        low = draw(st.integers(1, 1000))
        return Integer(name=name, low=low, high=low + draw(st.integers(1, 10_000)), log=draw(st.booleans()))
    if kind == "step":
        step = draw(st.integers(1, 50))
        low = draw(st.integers(-100, 100))
        return Integer(name=name, low=low, high=low + step * draw(st.integers(1, 20)), step=step)
    if kind == "choice":
        return Choice(name=name, values=tuple(draw(st.lists(st.text("abcxyz", min_size=1), min_size=2, unique=True))))
    if kind == "ordered":
        values = sorted(draw(st.lists(st.integers(0, 99), min_size=3, max_size=6, unique=True)))
        return Choice(name=name, values=tuple(values), ordered=True)
    return Fixed(name=name, value=draw(st.one_of(st.booleans(), st.integers(-9, 9), st.text("ab"))))


@st.composite
def spaces(draw: Any) -> Space:
    chosen = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    found = [draw(parameters(name)) for name in chosen]
    if isinstance(found[0], Choice) and len(found) > 1:
        found[-1] = found[-1].under(((found[0].name, found[0].values[:1]),))
    return Space(tuple(found))


@settings(max_examples=60, deadline=None)
@given(spaces())
def test_a_space_written_as_json_is_read_back_equal(space: Space) -> None:
    assert space_of(json.loads(json.dumps(space.table()))) == space
    assert len(space.describe()) == len(space.parameters)


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 2**32))
def test_a_point_located_in_the_cube_is_found_again(space: Space, seed: int) -> None:
    encoding = Encoding(space)
    if not encoding.width:
        return
    for row in encoding.snap(np.random.default_rng(seed).random((8, encoding.width))):
        point = encoding.point(row)
        assert space.point(point) == point
        located = encoding.snap(encoding.locate([point]))
        assert space.key(encoding.point(located[0])) == space.key(point) or any(
            isinstance(parameter, Real) and parameter.step is None for parameter in space.searched
        )
        assert np.abs(located[0] - row).max() < 1e-5
        assert encoding.encode(located).shape == (1, encoding.model_width)
