"""The load of a run in its commit: every sample comes back, whatever the journal held, within the limits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.inside.journal import JournalWriter
from dstui_store import Store, system
from tests.store.ended_runs import STARTED_AT, committed_run, ended_run, write_samples

NAMES = ("cpu", "rss_bytes", "gpu0.utilization")

SAMPLES = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.floats(allow_nan=False, allow_infinity=False), min_size=1), max_size=12
)


@given(SAMPLES)
@settings(deadline=None, max_examples=40)
def test_every_sample_comes_back(tmp_path_factory: pytest.TempPathFactory, samples: list[dict[str, float]]) -> None:
    live, out = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("out")
    write_samples(live, samples)
    compacted = system.compact(live, out)
    assert (compacted is None) == (not samples)
    if compacted is None:
        return
    content, load = compacted
    found = system.read(content)
    for name in NAMES:
        expected = [(second, values[name]) for second, values in enumerate(samples) if name in values]
        assert (name in found) == bool(expected)
        if expected:
            assert list(zip(found[name].step.tolist(), found[name].value.tolist(), strict=True)) == expected
            assert load["summary"][name]["max"] == max(value for _, value in expected)
            assert load["summary"][name]["last"] == expected[-1][1]
    assert {name: series.value.tolist() for name, series in found.items()} == {
        name: series.value.tolist() for name, series in system.read_live(live).items()
    }


def test_a_sampler_that_was_replaced_leaves_one_history(tmp_path: Path) -> None:
    write_samples(tmp_path, [{"cpu": 1.0}, {"cpu": 2.0}])
    write_samples(tmp_path, [{"cpu": 3.0, "gpu0.utilization": 9.0}], start=7)
    compacted = system.compact(tmp_path, tmp_path)
    assert compacted is not None
    found = system.read(compacted[0])
    assert found["cpu"].step.tolist() == [0, 1, 7]
    assert found["gpu0.utilization"].step.tolist() == [7]
    assert system.read(compacted[0], ["gpu0.utilization"]).keys() == {"gpu0.utilization"}


def test_the_mean_is_over_time(tmp_path: Path) -> None:
    writer = JournalWriter(str(tmp_path / "system"), 0, "system")
    for second, value in ((0, 0.0), (1, 0.0), (11, 30.0)):
        writer.log({"cpu": value}, second, STARTED_AT + second)
    writer.close()
    compacted = system.compact(tmp_path, tmp_path)
    assert compacted is not None
    assert compacted[1]["summary"]["cpu"]["mean"] == pytest.approx(25)


def test_over_the_limit_samples_become_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "MAX_CELLS", 30)
    write_samples(tmp_path, [{"cpu": float(second)} for second in range(50)])
    compacted = system.compact(tmp_path, tmp_path)
    assert compacted is not None
    assert system.read(compacted[0])["cpu"].step.tolist() == list(range(0, 50, 5))


def test_not_finite_numbers_and_too_many_names_are_left_out(tmp_path: Path) -> None:
    writer = JournalWriter(str(tmp_path / "system"), 0, "system")
    writer.log({"cpu": float("nan"), "rss_bytes": float("inf")}, 0, STARTED_AT)
    writer.log({f"name{number}": 1.0 for number in range(3000)}, 1, STARTED_AT + 1)
    writer.close()
    compacted = system.compact(tmp_path, tmp_path)
    assert compacted is not None
    found = system.read(compacted[0])
    assert "cpu" not in found
    assert len(found) <= 1024


def test_a_run_carries_its_load(project: Path) -> None:
    with Store.open(project, create=True) as store:
        run = ended_run(store)
        live = store.layout.live / run
        write_samples(live, [{"cpu": 50.0, "gpu1.utilization": 7.0}, {"cpu": 100.0}])
        card = {"index": 1, "name": "Card", "memory_bytes": 80, "uuid_sha256": "ab"}
        (live / "system" / "devices.json").write_text(json.dumps([card, 3, {"index": "x", "name": "n" * 999}]))
        assert store.system(run)["cpu"].value.tolist() == [50, 100]
        before = store.system_summary(run)
        record = store.commit_ended(run)
        assert record is not None
        assert record.devices == ("gpu1 Card",)
        assert np.array_equal(store.system(run)["cpu"].value, [50, 100])
        assert store.system_summary(run) == before
        assert before["summary"]["cpu"] == {"mean": 75.0, "max": 100.0, "last": 100.0}
        assert before["devices"][0] == card
        assert "system.parquet" in store.entries(run)


def test_a_run_without_samples_has_no_such_file(project: Path) -> None:
    with Store.open(project, create=True) as store:
        record = committed_run(store)
        assert "system.parquet" not in store.entries(record.id)
        assert store.system(record.id) == {}
        assert store.system_summary(record.id) == {}


@pytest.mark.parametrize("damage", ["journal", "devices", "folder"])
def test_samples_that_make_no_sense_keep_no_run_from_its_commit(project: Path, damage: str) -> None:
    with Store.open(project, create=True) as store:
        run = ended_run(store)
        live = store.layout.live / run
        if damage == "folder":
            (live / "system").write_text("no folder")
        else:
            write_samples(live, [{"cpu": 1.0}])
        if damage == "journal":
            (live / "system" / "0-system.dsj").write_bytes(b"\xff" * 4096)
        if damage == "devices":
            (live / "system" / "devices.json").write_text("[" * 50_000)
        record = store.commit_ended(run)
        assert record is not None
        assert record.state == "finished"


@pytest.mark.parametrize(
    "load",
    [
        None,
        7,
        [],
        {"summary": 3, "devices": {}},
        {"summary": {"cpu": "x", "a": {"mean": "y", "max": [], "last": True}}, "devices": [1, {"index": "0"}]},
        {"summary": {str(number): {} for number in range(5000)}, "devices": [{"index": 1 << 80}] * 500},
    ],
)
def test_what_others_wrote_of_their_load_has_the_known_form(load: object) -> None:
    found = system.checked(load)
    for item in found.get("summary", {}).values():
        assert all(value is None or isinstance(value, int | float) for value in item.values())
    for device in found.get("devices", []):
        assert device["index"] is None or 0 <= device["index"] < system.MAX_INDEX
        assert isinstance(device["name"], str)
    assert len(found.get("summary", {})) <= 1024
    assert len(found.get("devices", [])) <= system.MAX_DEVICES
    assert system.device_names(found) == ()
