"""What others wrote is named or refused, run by run; it never ends the listing, fills the memory or hangs."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dstui_store import RunRecord, Store, index
from dstui_store.git import STORE_CONFIG
from tests.safety.looking import Seen, look
from tests.store.chains import (
    AUTHOR,
    THEIRS,
    append,
    append_line,
    append_operation,
    append_run,
    move_ref,
    run_line,
    tip_of,
    write_commit,
    write_object,
)
from tests.store.ended_runs import committed_run
from tests.store.git_projects import store_git, write_files

ROOT = Path(__file__).parents[2]
MOST_MEMORY = 320 << 20
"""Python, numpy and Parquet take 150 MB; no look at a store may need much more. Git's own memory is not counted."""


@dataclass(frozen=True)
class Place:
    """A store with an honest run, which must always be listed and readable."""

    store: Store
    honest: RunRecord

    def look(self) -> Seen:
        """Looks at everything, and asserts that the honest run is as it was."""
        seen = look(self.store)
        assert seen.listed.get(self.honest.id) == "honest"
        assert self.honest.id not in seen.refused
        # Later runs are taken in as ever.
        later = committed_run(self.store, name="later")
        assert later.id in {record.id for record in self.store.records()}
        return seen

    def look_from_outside(self, timeout_seconds: float = 60) -> Seen:
        """The same in a process of its own, whose memory is measured."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.safety.looking", str(self.store.layout.project)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        seen = Seen(**json.loads(done.stdout))
        assert seen.listed.get(self.honest.id) == "honest"
        assert self.honest.id not in seen.refused
        assert seen.peak_bytes < MOST_MEMORY
        return seen


_templates: list[Path] = []
"""The project with the honest run, made by the first test and copied by the others."""


@pytest.fixture
def place(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if not _templates:
        with Store.open(project, create=True) as store:
            committed_run(store, store.snapshot(), name="honest", metrics={"loss": [1.0, 0.5]})
        _templates.append(Path(shutil.copytree(project, tmp_path_factory.mktemp("template") / "project")))
    shutil.rmtree(project)
    shutil.copytree(_templates[0], project)
    with Store.open(project, create=True) as store:
        (honest,) = store.records()
        yield Place(store, honest)


# --- the line of a log entry ---

UNREADABLE_LINES: dict[str, str | bytes] = {
    "empty": "",
    "no JSON": "{",
    "a list": "[]",
    "a text": '"x"',
    "null": "null",
    "no version": "{}",
    "version as text": '{"v":"1","op":"run"}',
    "deep": '{"v":1,"a":' + "[" * 3_000 + "]" * 3_000 + "}",
    "just too deep": '{"v":1,"op":"run","config":{"a":' + "[" * 40 + "]" * 40 + "}}",
    "unclosed deep": '{"v":1,"a":' + "[" * 7_000,
    "key twice": '{"v":1,"op":"run","op":"run"}',
    "bare NaN": '{"v":1,"op":"run","duration_seconds":NaN}',
    "bare Infinity": '{"v":1,"op":"run","duration_seconds":Infinity}',
    "long integer": '{"v":1,"op":"run","number":' + "9" * 5_000 + "}",
    "newer": '{"v":2,"op":"run"}',
    "far newer": '{"v":999999999,"op":"run"}',
    "invalid UTF-8": b'{"v":1,"op":"\xff\xfe"}',
    "UTF-16": '{"v":1,"op":"run"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"v":1,"op":"run"}',
    "control bytes": '{"v":1,"op":"run","name":"\x1b]0;x\x07"}',
    "over 16 KiB": '{"v":1,"op":"run","name":"' + "x" * 20_000 + '"}',
}


def test_unreadable_lines_are_named_and_the_rest_is_listed(place: Place) -> None:
    commit = write_commit(place.store, "R")
    sound: set[str] = set()
    entries: dict[str, str] = {}
    for name, line in UNREADABLE_LINES.items():
        body = line.encode() if isinstance(line, str) else line
        sound.add(append_run(place.store, name=f"before {name}"))
        entries[append(place.store, THEIRS, b"ds run x finished\n\n" + body + b"\n", run_commit=commit)] = name
    sound.add(append_run(place.store, name="after"))
    seen = place.look()
    assert sound < set(seen.listed)
    damaged = {entries[oid] for oid, _, _ in place.store.index.damages()}
    assert damaged == set(UNREADABLE_LINES) - {"empty"}


WRONG_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**63,
    2**64 - 1,
    -(2**63),
    1.5,
    1e308,
    "",
    "x",
    [],
    [None],
    {},
    {"a": {}},
    [[1]],
    "9" * 400,
)


def test_fields_of_another_kind_are_named_or_harmless(place: Place) -> None:
    commit = write_commit(place.store, "R")
    lines = [run_line(**{key: value}) for key in run_line() if key != "v" for value in WRONG_VALUES]
    for key in run_line():
        missing = run_line()
        del missing[key]
        lines.append(missing)
    tip = write_commit(place.store, "ds v1\n")
    for line in lines:
        tip = write_commit(place.store, f"t\n\n{json.dumps(line)}\n", [tip, commit])
    move_ref(place.store, THEIRS, tip)
    seen = place.look()
    # Each is one or the other; those that only want an optional field, or give it as nothing, are listed.
    assert len(seen.listed) - 1 + len(seen.damages) == len(lines)
    assert 50 < len(seen.damages) < len(lines) - 50


EXTREMES: dict[str, str] = {
    "largest numbers": '"number":9223372036854775807,"exit_code":9223372036854775807,"signal":-9223372036854775808',
    "number past 63 bits": '"number":9223372036854775808',
    "endless duration": '"duration_seconds":1e999',
    "negative duration": '"duration_seconds":-1e308',
    "tiny duration": '"duration_seconds":5e-324',
    "long digits": '"duration_seconds":' + "1" * 300,
    "endless param": '"config":{"lr":1e999,"x":-1e999,"y":[1e999]}',
    "endless metric": '"summary":{"a":{"last":1e999,"min":-1e999,"max":1e999,"step":1,"count":1}}',
    "not finite": '"summary":{"a":{"last":"NaN","min":"-Infinity","max":"Infinity","step":null,"count":0}}',
    "negative count": '"summary":{"a":{"last":1,"min":1,"max":1,"step":-9223372036854775808,"count":-1}}',
    "year one": '"started_at":"0001-01-01T00:00:00Z"',
    "before year one": '"started_at":"0001-01-01T00:00:00+14:00"',
    "end of time": '"started_at":"9999-12-31T23:59:59.999999Z"',
    "past the end": '"ended_at":"9999-12-31T23:59:59.999999-14:00"',
    "no zone": '"started_at":"2026-01-01T00:00:00"',
    "only a date": '"started_at":"2026-01-01"',
    "a week": '"started_at":"2026-W01-1"',
    "future": '"started_at":"2999-01-01T00:00:00Z"',
    "no time": '"started_at":"soon"',
    "surrogates": '"name":"\\ud800","tags":["\\udfff"],"config":{"\\ud800":"\\udc00"},"user":"\\ud800"',
    "NUL": '"name":"a\\u0000b","tags":["\\u0000"],"config":{"\\u0000":"\\u0000"}',
    "terminal": '"name":"\\u001b]0;owned\\u0007\\u202e\\u2066","notes":"\\u009b31m"',
    "options": '"name":"--upload-pack=x","experiment":"-rf","tags":["--help"],"command":["-c","--exec"]',
    "SQL": '"name":"\'; DROP TABLE run; --","tags":["\' OR 1=1"]',
    "many params": '"config":{' + ",".join(f'"k{number}":{number}' for number in range(900)) + "}",
    "many tags": '"tags":[' + ",".join(f'"t{number}"' for number in range(1500)) + "]",
    "nested param": '"config":{"a":{"b":[{"c":1e999}]}}',
    "more": '"more":"yes"',
}


def test_extreme_values_are_listed_or_named(place: Place) -> None:
    entries: dict[str, tuple[str, str]] = {}
    for name, extreme in EXTREMES.items():
        sound = run_line()
        given = set(json.loads(f"{{{extreme}}}"))
        rest = json.dumps({key: value for key, value in sound.items() if key not in given})
        oid = append_line(place.store, THEIRS, f"{rest[:-1]},{extreme}}}", run_commit=write_commit(place.store, name))
        entries[name] = (sound["id"], oid)
    seen = place.look()
    damaged = {oid for oid, _, _ in place.store.index.damages()}
    for name, (run, oid) in entries.items():
        assert (run in seen.listed) != (oid in damaged), name
    assert place.store.resolve("@")


def test_a_run_line_without_its_commit_is_named(place: Place) -> None:
    line = run_line()
    append_line(place.store, THEIRS, line)
    seen = place.look()
    assert line["id"] not in seen.listed
    assert seen.damages == ["A run's log entry does not name its commit"]


@pytest.mark.parametrize("target", ["missing", "blob", "tree", "a log entry", "empty commit"])
def test_a_run_whose_commit_is_none_is_listed_and_refused_when_asked(place: Place, target: str) -> None:
    store = place.store
    commit = {
        "missing": lambda: "ab" * 20,
        "blob": lambda: write_object(store, "blob", b"x"),
        "tree": lambda: store.git.empty_tree,
        "a log entry": lambda: str(tip_of(store, f"refs/ds/p/{store.writer()}")),
        "empty commit": lambda: write_object(store, "commit", b"\n"),
    }[target]()
    line = run_line()
    append_line(store, THEIRS, line, run_commit=commit)
    seen = place.look()
    assert seen.listed[line["id"]] == "theirs"
    if target != "a log entry":
        assert {"meta", "entries", "log"} <= set(seen.refused[line["id"]])


@pytest.mark.parametrize("encoding", ["UTF-7", "UTF-16", "UTF-16LE", "ISO-2022-JP", "nonsense", "x" * 5_000])
def test_an_encoding_header_cannot_forge_other_entries(place: Place, encoding: str) -> None:
    forged = f"\0\n\x01{'ab' * 20}\0{'cd' * 20} {'ef' * 20}\0t\n\n" + json.dumps(run_line(name="forged"))
    for message in (forged.encode("utf-7"), forged.encode("utf-16"), forged.encode("utf-16-le")):
        append(place.store, THEIRS, message, head=f"encoding {encoding}\n".encode())
    after = append_run(place.store, name="after")
    seen = place.look()
    assert "forged" not in seen.listed.values()
    assert after in seen.listed


def test_headers_that_no_commit_has_change_nothing(place: Place) -> None:
    for head in (
        b"parent " + b"0" * 40 + b"\n",
        b"gpgsig -----BEGIN\n x\n",
        b"x" * 20_000 + b"\n",
        b"mergetag object x\n",
    ):
        line = run_line()
        tip = tip_of(place.store, THEIRS) or write_commit(place.store, "ds v1\n")
        commit = write_commit(place.store, "R")
        entry = write_commit(place.store, f"t\n\n{json.dumps(line)}\n", [tip, commit], head=head)
        move_ref(place.store, THEIRS, entry)
    place.look()


def test_a_commit_with_ten_thousand_parents_is_named(place: Place) -> None:
    store = place.store
    tip = append(store, THEIRS, "x\n\n{}\n")
    commit = write_commit(store, "R")
    entry = write_commit(store, f"t\n\n{json.dumps(run_line(name='octopus'))}\n", [tip, *[commit] * 10_000])
    move_ref(store, THEIRS, entry)
    after = append_run(store, name="after")
    seen = place.look()
    assert after in seen.listed
    assert "octopus" not in seen.listed.values()


def test_a_run_that_pretends_to_be_ours_does_not_replace_it(place: Place) -> None:
    append_run(place.store, id=place.honest.id, name="pretended", writer=place.honest.writer)
    append_operation(place.store, THEIRS, place.honest.id, "rename", value="renamed", time=1e12)
    assert place.look().listed[place.honest.id] == "honest"


def test_a_run_by_another_writer_than_its_log_s_is_named_and_not_listed(place: Place) -> None:
    forged = append_run(place.store, name="forged", writer="victim")
    append_run(place.store, name="their own")
    seen = place.look()
    assert forged not in seen.listed
    assert sorted(seen.listed.values()) == ["honest", "their own"]
    assert seen.damages == ["A run in the log of `mallory` says that it is by `victim`"]


def test_a_second_run_with_the_id_of_another_s_is_named(place: Place) -> None:
    append_run(place.store, id=place.honest.id, name="again")
    seen = place.look()
    assert seen.listed == {place.honest.id: "honest"}
    assert seen.damages == [f"The log of `mallory` holds another run with the id of one by `{place.honest.writer}`"]


def test_a_log_line_that_names_the_commit_of_another_run_is_refused_when_asked(place: Place) -> None:
    line = run_line(name="borrowed")
    append_line(place.store, THEIRS, line, run_commit=place.honest.commit)
    assert "speaks of another run" in place.look().refused[line["id"]]["meta"]


def test_a_run_whose_commit_has_a_parent_is_refused_when_asked(place: Place) -> None:
    line = run_line()
    parent = write_commit(place.store, "any\n")
    append_line(place.store, THEIRS, line, run_commit=write_commit(place.store, "R\n", [parent]))
    refused = place.look().refused[line["id"]]
    assert all("has a parent" in why for why in refused.values())
    assert {"meta", "log", "metrics"} <= set(refused)


def test_writers_over_the_limit_are_named_and_ours_is_listed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_WRITERS", 4)
    for number in range(5):
        append_run(place.store, f"refs/ds/r/0123abcd/w{number}", writer=f"w{number}", name=f"w{number}")
    seen = place.look()
    assert sorted(seen.listed.values()) == ["honest", "w0", "w1", "w2"]
    assert seen.damages == ["This store has more than 4 writers, so this one is left out"] * 2


def test_hundreds_of_writers_are_listed(place: Place) -> None:
    store = place.store
    tip = write_commit(store, "ds v1\n")
    commit = write_commit(store, "R")
    entry = write_commit(store, f"t\n\n{json.dumps(run_line(writer='w0'))}\n", [tip, commit])
    folder = store.layout.store_git / "refs" / "ds" / "r" / "0123abcd"
    folder.mkdir(parents=True)
    for number in range(300):
        (folder / f"w{number}").write_text(f"{entry}\n")
    assert len(place.look().listed) == 2


# --- the tree of a run ---


def entry(mode: str, name: bytes, oid: str) -> bytes:
    return b"%s %s\0" % (mode.encode(), name) + bytes.fromhex(oid)


def run_with_tree(store: Store, tree: str, **fields: Any) -> str:
    """One more run of others, whose commit has any tree."""
    line = run_line(**fields)
    commit = write_commit(store, f"ds run theirs\n\nDs-Run: {line['id']}\n", tree=tree)
    append_line(store, THEIRS, line, run_commit=commit)
    return str(line["id"])


def run_with(store: Store, **files: bytes) -> str:
    """One more run of others, with files by name; `__` stands for a dot."""
    entries = {name.replace("__", "."): write_object(store, "blob", content) for name, content in files.items()}
    content = b"".join(entry("100644", name.encode(), oid) for name, oid in sorted(entries.items()))
    return run_with_tree(store, write_object(store, "tree", content))


TREE_NAMES = (
    b"unknown.json",
    b"",
    b".",
    b"..",
    b".git",
    b"META.JSON",
    b"meta.json/x",
    b"../meta.json",
    b"/etc/passwd",
    b"--help",
    b"meta.json\xff",
)
TREE_MODES = (
    "100755",
    "120000",
    "160000",
    "40000",
    "100664",
    "0",
    "1",
    "777777",
    "99999",
    "100648",
    "x",
    "",
    "1" * 500,
)


def test_a_run_s_tree_with_a_name_of_no_run_is_refused_whole(place: Place) -> None:
    blob = write_object(place.store, "blob", b"{}")
    for name in TREE_NAMES:
        tree = write_object(place.store, "tree", entry("100644", name, blob) + entry("100644", b"meta.json", blob))
        run_with_tree(place.store, tree, name=repr(name))
    seen = place.look()
    refused = {seen.listed[run] for run, asked in seen.refused.items() if {"entries", "meta", "log"} <= set(asked)}
    assert refused == set(map(repr, TREE_NAMES))


def test_a_run_s_tree_with_another_mode_is_refused_whole(place: Place) -> None:
    store = place.store
    blob = write_object(store, "blob", b"{}")
    for mode in TREE_MODES:
        run_with_tree(store, write_object(store, "tree", entry(mode, b"meta.json", blob)), name=f"file {mode[:9]}")
        if mode != "40000":
            tree = write_object(store, "tree", entry(mode, b"code", store.git.empty_tree))
            run_with_tree(store, tree, name=f"code {mode[:9]}")
    seen = place.look()
    odd = {run for run, name in seen.listed.items() if name.startswith(("file", "code"))}
    assert len(odd) == 2 * len(TREE_MODES) - 1
    assert odd == {run for run, asked in seen.refused.items() if "entries" in asked}


BROKEN_TREES = (
    b"x",
    b"100644 a",
    b"100644 a\0short",
    b"\0" * 100,
    b"100644\0" + b"a" * 20,
    b" \0" + b"a" * 20,
    b"100644 meta.json\0" + b"a" * 19,
)


def test_a_malformed_tree_is_refused(place: Place) -> None:
    runs = {run_with_tree(place.store, write_object(place.store, "tree", content)) for content in BROKEN_TREES}
    seen = place.look()
    assert runs == {run for run, asked in seen.refused.items() if "entries" in asked}


@pytest.mark.parametrize("kind", ["missing", "blob", "commit"])
def test_a_tree_that_is_none_is_refused(place: Place, kind: str) -> None:
    oid = (
        "cd" * 20 if kind == "missing" else write_object(place.store, kind, b"tree x\n\n" if kind == "commit" else b"x")
    )
    run = run_with_tree(place.store, oid)
    assert "entries" in place.look().refused[run]


def test_an_entry_that_stands_twice_is_refused(place: Place) -> None:
    first, second = (write_object(place.store, "blob", content) for content in (b'{"a":1}', b'{"a":2}'))
    tree = entry("100644", b"meta.json", first) + entry("100644", b"meta.json", second)
    run = run_with_tree(place.store, write_object(place.store, "tree", tree))
    assert "entries" in place.look().refused[run]


def test_a_folder_of_metrics_with_other_names_is_refused(place: Place) -> None:
    store = place.store
    blob = write_object(store, "blob", b"x")
    for name in (b"0.parquet", b"8.parquet", b"x", b"..", b"1.parquet\xff", b"a/b"):
        metrics = write_object(store, "tree", entry("100644", name, blob))
        run_with_tree(store, write_object(store, "tree", entry("40000", b"metrics", metrics)), name=f"m {name!r}")
    seen = place.look()
    refused = {seen.listed[run] for run, questions in seen.refused.items() if "metrics" in questions}
    assert len(refused) == 6


JSON_BOMBS: dict[str, bytes] = {
    "deep": b"[" * 500_000,
    "deep object": b'{"a":' * 100_000,
    "over a MiB": b'{"a":"' + b"x" * (1 << 20) + b'"}',
    "key twice": b'{"a":1,"a":2}',
    "NaN": b'{"a":NaN}',
    "digits": b'{"a":' + b"9" * 900_000 + b"}",
    "float digits": b'{"a":0.' + b"9" * 900_000 + b"}",
    "a list": b"[1,2]",
    "a text": b'"x"',
    "empty": b"",
    "half": b'{"a":',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "not UTF-8": b'{"a":"\xff"}',
    "many lists": b'{"a":[' + b"[]," * 340_000 + b"[]]}",
    "many keys": b"{" + b",".join(b'"%d":0' % number for number in range(90_000)) + b"}",
    "surrogate": b'{"a":"\\ud800"}',
    "wrong types": b'{"code":7,"errors":"x","command":{},"id":[],"notes":{}}',
    "code as list": b'{"code":[1],"errors":[[[]]]}',
}


def test_json_bombs_are_refused_or_harmless(place: Place) -> None:
    names = ("meta__json", "config__json", "env__json", "skipped__json", "artifacts__json", "media__json")
    for content in JSON_BOMBS.values():
        for name in names if len(content) < 1000 else names[:2]:
            run_with(place.store, log__gz=gzip.compress(b"x"), **{name: content})
    place.look()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zeros", "many members", "past the limit by one"])
def test_a_log_that_grows_out_of_nothing_is_refused_early(place: Place, kind: str) -> None:
    if kind == "zeros":
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        content = b"".join(packer.compress(bytes(1 << 20)) for _ in range(400)) + packer.flush()
    elif kind == "many members":
        content = gzip.compress(bytes(1 << 20)) * 400
    else:
        content = gzip.compress(bytes((16 << 20) + 1))
    run = run_with(place.store, log__gz=content)
    seen = place.look_from_outside()
    assert "over the limit of 16,777,216" in seen.refused[run]["log"]


BROKEN_LOGS: dict[str, bytes] = {
    "empty": b"",
    "no gzip": b"hello",
    "only a head": gzip.compress(b"x")[:10],
    "cut": gzip.compress(os.urandom(10_000))[:5_000],
    "garbage inside": gzip.compress(b"x" * 1_000)[:10] + os.urandom(500),
    "wrong check": gzip.compress(b"x")[:-8] + bytes(8),
    "garbage after": gzip.compress(b"x") + b"garbage",
    "reserved block": b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x07" + bytes(20),
    "odd method": b"\x1f\x8b\x07\0\0\0\0\0\0\xff" + bytes(20),
    "endless name": b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"a" * 1_000_000,
}


def test_a_broken_log_is_refused(place: Place) -> None:
    runs = {run_with(place.store, log__gz=content): name for name, content in BROKEN_LOGS.items()}
    seen = place.look()
    refused = {runs[run] for run, asked in seen.refused.items() if "log" in asked}
    assert refused == set(BROKEN_LOGS) - {"empty"}


def parquet_footer(size: int, footer: bytes = b"") -> bytes:
    return b"PAR1" + footer + struct.pack("<I", size) + b"PAR1"


BROKEN_METRICS: dict[str, bytes] = {
    "empty": b"",
    "no Parquet": b"hello world",
    "only marks": b"PAR1PAR1",
    "footer too long": parquet_footer(0xFFFFFFFF),
    "footer past the start": parquet_footer(1000),
    "footer of zeros": parquet_footer(1000, bytes(1000)),
    "footer of noise": parquet_footer(1000, bytes(range(250)) * 4),
    "encrypted": parquet_footer(10, bytes(10)).replace(b"PAR1", b"PARE"),
    "cut": parquet_footer(100)[:-2],
}


@pytest.mark.slow
def test_broken_metrics_are_refused(place: Place) -> None:
    runs = {run_with(place.store, metrics__parquet=content): name for name, content in BROKEN_METRICS.items()}
    seen = place.look()
    assert {runs[run] for run, asked in seen.refused.items() if "metrics" in asked} == set(BROKEN_METRICS)


def test_an_artifact_list_leads_to_no_file_outside(place: Place, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("TOPSECRET")
    cas = place.store.layout.cas
    for name in ("../" * 8 + str(secret), str(secret), "..", "", "a" * 64, "A" * 64, "0" * 63 + "/", "00" * 32 + "\n"):
        artifacts = json.dumps([{"path": "log", "size": 9, "sha256": name, "media": "text/plain"}]).encode()
        run = run_with(place.store, artifacts__json=artifacts, log__gz=gzip.compress(b"ends only\n"))
        assert place.store.log(run) == b"ends only\n"
    assert not cas.exists()
    place.look()


def test_hostile_media_are_refused_and_decoded_by_nobody(place: Place) -> None:
    good = {"name": "\x1b]0;x\x07", "kind": "image", "type": "image/png", "step": 1, "time": 1.0, "rank": 0, "size": 4}
    good |= {"sha256": hashlib.sha256(b"\x89PNG").hexdigest(), "offset": 0}
    bomb = b"\x89PNG"
    readable = run_with(place.store, media__json=json.dumps([good]).encode(), media__bin=bomb)
    refused = [
        run_with(place.store, media__json=json.dumps([{**good, **change}]).encode(), media__bin=bomb)
        for change in ({"offset": 3}, {"size": 1 << 40}, {"sha256": "0" * 64}, {"offset": None}, {"type": "text/html"})
    ]
    refused.append(run_with(place.store, media__json=json.dumps([good] * 4_001).encode(), media__bin=bomb))
    refused.append(run_with(place.store, media__json=json.dumps([good]).encode()))
    refused.append(run_with(place.store, media__json=json.dumps([good]).encode(), media__bin=bytes(3 << 20)))
    seen = place.look()
    assert "media" not in seen.refused.get(readable, {})
    assert [run for run in refused if "media" not in seen.refused.get(run, {})] == []


# --- code ---


def run_with_code(store: Store, code: str) -> str:
    return run_with_tree(store, write_object(store, "tree", entry("40000", b"code", code)))


CODE_NAMES = (
    b"",
    b".",
    b"..",
    b".git",
    b".GIT",
    b".Git",
    b"git~1",
    b"GIT~1",
    b".git ",
    b".git.",
    b".git...  .",
    b".git::$INDEX_ALLOCATION",
    b".git:x",
    ".g\u200cit".encode(),
    ".GI\ufeffT".encode(),
    b"a\\.git\\config",
    b"a/b",
    b"/etc/passwd",
    b"../../x",
)


@pytest.mark.parametrize("mode", ["100644", "40000"])
def test_code_with_a_name_that_no_checkout_may_have_is_refused_whole(place: Place, mode: str) -> None:
    store = place.store
    inner = write_object(store, "blob", b"x") if mode == "100644" else store.git.empty_tree
    runs: dict[str, bytes] = {}
    for name in CODE_NAMES:
        tree = write_object(store, "tree", entry(mode, name, inner))
        runs[run_with_code(store, tree)] = name
        runs[run_with_code(store, write_object(store, "tree", entry("40000", b"sub", tree)))] = name
    seen = place.look()
    refused = {run for run, asked in seen.refused.items() if "code_files" in asked}
    assert [name for run, name in runs.items() if run not in refused] == []


ODD_NAMES = (
    b"--option",
    b"-",
    b"con",
    b"nul.txt",
    b"a\nb",
    b"\x1b[31m",
    b"\xff",
    b".gitmodules",
    b"git",
    b"..x",
    b"x.git",
)


def test_code_with_an_odd_but_possible_name_is_listed(place: Place) -> None:
    blob = write_object(place.store, "blob", b"x")
    content = b"".join(entry("100644", name, blob) for name in sorted(ODD_NAMES))
    run = run_with_code(place.store, write_object(place.store, "tree", content))
    seen = place.look()
    assert "code_files" not in seen.refused.get(run, {})
    assert place.store.code_files(run) == {os.fsdecode(name): blob for name in ODD_NAMES}


def test_a_name_that_stands_twice_in_code_is_refused(place: Place) -> None:
    blob, other = write_object(place.store, "blob", b"x"), write_object(place.store, "blob", b"y")
    run = run_with_code(
        place.store, write_object(place.store, "tree", entry("100644", b"a", blob) + entry("100644", b"a", other))
    )
    assert "code_files" in place.look().refused[run]


def test_a_path_over_the_limit_is_refused(place: Place) -> None:
    blob = write_object(place.store, "blob", b"x")
    run = run_with_code(place.store, write_object(place.store, "tree", entry("100644", b"n" * 2_000, blob)))
    assert "over the limit of 1,024" in place.look().refused[run]["code_files"]


def test_code_deeper_than_the_limit_is_refused(place: Place) -> None:
    store = place.store
    tree = write_object(store, "tree", entry("100644", b"x", write_object(store, "blob", b"x")))
    for _ in range(60):
        tree = write_object(store, "tree", entry("40000", b"d", tree))
    run = run_with_code(store, tree)
    assert "over the limit of 50" in place.look().refused[run]["code_files"]


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("leaf", ["empty folders", "files"])
def test_a_tree_that_multiplies_itself_is_refused_early(place: Place, leaf: str) -> None:
    store = place.store
    blob = write_object(store, "blob", b"x")
    tree = store.git.empty_tree if leaf == "empty folders" else write_object(store, "tree", entry("100644", b"f", blob))
    for _ in range(12):
        tree = write_object(store, "tree", b"".join(entry("40000", b"%02d" % number, tree) for number in range(20)))
    run = run_with_code(store, tree)
    with pytest.raises(Exception, match="over the limit of 50,000"):
        store.code_files(run)
    record = store.record(run)
    assert record.name == "theirs"


def test_a_code_tree_with_a_hundred_thousand_files_is_refused(place: Place) -> None:
    blob = write_object(place.store, "blob", b"x")
    tree = write_object(
        place.store, "tree", b"".join(entry("100644", b"%06d" % number, blob) for number in range(100_000))
    )
    run = run_with_code(place.store, tree)
    with pytest.raises(Exception, match="over the limit of 50,000"):
        place.store.code_files(run)


def test_a_blob_over_the_limit_is_refused_without_being_read(place: Place) -> None:
    big = write_object(place.store, "blob", bytes(65 << 20))
    run = run_with_code(place.store, write_object(place.store, "tree", entry("100644", b"big", big)))
    seen = place.look()
    assert "over the limit of 67,108,864" in seen.refused[run]["code"]


# --- memory ---


@pytest.mark.slow
def test_a_huge_message_fills_no_memory(place: Place) -> None:
    before = append_run(place.store, name="before")
    line = json.dumps(run_line(name="huge"))
    commit = write_commit(place.store, "R")
    append(place.store, THEIRS, line.encode() + b"\n\n" + b'{"v":1,"op":"' + b"x" * (24 << 20), run_commit=commit)
    append(place.store, THEIRS, b"t\n\n" + line.encode() + b"\n" + b"\n" * (24 << 20), run_commit=commit)
    after = append_run(place.store, name="after")
    place.store.close()
    seen = place.look_from_outside()
    assert {before, after} < set(seen.listed)
    assert len(seen.damages) == 2


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_log_of_more_entries_than_the_limit_is_read_up_to_it(place: Place) -> None:
    lines = ["commit refs/ds/r/0123abcd/mallory", f"committer {AUTHOR} 1 +0000", "data 6", "ds v1\n"]
    for _ in range(100_050):
        body = json.dumps({"v": 1, "op": "later"})
        message = f"t\n\n{body}\n"
        lines += ["commit refs/ds/r/0123abcd/mallory", f"committer {AUTHOR} 1 +0000", f"data {len(message)}", message]
    store_git(place.store, "fast-import", "--quiet", stdin="\n".join(lines).encode())
    seen = place.look_from_outside(timeout_seconds=300)
    assert any("over the limit of 100,000" in message for message in seen.damages)


# --- objects that lie ---


@pytest.mark.parametrize("which", ["meta.json", "log.gz", "tree", "commit", "code file", "code tree"])
def test_bytes_that_are_not_those_of_their_name_are_refused(place: Place, which: str) -> None:
    store = place.store
    write_files(store.layout.project, {"train.py": "another = 1\n"})
    run = committed_run(store, store.snapshot(), name="lied about", log=b"the truth\n")
    assert run.commit is not None
    tree = store_git(store, "rev-parse", f"{run.commit}^{{tree}}").decode().strip()
    names = {
        "tree": tree,
        "commit": run.commit,
        "code file": store.code_files(run.id)["train.py"],
        "code tree": str(store.code_tree(run.id)),
    }
    name = names.get(which) or store.entries(run.id)[which]
    kind = store_git(store, "cat-file", "-t", name).decode().strip()
    content = store_git(store, "cat-file", kind, name)
    path = store.git.objects / name[:2] / name[2:]
    forged = content[:-1] + bytes([content[-1] ^ 1])
    path.chmod(0o600)
    path.write_bytes(zlib.compress(b"%s %d\0" % (kind.encode(), len(forged)) + forged))
    assert place.look().refused[run.id]


@pytest.mark.parametrize("size", [0, 3, 10**6, 10**12, 10**30])
def test_an_object_that_lies_about_its_size_is_refused(place: Place, size: int) -> None:
    store = place.store
    run = committed_run(store, name="sized", log=b"log of it\n")
    name = store.entries(run.id)["log.gz"]
    path = store.git.objects / name[:2] / name[2:]
    path.chmod(0o600)
    path.write_bytes(zlib.compress(b"blob %d\0" % size + b"x" * 1000))
    seen = place.look()
    assert "log" in seen.refused[run.id]


def test_the_configuration_that_all_this_rests_on_is_the_one_that_is_checked(place: Place) -> None:
    text = (place.store.layout.store_git / "config").read_text()
    assert text == STORE_CONFIG.format(version=0)
