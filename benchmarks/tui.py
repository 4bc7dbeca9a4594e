"""The dashboard over 100,000 runs in a real terminal, against the smallest useful Textual app in the same job.

M is the time that the small app's own palette takes to open: what users of Textual wait for a key that does something.
Limits are those of the design; `within` says whether this machine kept them this time. Takes about four minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.many_runs import make
from benchmarks.measure import Report, scratch
from benchmarks.ptybench import Plan, measure

RUNS = 100_000

SMALL_APP = """
from textual.app import App
from textual.widgets import Footer, Header, Static

class Small(App):
    BINDINGS = [("q", "quit", "Quit")]

    def compose(self):
        yield Header()
        yield Static("ready")
        yield Footer()

Small().run()
"""
"""Header, footer, a word, and Textual's own palette."""

KEYS = {
    "filter_keystroke": ((("2", 2.0), ("/", 0.5), ("r", 2.0)), "e", "\x7f", 0.6),
    "sort": ((("2", 2.0),), "sv", None, 0.6),
    "page_down": ((("2", 2.0),), "ctrl+d", "ctrl+u", 0.6),
    "page_switch": ((("2", 2.0), ("1", 1.0)), "2", "1", 1.5),
}
"""Name to (keys before, key, key back, limit in M)."""


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        small_file = folder / "small.py"
        small_file.write_text(SMALL_APP)
        project = make(folder / "project", RUNS)
        small = measure(
            _plan([sys.executable, str(small_file)], folder, "ready", key="ctrl+p", back="esc", resize=True)
        )
        command = [sys.executable, "-m", "dstui"]
        ours = measure(_plan(command, project, f"#{RUNS - 3}", key="j", back="k", resize=True, before=(("2", 2.0),)))
        palette_ms = small["key_done_ms"]
        _compare(report, ours, small, palette_ms)
        for name, (before, key, back, limit) in KEYS.items():
            found = measure(
                _plan(command, project, f"#{RUNS - 3}", key=key, back=back, before=before, starts=1, idle=0, hold=False)
            )
            report.compare(f"{name}_per_m", found["key_done_ms"], palette_ms, limit)
    report.print_line()


def _plan(command: list[str], folder: Path, ready: str, **options: Any) -> Plan:
    return Plan(command=command, cwd=str(folder), ready=ready, **options)


def _compare(report: Report, ours: dict[str, Any], small: dict[str, Any], palette_ms: float) -> None:
    report.add("m_ms", palette_ms, 1)
    report.compare("first_frame", ours["first_frame_ms"], small["first_frame_ms"], 1.5)
    report.compare("start_cpu", ours["start_cpu_s"], small["start_cpu_s"], 2.0)
    report.compare("row_key_per_m", ours["key_done_ms"], palette_ms, 0.15)
    report.compare("row_key_p95_per_m", ours["key_done_p95_ms"], palette_ms, 0.3)
    report.compare("held_key_lag_per_m", ours["hold_lag_ms"], palette_ms, 0.5)
    report.compare("resize", ours["resize_ms"], small["resize_ms"], 1.0)
    for name, limit in (
        ("key_bytes", 600.0),
        ("hold_cpu_pct", 25.0),
        ("idle_cpu_pct", 0.5),
        ("rss_mb", 90.0),
    ):
        report.compare(name, ours[name], limit, 1.0)
    report.add("idle_bytes_per_s", ours["idle_bytes_s"], 1)
    report.add("pss_mb", ours["pss_mb"], 1)


if __name__ == "__main__":
    main()
