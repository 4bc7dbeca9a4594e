"""What the dashboard draws from: frozen snapshots of what the store holds, and the requests for them.

Every text in a snapshot is a `SafeText`; times are seconds since the epoch; what was not measured is None.
A snapshot is made in the reader's thread, handed over once, and never changed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dstui.sdk.query import Sort, SortKey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dstui_store import Envelope as Envelope
    from dstui_store import LogLine, SafeText

Value: TypeAlias = "float | SafeText"
"""A param or a metric's last value."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run as a table shows it.

    Attributes:
        row: its number in the index; negative for a run that is going on.
        version: grows with every change of the line.
        short: the shortest prefix of the id, at least 5, that no other run has.
        label: `#142`, or `bob#86` for another writer's.
        values: `param.NAME` and `metric.NAME` to value.
        step: last step of any metric.
        trend: the objective's curve so far in a few means, for a run that is going on.
    """

    row: int
    version: int
    id: SafeText
    short: SafeText
    label: SafeText
    name: SafeText
    experiment: SafeText
    state: SafeText
    reason: SafeText
    user: SafeText
    host: SafeText
    started: float | None
    ended: float | None
    duration: float | None
    tags: tuple[SafeText, ...]
    notes: SafeText
    values: Mapping[str, Value]
    step: int | None = None
    trend: tuple[float, ...] = ()

    @property
    def live(self) -> bool:
        """Whether the run is going on."""
        return self.row < 0


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """A param or metric that is worth a column.

    Attributes:
        key: `param.NAME` or `metric.NAME`.
        name: what its heading says.
        differs: whether the shown runs have more than one value of it.
        numbers: values of some shown runs, to choose a number format by.
    """

    key: str
    name: SafeText
    differs: bool
    numbers: tuple[float, ...] = ()


NEWEST_FIRST = Sort((SortKey("age"),))
"""The order of a table that nobody sorted."""


# Snapshots


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """The state of the reading itself.

    Attributes:
        project: the project's folder, `~` for home.
        total: runs in the store, those going on included.
        trouble: why what is shown may be old, or "".
    """

    project: SafeText
    total: int
    running: int
    trouble: SafeText


@dataclass(frozen=True, slots=True)
class ActDone:
    """What came of an act, in words."""

    text: SafeText
    ok: bool


@dataclass(frozen=True, slots=True)
class OverviewSnapshot:
    """What is going on, what was lately, and what ended since the last look.

    Attributes:
        looked_at: when the dashboard or `ds status` was last open, None at the first time.
        since: runs that ended after that, failures first.
        counts: how many of those per state.
    """

    running: tuple[RunLine, ...]
    recent: tuple[RunLine, ...]
    columns: tuple[ValueColumn, ...]
    looked_at: float | None
    since: tuple[RunLine, ...]
    counts: Mapping[SafeText, int]
    total: int
    project: SafeText


@dataclass(frozen=True, slots=True)
class RunsSnapshot:
    """The run table under one query and sort.

    Attributes:
        number: of the request this answers.
        order: rows in shown order, shape (matched,).
        lines: those of the rows that are read so far.
        columns: params and metrics worth a column, best first.
        objective: the metric that most likely says how good a run is, or "".
        keys: params and metrics that any run has, for completion.
        problem: why the query is not understood, or ""; `order` is then that of the last good one.
    """

    number: int
    order: NDArray[np.int64]
    total: int
    lines: Mapping[int, RunLine]
    columns: tuple[ValueColumn, ...]
    objective: str
    keys: frozenset[str]
    problem: SafeText
    pinned: RunLine | None = None


@dataclass(frozen=True, slots=True)
class IdsSnapshot:
    """Whole ids of the rows that were asked for."""

    ids: tuple[SafeText, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of what is known of a run; `tone` is "", "good", "bad", "warn" or "quiet"."""

    label: SafeText
    text: SafeText
    tone: str = ""


@dataclass(frozen=True, slots=True)
class ConfigLine:
    """One param of a run, and of the run it is compared with; None = that run has no such param."""

    key: SafeText
    value: SafeText | None
    other: SafeText | None = None

    @property
    def differs(self) -> bool:
        """Whether the two runs have different values."""
        return self.value != self.other


@dataclass(frozen=True, slots=True)
class MetricLine:
    """One metric of a run in a few numbers."""

    name: SafeText
    last: float
    min: float | None
    max: float | None
    step: int | None
    count: int


@dataclass(frozen=True, slots=True)
class ChartGroup:
    """Metrics that share a chart: (label, metric) pairs such as (train, train/loss) and (val, val/loss)."""

    title: SafeText
    members: tuple[tuple[SafeText, SafeText], ...]


@dataclass(frozen=True, slots=True)
class DetailSnapshot:
    """One run without its curves, log and code.

    Attributes:
        system_groups: charts of its load; none for a run that was not sampled.
        against: the run that the config is compared with, or None.
        problem: what could not be read, or "".
    """

    line: RunLine
    facts: tuple[Fact, ...]
    config: tuple[ConfigLine, ...]
    metrics: tuple[MetricLine, ...]
    groups: tuple[ChartGroup, ...]
    system_groups: tuple[ChartGroup, ...]
    notes: tuple[Fact, ...]
    against: RunLine | None
    problem: SafeText


@dataclass(frozen=True, slots=True)
class ChartsSnapshot:
    """Curves of a run, for the metrics asked for; `number` and `system` are those of the request."""

    run: str
    number: int
    envelopes: Mapping[str, Envelope]
    x0: float
    x1: float
    problem: SafeText
    system: bool = False


@dataclass(frozen=True, slots=True)
class LogSnapshot:
    """A window of a run's output.

    Attributes:
        number: of the request this answers.
        count: lines in all; `first` is the number of the first one in `lines`.
        hits: line numbers that the search found, ascending; `searched` is what for.
        going_on: whether more may come.
    """

    run: str
    number: int
    count: int
    first: int
    lines: tuple[LogLine, ...]
    searched: str
    hits: tuple[int, ...]
    going_on: bool
    problem: SafeText


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file of a code diff.

    Attributes:
        added, removed: changed lines; None where the file is not text or too long to compare.
        lines: (" ", "+", "-" or "@", text) each; empty when it is only listed.
        note: `new`, `removed`, `mode changed`, why it is only listed, or "".
    """

    path: SafeText
    added: int | None
    removed: int | None
    lines: tuple[tuple[str, SafeText], ...]
    note: SafeText


@dataclass(frozen=True, slots=True)
class CodeSnapshot:
    """The code of a run against that of another."""

    run: str
    against: SafeText
    files: tuple[FileDiff, ...]
    problem: SafeText


@dataclass(frozen=True, slots=True)
class PreviewSnapshot:
    """The run under the cursor in brief."""

    run: str
    metric: SafeText
    envelope: Envelope | None
    differs: tuple[ConfigLine, ...]
    against: RunLine | None
    problem: SafeText


Snapshot = (
    StatusSnapshot
    | ActDone
    | OverviewSnapshot
    | RunsSnapshot
    | IdsSnapshot
    | DetailSnapshot
    | ChartsSnapshot
    | LogSnapshot
    | CodeSnapshot
    | PreviewSnapshot
)

KINDS: dict[type, str] = {
    StatusSnapshot: "status",
    ActDone: "act",
    OverviewSnapshot: "overview",
    RunsSnapshot: "runs",
    IdsSnapshot: "ids",
    DetailSnapshot: "detail",
    ChartsSnapshot: "charts",
    LogSnapshot: "log",
    CodeSnapshot: "code",
    PreviewSnapshot: "preview",
}
"""The name of each kind of snapshot; of one kind only the newest waits for the screen."""


# Requests


@dataclass(frozen=True, slots=True)
class OverviewRequest:
    """Show the overview, with `lines` recent runs."""

    lines: int = 40


@dataclass(frozen=True, slots=True)
class RunsRequest:
    """Show the run table.

    Attributes:
        number: grows with each request, to tell answers apart.
        first, last: positions on screen; more are read around them.
        pinned: id of the baseline, or "".
    """

    number: int = 0
    query: str = ""
    sort: Sort = NEWEST_FIRST
    first: int = 0
    last: int = 60
    pinned: str = ""


@dataclass(frozen=True, slots=True)
class IdsRequest:
    """The ids of these rows of the run table."""

    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DetailRequest:
    """Show one run, compared with the run `against` (an id) or its parent run."""

    run: str
    against: str = ""


@dataclass(frozen=True, slots=True)
class ChartsRequest:
    """Curves of one run.

    Attributes:
        width: columns of an envelope.
        axis: "step" or "time".
        x0, x1: the range, None = all of it.
        positive: leave out values that a logarithmic axis cannot show.
        system: of its load instead of its metrics.
    """

    run: str
    number: int
    metrics: tuple[str, ...]
    width: int
    axis: str = "step"
    x0: float | None = None
    x1: float | None = None
    positive: bool = False
    system: bool = False


@dataclass(frozen=True, slots=True)
class LogRequest:
    """A window of a run's output, from line `first` on; `search` is plain text, ignoring case."""

    run: str
    number: int
    first: int
    count: int
    search: str = ""
    follow: bool = False


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """The code of a run against that of `against`, or of its parent, or of the run before."""

    run: str
    against: str = ""


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """A brief look at a run: one curve of `metric` in `width` columns, and what differs from `against`."""

    run: str
    metric: str
    width: int
    against: str = ""


Request = (
    OverviewRequest
    | RunsRequest
    | IdsRequest
    | DetailRequest
    | ChartsRequest
    | LogRequest
    | CodeRequest
    | PreviewRequest
)

REQUEST_KINDS: dict[type, str] = {
    OverviewRequest: "overview",
    RunsRequest: "runs",
    IdsRequest: "ids",
    DetailRequest: "detail",
    ChartsRequest: "charts",
    LogRequest: "log",
    CodeRequest: "code",
    PreviewRequest: "preview",
}
