"""The log of a run: what is written comes back the same, whatever the pieces, the segments and the disk do."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui.execution.pump import LogPump
from dstui.inside import output
from dstui.inside.live import LiveDirectory
from dstui.inside.output import OutputLog

PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=40)), max_size=40)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveDirectory]:
    """A live directory."""
    directory = make_live(tmp_path / "live")
    yield directory
    os.close(directory.descriptor)


def make_live(path: Path) -> LiveDirectory:
    path.mkdir()
    (path / "launch.json").write_text(json.dumps({"run": "0123456789abcdef"}))
    return LiveDirectory(str(path))


def copied(live: Path) -> dict[int, bytes]:
    """What a pump makes of the log: the bytes of stdout and stderr."""
    ends = {stream: os.memfd_create(str(stream)) for stream in (1, 2)}
    pump = LogPump(
        live,
        dict(ends),
        on_opost=lambda _: None,
        on_segment=lambda _: None,
        on_failure=lambda _, error: pytest.fail(str(error)),
        on_done=lambda: None,
    )
    pump.start()
    pump.finish()
    while not pump.has_ended():
        pass
    texts = {}
    for stream, end in ends.items():
        texts[stream] = os.pread(end, os.fstat(end).st_size, 0)
        os.close(end)
    return texts


@pytest.mark.slow
@settings(deadline=None)
@given(pieces=PIECES, limit=st.integers(0, 100), segment_bytes=st.integers(1, 60), apart=st.booleans())
def test_whatever_is_written_is_copied_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[tuple[int, bytes]],
    limit: int,
    segment_bytes: int,
    apart: bool,
) -> None:
    path = tmp_path_factory.mktemp("log") / "live"
    live = make_live(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "SEGMENT_BYTES", segment_bytes)
        # Somebody still reads the first segment, so all of them stay.
        log = OutputLog(live, limit, apart=apart, still_read=lambda: 0)
        for stream, data in pieces:
            assert log.append(stream, data) == b""
    log.close()
    os.close(live.descriptor)
    everything = b"".join(data for _, data in pieces)
    assert log.total == len(everything)
    texts = copied(path)
    if apart:
        assert texts == {stream: b"".join(data for of, data in pieces if of == stream) for stream in (1, 2)}
    else:
        assert texts == {1: everything, 2: b""}


def test_only_the_head_and_the_last_two_segments_stay(live: LiveDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SEGMENT_BYTES", 10)
    log = OutputLog(live, 5, apart=True)
    log.append(1, b"x" * 48)
    names = {name for name in os.listdir(live.path) if name.startswith("log")}
    assert names == {"log", "log.streams", "log.tail.4", "log.tail.4.streams", "log.tail.5", "log.tail.5.streams"}
    assert (log.segment, log.segment_start, log.total) == (5, 45, 48)
    log.close()


def test_a_segment_stays_until_its_reader_has_passed_it(live: LiveDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SEGMENT_BYTES", 10)
    reader = 2
    log = OutputLog(live, 5, apart=False, still_read=lambda: reader)
    log.append(1, b"x" * 45)
    assert {name for name in os.listdir(live.path) if "tail" in name} == {f"log.tail.{n}" for n in (2, 3, 4)}
    reader = 4
    log.prune()
    assert {name for name in os.listdir(live.path) if "tail" in name} == {f"log.tail.{n}" for n in (3, 4)}
    log.close()


def test_the_last_output_reaches_over_a_segment_s_edge(live: LiveDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SEGMENT_BYTES", 10)
    log = OutputLog(live, 5, apart=False)
    log.append(1, b"0123456789abcdefg")
    assert log.last(4) == b"defg"
    assert log.last(8) == b"9abcdefg"
    log.close()


@pytest.mark.parametrize("apart", [False, True])
def test_a_full_disk_is_a_counted_gap(live: LiveDirectory, apart: bool) -> None:
    log = OutputLog(live, 1 << 30, apart=apart)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert log.append(1, b"kept ") == b""
    # A limit on the size of files is a full disk to the log.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        assert log.append(2, b"abcdef") == b"def"
        assert log.append(1, b"ghi") == b"ghi"
        assert log.lost == 6
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert log.append(1, b"after") == b""
    gap = b"\n[dstui: 6 bytes of output are missing here: File too large]\n"
    log.close()
    text = Path(live.path, "log").read_bytes()
    assert text == b"kept abc" + gap + b"after"
    assert log.total == len(text)
    assert copied(Path(live.path)) == ({1: b"kept " + gap + b"after", 2: b"abc"} if apart else {1: text, 2: b""})
