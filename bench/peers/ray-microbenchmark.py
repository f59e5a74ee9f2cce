"""Ray's side of the core benchmark: what `ray microbenchmark` measures, for as long as the caller says.

Owns one private Ray: on the loopback interface only, without a dashboard, with its files in a directory of its own,
and ended together with this program. The benchmarks themselves are Ray's, imported and never copied. All of them go
through one function, timeit(), which is replaced here. The replacement differs from Ray's in three points: the length
of a measurement is an argument (Ray: four windows of 2 s), the pause before it ends when the actors made so far are
up (Ray: always 10 s), and the run ends with the last benchmark that was asked for.

This file must not be called ray.py: Python would import it in Ray's place.

Usage: ray-microbenchmark.py [NAME-FILTER] [--seconds S]
"""

import argparse
import ast
import functools
import inspect
import json
import os
import shutil
import signal
import sys
import tempfile
import time

# Both are read when Ray is imported. Without the first, Ray listens on every interface, whatever address init() gets.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray._private import ray_client_microbenchmark, ray_perf, state

WARM_UP_SECONDS = 1
WINDOWS = 4
PAUSE_SECONDS = 2
STARTING_STATES = {"DEPENDENCIES_UNREADY", "PENDING_CREATION", "RESTARTING"}


class Finished(Exception):
    """Everything that was asked for has been measured."""


class Timer:
    """Stands in for Ray's timeit(): measures the wanted names, prints a record for each, and then stops the run."""

    def __init__(self, wanted, seconds, output):
        self.waiting = set(wanted)
        self.seconds = seconds
        self.output = output

    def timeit(self, name, fn, multiplier=1, warmup_time_sec=None):
        if name not in self.waiting:
            return []
        settle()
        rate = multiplier * mean_rate(fn, self.seconds)
        record = {
            "name": name,
            "value": rate,
            "unit": "GB/s" if name.endswith("gigabytes") else "1/s",
            "better": "higher",
            "peer": f"ray {ray.__version__}",
        }
        print(json.dumps(record), file=self.output, flush=True)
        self.waiting.remove(name)
        if not self.waiting:
            raise Finished
        return []


def settle():
    """Lets workers and actors that earlier lines of a benchmark asked for come up, so that they start outside the clock."""
    time.sleep(PAUSE_SECONDS)
    while any(actor["State"] in STARTING_STATES for actor in state.actors().values()):
        time.sleep(PAUSE_SECONDS)


def mean_rate(fn, seconds):
    """Calls of fn per second, as the mean over windows; the clock is read about ten times a second, as Ray reads it."""
    warm_up_calls, _ = calls_in(fn, WARM_UP_SECONDS, step=1)
    step = warm_up_calls // 10 + 1
    windows = [calls_in(fn, seconds / WINDOWS, step) for _ in range(WINDOWS)]
    return sum(calls / elapsed for calls, elapsed in windows) / WINDOWS


def calls_in(fn, seconds, step):
    start = time.perf_counter()
    calls = 0
    while time.perf_counter() - start < seconds:
        for _ in range(step):
            fn()
        calls += step
    return calls, time.perf_counter() - start


def names_in(module):
    """The names a module passes to timeit(), read from its source, so that a filter is resolved before Ray starts."""
    calls = (node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call))
    return [call.args[0].value for call in calls if isinstance(call.func, ast.Name) and call.func.id == "timeit"]


def select(names, pattern):
    """Exactly the name, or, where no name is exactly that, every name that contains it."""
    return [pattern] if pattern in names else [name for name in names if pattern in name]


def main():
    parser = argparse.ArgumentParser(description="Runs Ray's microbenchmarks and prints one JSON record a line.")
    parser.add_argument("filter", nargs="?", default="")
    parser.add_argument("--seconds", type=float, default=4)
    arguments = parser.parse_args()

    cluster_names = names_in(ray_perf)
    wanted = select(cluster_names + names_in(ray_client_microbenchmark), arguments.filter)
    if not wanted:
        return

    # Ray and its workers print to stdout too; records alone belong there.
    output, sys.stdout = sys.stdout, sys.stderr
    timer = Timer(wanted, arguments.seconds, output)
    ray_perf.timeit = timer.timeit
    ray_client_microbenchmark.timeit = timer.timeit

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = tempfile.mkdtemp(prefix="ray-")
    ray.init = functools.partial(ray.init, include_dashboard=False, _temp_dir=directory)
    try:
        if set(wanted) & set(cluster_names):
            ray_perf.main()
        else:
            ray_client_microbenchmark.main()
    except Finished:
        pass
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
