"""The query language: what is written is read back, both evaluators agree with a slow one, errors say where."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dstui.errors import QueryError
from dstui.sdk import matching
from dstui.sdk.columns import RecordColumns
from dstui.sdk.query import Query, Sort, SortKey, builtin_views, nearest, parse, parse_sort, suggest, word_span
from dstui.sdk.terms import (
    BUILTIN_KEYS,
    AllOf,
    AnyOf,
    Compare,
    Has,
    Not,
    Term,
    View,
    Word,
    all_of,
    any_of,
)
from dstui_store import MetricSummary, RunRecord

NOW = 1_800_000_000.0
"""The moment at which all of these tests happen."""


def run(**fields: Any) -> RunRecord:
    """A run record; `summary` maps a metric to its last value."""
    summary = {name: MetricSummary(last, last, last, 1, 1) for name, last in fields.pop("summary", {}).items()}
    return RunRecord(**{"id": "k3f9c0000000000a", "number": 1, "name": "run", "summary": summary, **fields})


def ids(query: str, runs: Sequence[RunRecord]) -> list[int]:
    """Numbers of the runs that match, from both evaluators, which must agree."""
    parsed = parse(query)
    selected = [record.number for record in parsed.select(runs, now=NOW)]
    masked = [record.number for record, hit in zip(runs, parsed.mask(RecordColumns(runs, NOW)), strict=True) if hit]
    assert masked == selected
    assert [record.number for record in runs if parsed.matches(record, now=NOW)] == selected
    return selected


# Strategies: small pools, so that values meet

KEYS = (
    *BUILTIN_KEYS,
    "lr",
    "acc",
    "opt",
    "size_bytes",
    "param.acc",
    "metric.acc",
    "param.name",
    "my key",
    "a:b",
    "has",
)
VALUES = (
    "0.1", "1e-1", "1", "2", "nan", "inf", "true", "null", "sgd", "SGD", "finished", "Failed", "paper", "k3f9c",
    "2h", "1k", "1K", "#2", "run", "[1, 2]", "ü", "",
)  # fmt: skip
NUMBERS = ("0.1", "1", "2", "-1", "1e3", "nan", "inf", "2h", "1k", "0.5h")
PATTERNS = ("^r", "sgd", "[0-9]", "1", "paper|x", "a+", "^$", "")

config_values = st.one_of(
    st.sampled_from([0.1, 1, 2, 7200, 1000, 1024, math.nan, math.inf, True, None, "sgd", "0.1", "", [1, 2], "Paper"]),
    st.floats(),
)
records = st.lists(
    st.builds(
        run,
        id=st.sampled_from(["k3f9c0000000000a", "7q2mx0000000000b"]),
        number=st.integers(1, 3),
        name=st.sampled_from(["run", "sgd-1", "Paper", "x"]),
        state=st.sampled_from(["running", "finished", "failed"]),
        experiment=st.sampled_from([None, "sgd", "base"]),
        sweep=st.sampled_from([None, "sweep-7"]),
        user=st.sampled_from(["", "alice", "bob"]),
        writer=st.sampled_from(["", "alice-1", "bob-2"]),
        host=st.sampled_from(["", "gpu07"]),
        notes=st.sampled_from(["", "paper run", "ü"]),
        tags=st.lists(st.sampled_from(["paper", "Paper", "bad", "1", "sgd"]), max_size=2, unique=True).map(tuple),
        devices=st.sampled_from([(), ("GPU-0",), ("GPU-0", "GPU-1")]),
        started_at=st.sampled_from([None, NOW - 1, NOW - 7200]),
        duration_seconds=st.sampled_from([None, 1.0, 7200.0]),
        config=st.dictionaries(st.sampled_from(["lr", "acc", "opt", "size_bytes", "name", "my key"]), config_values),
        summary=st.dictionaries(st.sampled_from(["acc", "loss", "a:b"]), st.sampled_from([0.1, 1.0, math.nan, 2.0])),
    ),
    max_size=6,
)


def terms(*, any_text: bool) -> st.SearchStrategy[Term]:
    """Terms in the form that `all_of` and `any_of` leave; with `any_text`, made of any characters at all."""
    text = st.text(max_size=8) if any_text else st.sampled_from(VALUES)
    key = st.text(min_size=1, max_size=8) if any_text else st.sampled_from(KEYS)
    many = st.lists(text, min_size=1, max_size=3).map(tuple)
    numbers = st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=2).map(tuple)
    patterns = st.lists(st.sampled_from(PATTERNS if any_text else PATTERNS[:4]), min_size=1, max_size=2).map(tuple)
    atom = st.one_of(
        st.builds(Word, text),
        st.builds(Has, key),
        st.builds(Compare, key, st.sampled_from([":", "="]), many),
        st.builds(Compare, key, st.just("!="), text.map(lambda value: (value,))),
        st.builds(Compare, key, st.sampled_from(["<", "<=", ">", ">="]), numbers),
        st.builds(Compare, key, st.just("~"), patterns),
        *([st.builds(View, key)] if any_text else []),
    )
    return st.recursive(
        atom,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.lists(inner, min_size=2, max_size=3).map(any_of),
            st.lists(inner, min_size=2, max_size=3).map(all_of),
        ),
        max_leaves=6,
    )


def as_query(term: Term) -> Query:
    return Query(term.terms if isinstance(term, AllOf) else (term,))


# The slow evaluator: TUI section 5 and the rules in `matching`, one sentence after the other


def slow(term: Term, record: RunRecord) -> bool:
    match term:
        case AllOf(parts):
            return [slow(part, record) for part in parts].count(False) == 0
        case AnyOf(parts):
            return [slow(part, record) for part in parts].count(True) > 0
        case Not(part):
            return not slow(part, record)
        case Word(text):
            return any(
                text.lower() in part.lower() for part in [record.name, record.id, record.notes, *record.tags] if part
            )
        case Has(key):
            return slow_values(key, record) != []
        case Compare(key, "!=", (wanted,)):
            values = slow_values(key, record)
            return values != [] and not any(is_nan(value) or slow_equal(key, value, wanted) for value in values)
        case Compare(key, operator, wanted_values):
            return any(
                slow_compare(key, operator, value, wanted)
                for value in slow_values(key, record)
                for wanted in wanted_values
            )
    raise AssertionError(term)


def slow_values(key: str, record: RunRecord) -> list[Any]:
    """Every value of a key, as Python has it; none when the run has none."""
    seconds = record.duration_seconds
    if seconds is None and record.state == "running" and record.started_at is not None:
        seconds = NOW - record.started_at
    builtin = {
        "id": record.id,
        "number": record.number,
        "name": record.name,
        "state": record.state,
        "note": record.notes or None,
        "experiment": record.experiment,
        "sweep": record.sweep,
        "by": record.user or None,
        "user": record.user or None,
        "writer": record.writer or None,
        "host": record.host or None,
        "age": None if record.started_at is None else NOW - record.started_at,
        "duration": seconds,
        "gpu_hours": None if seconds is None or not record.devices else seconds / 3600 * len(record.devices),
    }
    if key == "tag":
        return list(record.tags)
    if key in builtin:
        return [] if builtin[key] is None else [builtin[key]]
    if key.startswith("param."):
        return [record.config[key[6:]]] if key[6:] in record.config else []
    if key.startswith("metric."):
        return [record.summary[key[7:]].last] if key[7:] in record.summary else []
    if key in record.config:
        return [record.config[key]]
    return [record.summary[key].last] if key in record.summary else []


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def slow_number(key: str, text: str) -> float | None:
    """What a typed value means, for the few forms that the strategies use."""
    text = text.removeprefix("#") if key == "number" else text
    hours = re.fullmatch(r"([0-9.]+)h", text)
    if hours:
        return float(hours[1]) * (1 if key == "gpu_hours" else 3600)
    if text in ("1k", "1K"):
        return 1024 if key == "size_bytes" else 1000
    try:
        return float(text)
    except ValueError:
        return None


def slow_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def slow_equal(key: str, value: Any, wanted: str) -> bool:
    if not is_number(value):
        return slow_text(value) == wanted
    number = slow_number(key, wanted)
    return number is not None and (value == number or (is_nan(value) and is_nan(number)))


def slow_compare(key: str, operator: str, value: Any, wanted: str) -> bool:
    if operator == "=":
        return slow_equal(key, value, wanted)
    if is_nan(value):
        return False
    if operator == ":":
        if is_number(value):
            return slow_equal(key, value, wanted)
        if key in ("state", "tag"):
            return slow_text(value).lower() == wanted.lower()
        return wanted.lower() in slow_text(value).lower()
    if operator == "~":
        if is_number(value):
            value = (
                repr(int(value))
                if math.isfinite(value) and value == int(value) and abs(value) < 1e16
                else repr(float(value))
            )
        return re.search(wanted, slow_text(value)) is not None
    number = slow_number(key, wanted)
    if not is_number(value) or number is None:
        return False
    return bool({"<": value < number, "<=": value <= number, ">": value > number, ">=": value >= number}[operator])


# Laws


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(terms(any_text=True))
def test_what_a_query_writes_is_read_back_as_the_same_query(term: Term) -> None:
    query = as_query(term)
    assert parse(str(query)) == query


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(st.text(alphabet='ab0.1:=!<>~|()" \\has:viewstate-é\t', max_size=16))
def test_any_text_is_read_or_refused_within_its_length(text: str) -> None:
    query, error = _parsed_or_refused(text)
    if query is not None:
        assert parse(str(query)) == query
    else:
        assert error is not None
        assert 0 <= error.position <= len(text)
        assert error.message
        assert error.__notes__ == [text]


def _parsed_or_refused(text: str) -> tuple[Query | None, QueryError | None]:
    try:
        return parse(text), None
    except QueryError as error:
        return None, error


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(terms(any_text=False), records)
def test_both_evaluators_agree_with_a_slow_one(term: Term, runs: list[RunRecord]) -> None:
    query = as_query(term)
    expected = [slow(term, record) for record in runs]
    rows = list(range(len(runs)))
    kept = query.select([{**_as_mapping(record), "row": row} for row, record in enumerate(runs)], now=NOW)
    assert [row in [record["row"] for record in kept] for row in rows] == expected
    assert query.mask(RecordColumns(runs, NOW)).tolist() == expected


def _as_mapping(record: RunRecord) -> dict[str, Any]:
    """The record as a dictionary, summaries too, the other form that is admitted."""
    fields = {name: getattr(record, name) for name in RunRecord.__slots__}
    return {**fields, "summary": {name: {"last": summary.last} for name, summary in record.summary.items()}}


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.builds(SortKey, st.sampled_from(KEYS), st.booleans()), max_size=3).map(tuple),
    records,
)
def test_rows_and_columns_are_sorted_alike_and_missing_ones_come_last(
    keys: tuple[SortKey, ...], runs: list[RunRecord]
) -> None:
    sort = Sort(keys)
    by_rows = sort.apply(runs, now=NOW)
    order = sort.order(RecordColumns(runs, NOW), np.arange(len(runs)))
    assert [id(runs[row]) for row in order] == [id(record) for record in by_rows]
    if keys:
        values = [matching.value_of(record, keys[0].key, NOW) for record in by_rows]
        present = [value is not None and not is_nan(value) for value in values]
        assert present == sorted(present, reverse=True)
        numbers = [value for value in values if isinstance(value, float) and not is_nan(value)]
        assert numbers == sorted(numbers, reverse=keys[0].descending)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=60))
def test_rows_with_equal_values_keep_their_order(seconds: list[int]) -> None:
    runs = [RunRecord(id="k3f9c0000000000a", number=1, name="run", duration_seconds=value) for value in seconds]
    order = Sort((SortKey("duration"),)).order(RecordColumns(runs, NOW), np.arange(len(runs)))
    assert order.tolist() == sorted(range(len(seconds)), key=seconds.__getitem__)


@example((SortKey("a,b"), SortKey(",", descending=True)))
@given(st.lists(st.builds(SortKey, st.text(min_size=1, max_size=6), st.booleans()), max_size=3).map(tuple))
def test_sort_keys_are_read_back_as_written(keys: tuple[SortKey, ...]) -> None:
    assert parse_sort(str(Sort(keys))) == Sort(keys)


@given(st.text(alphabet='ab:|!( "state', max_size=12), st.data())
def test_a_suggestion_in_its_place_is_a_query_as_far_as_it_goes(text: str, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(text)))
    start, end = word_span(text, position)
    assert 0 <= start <= position <= end <= len(text)
    for suggestion in suggest(text, position, ["alpha", "beta gamma", "state_size"]):
        parse(suggestion if ":" in suggestion or "=" in suggestion else f"has:{suggestion}")


# Meaning

RUNS = (
    run(number=1, id="k3f9c0000000000a", name="resnet-lr", state="finished", tags=("paper",), notes="Best so far",
        experiment="lr", user="alice", started_at=NOW - 3600, duration_seconds=60, devices=("GPU-0",),
        config={"lr": 0.001, "opt": "SGD", "amp": True, "acc": 1}, summary={"val_acc": 0.93, "acc": 0.5}),
    run(number=2, id="7q2mx0000000000b", name="bert", state="failed", tags=("bad", "paper"), user="bob",
        started_at=NOW - 3 * 86400, duration_seconds=5, config={"lr": 0.1, "memory_bytes": 40 * 2**30},
        summary={"val_acc": math.nan, "acc": 0.25}),
    run(number=3, id="c0ff30000000000c", name="Paper-3", state="running", started_at=NOW - 7200,
        devices=("GPU-0", "GPU-1"), config={"layers": [1, 2], "seed": None}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [1, 2, 3]),
        ("paper", [1, 2, 3]),
        ("PAPER !tag:bad", [1, 3]),
        ("k3f9", [1]),
        ("best", [1]),
        ('"so far"', [1]),
        ("alice", []),
        ("state:finished", [1]),
        ("state:FINISHED|failed", [1, 2]),
        ("state:fin", []),
        ("tag:pap", []),
        ("tag:Paper", [1, 2]),
        ("tag=Paper", []),
        ("tag!=bad", [1]),
        ("!tag=bad", [1, 3]),
        ("tag~^p", [1, 2]),
        ("name:RES", [1]),
        ("name=bert", [2]),
        ("name!=bert", [1, 3]),
        ("name~^[rb]e", [1, 2]),
        ("lr<1e-2", [1]),
        ("lr>=0.1", [2]),
        ("lr=1e-3", [1]),
        ("lr:0.001", [1]),
        ("lr:0.00", []),
        ("lr!=0.1", [1]),
        ("!lr=0.1", [1, 3]),
        ("lr~^0", [1, 2]),
        ("opt<3", []),
        ("opt:sgd", [1]),
        ("opt=sgd", []),
        ("amp=true", [1]),
        ("seed=null", [3]),
        ('layers:"[1, 2"', [3]),
        ("val_acc>0.9", [1]),
        ("val_acc!=0.93", []),
        ("val_acc=nan", [2]),
        ("val_acc:nan", []),
        ("!val_acc>0.9", [2, 3]),
        ("has:val_acc", [1, 2]),
        ("has:tag", [1, 2]),
        ("has:note", [1]),
        ("has:seed", [3]),
        ("acc=1", [1]),
        ("acc=0.5", []),
        ("metric.acc=0.5", [1]),
        ("param.acc=1", [1]),
        ("acc=0.25", [2]),
        ("memory_bytes=40G", [2]),
        ("memory_bytes>1e9", [2]),
        ("age<2h", [1]),
        ("age<=2h", [1, 3]),
        ("age>2d", [2]),
        ("duration>1m", [3]),
        ("duration<10s", [2]),
        ("gpu_hours>=4", [3]),
        ("gpu_hours>2h", [3]),
        ("gpu_hours<0.1", [1]),
        ("number:#2", [2]),
        ("number>1", [2, 3]),
        ("by:ALI", [1]),
        ("user:alice", [1]),
        ("experiment=lr|base", [1]),
        ("!(state:failed duration<10s)", [1, 3]),
        ("(lr<1e-2|number=3) has:layers", [3]),
        ("lr<1e-2|number=3 !paper", []),
        ("name:x|bert|state:running", [2, 3]),
        ("name:x|(resnet)", [1]),
    ],
)
def test_what_a_query_means(query: str, numbers: list[int]) -> None:
    assert ids(query, RUNS) == numbers


def test_views_stand_for_their_queries() -> None:
    views = builtin_views("alice") | {"mine": parse("by=alice"), "both": parse("view:mine|view:tidy")}
    expanded = parse("view:both !view:running").expand(views)
    assert [record.number for record in expanded.select(RUNS, now=NOW)] == [1]
    assert parse("view:all").expand(views) == Query()
    assert [record.number for record in views["mine today"].select(RUNS, now=NOW)] == [1]


def test_a_view_that_is_not_there_or_holds_itself_is_refused() -> None:
    views = {"a": parse("view:b"), "b": parse("x view:a"), "tidy": parse("x")}
    with pytest.raises(QueryError, match="`a` holds itself"):
        parse("view:a").expand(views)
    with pytest.raises(QueryError, match="No view is called `tydi`") as caught:
        parse("lr<1 view:tydi").expand(views)
    assert (caught.value.hint, caught.value.position) == ("nearest: `tidy`", 5)
    for evaluate in (
        lambda: parse("view:tidy").select(RUNS, now=NOW),
        lambda: parse("view:tidy").mask(RecordColumns(RUNS, NOW)),
    ):
        with pytest.raises(QueryError, match="No view"):
            evaluate()


def test_a_key_that_no_run_has_is_named_with_the_nearest() -> None:
    with pytest.raises(QueryError, match="No run has `lrr`") as caught:
        parse("paper lrr<0.1").check({"lr", "val_acc"})
    assert (caught.value.hint, caught.value.position) == ("nearest: `lr`", 6)
    assert caught.value.__notes__ == ["paper lrr<0.1"]
    with pytest.raises(QueryError, match="No run has `has_no_such`"):
        parse("!has:has_no_such").check({"lr"})
    parse("lr<1 param.lr<1 state:x has:age").check({"lr"})
    parse("anything<1").check(set())
    with pytest.raises(QueryError, match="No run has `val_ac`"):
        parse_sort("lr,val_ac").check({"lr", "val_acc"})


def test_the_nearest_name_may_differ_in_case_or_stand_deeper() -> None:
    assert nearest("LR", ["lr", "lrr"]) == "lr"
    assert nearest("lr", ["clr", "optimizer.lr"]) == "optimizer.lr"
    assert nearest("zzz", ["lr"]) is None


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("lr<", 3, "A value is missing after `lr<`", "without a space"),
        ("lr < 1", 3, "A key is missing before `<`", "without spaces"),
        ("lr<abc", 3, "`abc` is not a number", "1e-3"),
        ("lr<1|abc", 5, "`abc` is not a number", "1e-3"),
        ("x (a", 2, "`(` is never closed", "quote"),
        ("a)", 1, "`)` closes nothing", "quote"),
        ("()", 0, "Nothing stands between", None),
        ("|a", 0, "Nothing stands before `|`", None),
        ("a|", 1, "Nothing stands after `|`", None),
        ("a||b", 1, "Nothing stands after `|`", None),
        ("! a", 0, "Nothing stands after `!`", "right before"),
        ("!!a", 1, "`!` stands twice", "leave both away"),
        ("lr==1", 2, "`==` is no operator", "use one of"),
        ("lr=<1", 2, "`=<` is no operator", "use one of"),
        ("a!~b", 1, "`!~` is no operator", "`!name~x`"),
        ("=3", 0, "A key is missing", "lr<0.1"),
        ('a"b"', 1, "stands right after", "quote all of it"),
        ("f(x)", 1, "stands right after", "quote all of it"),
        ("(a)b", 3, "stands right after", "space"),
        ('x "abc', 2, "A quotation mark is never closed", '"'),
        ("name~(a)", 5, "A value is missing after `name~`", "parentheses"),
        ("name~[", 5, "`[` is not a regular expression: unterminated character set", None),
        ('name~"a{9999999999}"', 5, "is not a regular expression", None),
        ("has:", 4, "A name is missing after `has:`", None),
        ("state!=a|b", 0, "would hold for every run", "`!state=a|b`"),
        ("(" * 60, 50, "nested deeper than 50", None),
    ],
)
def test_an_error_says_where_what_and_how(text: str, position: int, message: str, hint: str | None) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert caught.value.position == position
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a b", "a b"),
        ("((a  b))|c", "(a b)|c"),
        ("a | b", "a|b"),
        ("note:http://x|y", 'note:"http://x"|y'),
        (r'name~"\d+\"x"', r'name~"\\d+\"x"'),
        (r"name~\d+", r'name~"\\d+"'),
        ('"has":x', '"has":x'),
        ("has:x|y", "has:x|y"),
        ('""', '""'),
        ("!(!a)", "!(!a)"),
    ],
)
def test_a_query_is_written_in_one_form(text: str, written: str) -> None:
    assert str(parse(text)) == written
    assert parse(written) == parse(text)


def test_the_keys_of_a_query_are_known() -> None:
    query = parse("a<1 has:b !(c~x|a=2) word")
    assert query.keys() == ["a", "b", "c"]
    assert query.has_pattern
    assert not parse("a<1").has_pattern


# Regular expressions


@pytest.mark.slow
def test_a_pattern_that_never_ends_is_stopped() -> None:
    runs = [run(name="a" * 40 + "b")]
    query = parse('name~"(a+)+$"')
    with pytest.raises(QueryError, match=r"takes longer than 2 s") as caught:
        query.select(runs, now=NOW)
    assert "(a+)+" in (caught.value.hint or "")
    branching = f'name~"{"(a|a)" * 28}c"'
    with pytest.raises(QueryError, match="takes longer"):
        parse(branching).mask(RecordColumns(runs, NOW))


@pytest.mark.parametrize("pattern", ["^run-1$", "run-(1|2)$", r"\d{2}", "ü", "a.?c"])
def test_a_pattern_is_found_where_python_finds_it(pattern: str) -> None:
    texts = ["run-1", "run-12", "ü", "abc", "", "line\nbreak", "\ud800"]
    assert matching.find_in_texts(pattern, texts) == [re.search(pattern, text) is not None for text in texts]


def test_many_texts_are_searched_by_one_child() -> None:
    runs = [run(number=number, name=f"run-{number}") for number in range(3000)]
    assert len(parse("name~7+$").select(runs, now=NOW)) == 300


# Sort, completion, start-up


def test_sorting_reads_directions_and_puts_missing_values_last() -> None:
    assert [record.number for record in parse_sort("val_acc:desc").apply(RUNS, now=NOW)] == [1, 2, 3]
    assert [record.number for record in parse_sort("lr:asc").apply(RUNS, now=NOW)] == [1, 2, 3]
    assert [record.number for record in parse_sort("lr:desc").apply(RUNS, now=NOW)] == [2, 1, 3]
    assert [record.number for record in parse_sort("name:desc").apply(RUNS, now=NOW)] == [1, 3, 2]
    assert [record.number for record in parse_sort("").apply(RUNS, now=NOW)] == [1, 2, 3]
    assert parse_sort(' a:desc , "b,c" ').keys == (SortKey("a", True), SortKey("b,c"))


@pytest.mark.parametrize(("text", "position"), [("a,", 2), (":desc", 0), ("a:up", 2), (",", 0), ("a,,b", 2)])
def test_a_wrong_sort_is_refused_where_it_is_wrong(text: str, position: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse_sort(text)
    assert caught.value.position == position
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "suggestions"),
    [
        ("va", ["val_acc", "val_loss"]),
        ("lr<1 !val_l", ["val_loss"]),
        ("(LR", ["lr", "optimizer.lr"]),
        ("state:f", ["state:finished", "state:failed"]),
        ("state!=lo", ["state!=lost"]),
        ("has:va", ["has:val_acc", "has:val_loss"]),
        ("valacc", ["val_acc"]),
        ("my", ['"my key"']),
        ("lr<0", []),
        ("qqqqq", []),
    ],
)
def test_a_word_is_completed_from_what_runs_have(text: str, suggestions: list[str]) -> None:
    found = suggest(text, len(text), ["lr", "val_acc", "val_loss", "optimizer.lr", "my key"])
    assert found[: len(suggestions)] == suggestions
    assert bool(found) == bool(suggestions)


def test_the_word_at_the_cursor_is_what_a_suggestion_replaces() -> None:
    assert word_span("lr<1 !val_a tag:x", 9) == (6, 11)
    assert word_span('"my k', 5) == (0, 5)
    assert word_span("a|b", 2) == (2, 3)


@pytest.mark.slow
def test_filtering_rows_needs_no_numpy() -> None:
    code = (
        "import sys; from dstui.sdk.query import parse, parse_sort; from dstui_store import RunRecord\n"
        "runs = [RunRecord(id='k3f9c0000000000a', number=1, name='x', config={'lr': 0.1})]\n"
        "assert parse('lr<1 name~x+').select(runs, now=0.0) == parse_sort('lr:desc').apply(runs, now=0.0) == runs\n"
        "print(sorted({'numpy', 'pyarrow', 'textual', 'git', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
