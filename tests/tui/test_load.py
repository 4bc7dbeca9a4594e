"""The load of a run on its page: facts, and a tab with charts, while it goes on and after."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from dstui.sdk.views.system import system_groups
from dstui.tui.pages.run import RunPage
from tests.store.ended_runs import begun_run, ended_run, write_samples, write_state

if TYPE_CHECKING:
    from dstui_store import Store
    from tests.tui.conftest import Opened

SAMPLES = [
    {"cpu": 10.0 * second, "rss_bytes": 2.0**30, "gpu3.utilization": 77.0, "gpu10.utilization": 5.0}
    for second in range(12)
]
CARD = {"index": 3, "name": "Card-80GB", "memory_bytes": 80 << 30, "uuid_sha256": "ab"}


@pytest.mark.parametrize("state", ["ended", "running"])
async def test_a_run_shows_its_load(opened: Opened, store: Store, state: str) -> None:
    if state == "ended":
        run = ended_run(store, name="heavy", metrics={"loss": [3.0, 2.0]})
        folder = store.layout.live / run
    else:
        new = begun_run(store, name="heavy")
        run, folder = new.id, new.folder
        write_state(folder, pid=os.getpid())
    write_samples(folder, SAMPLES)
    (folder / "system" / "devices.json").write_text(json.dumps([CARD]))
    if state == "ended":
        assert store.commit_ended(run) is not None
        store.index.sync()
    async with opened(store.layout.project, size=(160, 40)) as session:
        session.app.open_run(run)
        await session.until(lambda: isinstance(session.app.page, RunPage) and session.app.page.detail is not None)
        await session.shows("CPU 55 % mean")
        page = session.app.page
        assert isinstance(page, RunPage)
        await session.press("<")
        assert page.tab == "system"
        await session.shows("CPU %")
        await session.until(lambda: set(page.load.model.envelopes) == set(SAMPLES[0]))
        assert "GPU use %" in session.screen
        assert "gpu3" in session.screen
        assert page.load.model.envelopes["cpu"].points == 12
        assert page.command() == ("ds", "metrics", str(page.detail.line.short) if page.detail else "", "--system")


async def test_a_run_that_was_not_sampled_has_an_empty_tab(opened: Opened, store: Store) -> None:
    async with opened(store.layout.project) as session:
        await session.press("2", "enter")
        await session.until(lambda: isinstance(session.app.page, RunPage) and session.app.page.detail is not None)
        await session.press("<")
        page = session.app.page
        assert isinstance(page, RunPage)
        assert page.tab == "system"
        assert page.load.model.groups == ()


def test_gpus_share_a_chart_in_the_order_of_their_numbers() -> None:
    groups = system_groups(["gpu10.utilization", "gpu2.utilization", "host.cpu", "cpu", "something"])
    assert [group.title for group in groups] == ["CPU %", "GPU use %", "machine CPU %"]
    assert [label for label, _ in groups[1].members] == ["gpu2", "gpu10"]
