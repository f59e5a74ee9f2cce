"""Ray Tune as a peer: what a trial costs that does nothing, from start to end of an experiment.

Owns one private Ray: on the loopback interface only, without a dashboard, with its files in a directory of its own, and ended together with this
program. Prints one JSON record a line.

Usage: ray-tune.py [--trials N] [--at-once N]
"""

import argparse
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
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"

import ray
from ray import tune


def no_op(config):
    return {"loss": config["x"]}


def ms_per_trial(trials, at_once, directory):
    """Milliseconds a trial, as the whole experiment takes, its log on disk included."""
    tuner = tune.Tuner(
        tune.with_resources(no_op, {"cpu": 1 / at_once}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=trials, max_concurrent_trials=at_once),
        run_config=tune.RunConfig(storage_path=directory, verbose=0),
    )
    start = time.perf_counter()
    results = tuner.fit()
    elapsed = time.perf_counter() - start
    if len(results) != trials or results.errors:
        raise RuntimeError(f"{len(results)} of {trials} trials, {results.errors[:1]}")
    return 1000 * elapsed / trials


def main():
    parser = argparse.ArgumentParser(description="Measures trials of Ray Tune and prints one JSON record a line.")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--at-once", type=int, action="append")
    arguments = parser.parse_args()

    # Ray and its workers print to stdout too; records alone belong there.
    output, sys.stdout = sys.stdout, sys.stderr
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = tempfile.mkdtemp(prefix="ray-")
    try:
        ray.init(include_dashboard=False, _temp_dir=directory, log_to_driver=False)
        for at_once in arguments.at_once or [1]:
            value = ms_per_trial(arguments.trials, at_once, os.path.join(directory, f"results-{at_once}"))
            record = {"name": f"no-op trial, {at_once} at once", "value": value, "unit": "ms", "better": "lower", "peer": f"ray tune {ray.__version__}"}
            print(json.dumps(record), file=output, flush=True)
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
