"""Optuna as a peer of the searchers: prints its version, reads a job, then prints a trial's values and reads its loss, in turn.

Job: {"sampler": "tpe" | "tpe-group" | "gp" | "random" | "cmaes", "seed": int, "trials": int, "noisy": bool, "dimensions": [...]}, with
dimensions as @muster/tune lays them out. A trial's values: a number for each dimension, of a categorical one the option's index, null where it does not exist.
"""
import json
import sys
import time
import warnings

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore")


def sampler_of(name, seed, noisy):
    samplers = optuna.samplers
    if name == "gp":
        import torch

        torch.set_num_threads(1)
        return samplers.GPSampler(seed=seed, deterministic_objective=not noisy)
    if name == "tpe":
        return samplers.TPESampler(seed=seed)
    if name == "tpe-group":
        return samplers.TPESampler(seed=seed, multivariate=True, group=True)
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=seed)
    return samplers.RandomSampler(seed=seed)


def suggest(trial, dimensions):
    values = []
    for dimension in dimensions:
        condition = dimension["condition"]
        path = dimension["path"]
        if condition is not None and values[condition["dimension"]] != condition["option"]:
            values.append(None)
        elif dimension["kind"] == "categorical":
            values.append(trial.suggest_categorical(path, list(range(len(dimension["options"])))))
        elif dimension["step"] == 1:
            values.append(trial.suggest_int(path, dimension["low"], dimension["high"], log=dimension["scale"] == "log"))
        else:
            values.append(trial.suggest_float(path, dimension["low"], dimension["high"], step=dimension["step"], log=dimension["scale"] == "log"))
    return values


def main():
    print(json.dumps({"version": optuna.__version__}), flush=True)
    job = json.loads(sys.stdin.readline())
    study = optuna.create_study(sampler=sampler_of(job["sampler"], job["seed"], job["noisy"]))
    for _ in range(job["trials"]):
        started = time.perf_counter()
        trial = study.ask()
        values = suggest(trial, job["dimensions"])
        print(json.dumps({"values": values, "ms": (time.perf_counter() - started) * 1000}), flush=True)
        study.tell(trial, float(sys.stdin.readline()))


main()
