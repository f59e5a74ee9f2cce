"""Training steps of two processes with a thread each in PyTorch's DistributedDataParallel over Gloo, whenever somebody else asks for them.

Each line of stdin is `MODEL STEPS HOW`, and answered with the seconds that a step took: `alone`, the mean of what each process takes while the other waits, in
a training of its own; `together`, in a training of both. The first line of stdout says what this is.
"""
import sys
import time

try:
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')

from gloo_pair import RANKS, serve
from torch_models import WORKLOADS, stepper

NAMES, WAYS = list(WORKLOADS), ['alone', 'together']

made = {}


def seconds_a_step(name, steps, way):
    if (name, way) not in made:
        torch.manual_seed(1)
        around = (lambda model: model) if way == 'alone' else (lambda model: DistributedDataParallel(model, gradient_as_bucket_view=True))
        made[name, way] = stepper(WORKLOADS[name](), around)
    step = made[name, way]
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def measure(name_index, steps, way_index):
    name, way = NAMES[name_index], WAYS[way_index]
    if way == 'together':
        dist.barrier()
        return seconds_a_step(name, steps, way)
    took = torch.zeros(1, dtype=torch.float64)
    for rank in range(RANKS):
        dist.barrier()
        if rank == dist.get_rank():
            took[0] = seconds_a_step(name, steps, way)
    dist.all_reduce(took)
    return took.item() / RANKS


serve(f'DistributedDataParallel of PyTorch {torch.__version__} over Gloo', lambda words: [NAMES.index(words[0]), int(words[1]), WAYS.index(words[2])], measure)
