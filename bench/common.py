"""What the benchmarks share: a private system, alternating timed runs, medians, a table.

Absolute figures mean little on a shared machine: every benchmark runs ours and the peer in turn, in
one run, and gives the ratio of the medians.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build", default=str(SOURCE / "build"), help="the build folder")
    parser.add_argument("--json", help="writes the figures to this file too")
    parser.add_argument("--runs", type=int, default=15, help="counted runs of each side")
    return parser.parse_args()


class System:
    """A system of its own in a temporary folder (below `parent` where given), with the image
    "first"; `with System(build) as s`."""

    def __init__(self, build, parent=None):
        self.container = str(pathlib.Path(build) / "bin/container")
        self.parent = parent

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="cbench-", dir=self.parent)
        for name in ("home", "run"):
            os.mkdir(f"{self.folder}/{name}", 0o700)
        self.environment = dict(
            os.environ,
            HOME=f"{self.folder}/home",
            XDG_RUNTIME_DIR=f"{self.folder}/run",
            CONTAINER_APP_ROOT=f"{self.folder}/app",
            CONTAINER_LOG_ROOT=f"{self.folder}/log",
            CONTAINER_CONFIG=f"{self.folder}/config.toml",
        )
        self.run("system", "start")
        archive = f"{self.folder}/first.tar"
        subprocess.run([str(SOURCE / "scripts/make-first-image"), archive], check=True)
        self.run("image", "load", "-i", archive)
        return self

    def __exit__(self, *_):
        subprocess.run([self.container, "system", "stop"], env=self.environment,
                       stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words):
        """Runs `container WORDS...`; returns what it prints, and ends the benchmark if it fails."""
        result = subprocess.run([self.container, *words], env=self.environment, capture_output=True,
                                text=True, stdin=subprocess.DEVNULL, check=False)
        if result.returncode != 0:
            sys.exit(f"container {' '.join(words)} failed with {result.returncode}: {result.stderr}")
        return result.stdout


def seconds(action):
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def alternate(actions, runs, warmup=1):
    """Times {name: action} in turn; returns {name: [seconds]}."""
    times = {name: [] for name in actions}
    for number in range(warmup + runs):
        for name, action in actions.items():
            elapsed = seconds(action)
            if number >= warmup:
                times[name].append(elapsed)
    return times


def p90(values):
    return sorted(values)[max(0, round(0.9 * len(values)) - 1)]


def report(title, times, peer, options, notes=()):
    """Prints a Markdown table with the ratio of each median to the peer's, and writes the JSON."""
    base = statistics.median(times[peer]) if peer else None
    print(f"### {title}\n")
    print("| what | median ms | p90 ms | ratio |")
    print("| --- | ---: | ---: | ---: |")
    figures = {}
    for name, values in times.items():
        median = statistics.median(values)
        ratio = f"{median / base:.2f}" if base else ""
        print(f"| {name} | {median * 1000:.1f} | {p90(values) * 1000:.1f} | {ratio} |")
        figures[name] = {"median_s": median, "p90_s": p90(values), "runs": len(values),
                         "ratio": median / base if base else None}
    print()
    for note in notes:
        print(f"- {note}")
    print(flush=True)
    if options.json:
        pathlib.Path(options.json).write_text(
            json.dumps({"title": title, "peer": peer, "figures": figures, "notes": list(notes)},
                       indent=2) + "\n")
