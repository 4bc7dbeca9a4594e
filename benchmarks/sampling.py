"""What the sampler costs with 8 GPUs and one run: CPU a second against 1 % of a core, memory against 25 MiB.

The GPUs are a stand-in library under the real binding; a real driver takes its own time on top. A run of eleven
processes is sampled with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from benchmarks.measure import Report, make_project, scratch
from dstui.devices.interest import Meeting
from tests.fake_nvml.stand_in import Cards, build

GPUS = 8
SECONDS = 20.0
WARM_SECONDS = 4.0
WORKERS = 10
LARGEST_SHARE = 0.01
LARGEST_BYTES = 25 << 20

SCRIPT = f"""
import subprocess, sys, time
workers = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range({WORKERS})]
time.sleep({SECONDS + 2 * WARM_SECONDS + 10})
for worker in workers:
    worker.kill()
"""


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        library = build(folder)
        cards = Cards(folder / "cards")
        environment = {"LD_LIBRARY_PATH": str(library), "FAKE_NVML_STATE": str(cards.path)}
        cards.have_idle(GPUS, *(f"proc {index} {os.getpid()} 100" for index in range(GPUS)))
        os.environ |= {**environment, "XDG_STATE_HOME": str(folder / "state"), "CUDA_VISIBLE_DEVICES": "0,1"}
        project = make_project(folder / "project", 10)
        (project / "script.py").write_text(SCRIPT)
        run = subprocess.Popen(
            [sys.executable, "-m", "dstui", "run", "script.py"],
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        sampler = _sampler(Meeting())
        time.sleep(WARM_SECONDS)
        before, began = _cpu(sampler), time.monotonic()
        time.sleep(SECONDS)
        share = (_cpu(sampler) - before) / (time.monotonic() - began)
        memory = sampler.memory_full_info()
        run.terminate()
        run.wait(60)
        psutil.wait_procs([sampler], timeout=30)
    report.add("gpus", GPUS)
    report.add("cpu_share_of_a_core", share)
    report.add("pss_bytes", memory.pss, 0)
    report.add("private_bytes", memory.uss, 0)
    report.compare("cpu_to_one_percent_of_a_core", share, LARGEST_SHARE, limit=1.0)
    report.compare("pss_to_25_mib", float(memory.pss), float(LARGEST_BYTES), limit=1.0)
    report.print_line()


def _sampler(meeting: Meeting) -> psutil.Process:
    """The sampler's process, once it has begun."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if meeting.is_sampled() and meeting.wanted_runs():
            for process in psutil.process_iter(["cmdline"]):
                words = process.info["cmdline"] or []
                if "dstui.devices.sampler" in words and str(meeting.folder) in words:
                    return process
        time.sleep(0.1)
    raise RuntimeError("no sampler has come")


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
