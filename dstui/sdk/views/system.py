"""The load of a run as the dashboard shows it: which samples share a chart, and the curves of a run that goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dstui.sdk.views.data import ChartGroup
from dstui_store import clean

if TYPE_CHECKING:
    from dstui.sdk.views.data import ChartsRequest
    from dstui_store import Envelope, SafeText, Store

CHARTS = (
    ("CPU %", (r"cpu",)),
    ("memory bytes", (r"rss_bytes",)),
    ("GPU use %", (r"gpu[0-9]{1,4}\.utilization",)),
    ("GPU memory bytes", (r"gpu[0-9]{1,4}\.memory_bytes",)),
    ("GPU own memory bytes", (r"gpu[0-9]{1,4}\.own_memory_bytes",)),
    ("GPU power watts", (r"gpu[0-9]{1,4}\.power_watts",)),
    ("GPU heat celsius", (r"gpu[0-9]{1,4}\.temperature_celsius",)),
    ("disk bytes", (r"read_bytes", r"written_bytes")),
    ("disk free bytes", (r"disk_free_bytes",)),
    ("machine CPU %", (r"host\.cpu",)),
    ("machine memory bytes", (r"host\.memory_bytes", r"host\.swap_bytes")),
    ("machine load", (r"host\.load",)),
    ("network bytes", (r"host\.sent_bytes", r"host\.received_bytes")),
    ("processes", (r"processes",)),
    ("GPU clock MHz", (r"gpu[0-9]{1,4}\.sm_clock_mhz",)),
)
"""Title and names of each chart; what is no load (constant, or told by another) has none."""


def system_groups(names: Iterable[str]) -> list[ChartGroup]:
    """Charts for these samples: one for each kind, with a curve for each GPU."""
    known = list(names)
    groups = []
    for title, patterns in CHARTS:
        members = [name for name in known if any(re.fullmatch(pattern, name) for pattern in patterns)]
        # `gpu2` before `gpu10`.
        members.sort(key=lambda name: (len(name.partition(".")[0]), name))
        if members:
            groups.append(ChartGroup(clean(title), tuple((_label(name), clean(name)) for name in members)))
    return groups


def _label(name: str) -> SafeText:
    """What the legend calls a curve: the GPU, else what is measured."""
    device, _, rest = name.partition(".")
    return clean(device if device.startswith("gpu") else (rest or device).removesuffix("_bytes"))


def live_curves(store: Store, request: ChartsRequest) -> dict[str, Envelope]:
    """The samples of a run that goes on, all over the same range."""
    from dstui_store import Envelope, order

    wanted = set(request.metrics)
    points = {
        name: order(series.step.astype(float), series.time, series.value, request.axis)
        for name, series in store.system(request.run).items()
        if name in wanted
    }
    first = min((float(x[0]) for x, _ in points.values()), default=0.0) if request.x0 is None else request.x0
    last = max((float(x[-1]) for x, _ in points.values()), default=0.0) if request.x1 is None else request.x1
    return {
        name: Envelope.of(x, y, request.width, first, last, positive=request.positive)
        for name, (x, y) in points.items()
    }
