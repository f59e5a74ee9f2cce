"""Training steps of two processes with a thread each in PyTorch's DistributedDataParallel over Gloo, whenever somebody else asks for them.

Each line of stdin is `MODEL STEPS HOW`, and answered with the seconds that a step took: `alone`, the mean of what each process takes while the other waits, in
a training of its own; `together`, in a training of both. The first line of stdout says what this is.
"""
import os
import subprocess
import sys
import tempfile
import time

try:
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')

from torch_models import WORKLOADS, stepper

RANKS = 2
NAMES, WAYS = list(WORKLOADS), ['alone', 'together']
END = -1

os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
torch.set_num_threads(1)
made = {}


def seconds_a_step(name, way, steps):
    if (name, way) not in made:
        torch.manual_seed(1)
        around = (lambda model: model) if way == 'alone' else (lambda model: DistributedDataParallel(model, gradient_as_bucket_view=True))
        made[name, way] = stepper(WORKLOADS[name](), around)
    step = made[name, way]
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def measure(name, way, steps):
    if way == 'together':
        dist.barrier()
        return seconds_a_step(name, way, steps)
    took = torch.zeros(1, dtype=torch.float64)
    for rank in range(RANKS):
        dist.barrier()
        if rank == dist.get_rank():
            took[0] = seconds_a_step(name, way, steps)
    dist.all_reduce(took)
    return took.item() / RANKS


def join(folder, rank):
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=RANKS)


def lead(folder):
    other = subprocess.Popen([sys.executable, '-W', 'ignore', __file__, folder], stdin=subprocess.DEVNULL)
    join(folder, 0)
    print(f'DistributedDataParallel of PyTorch {torch.__version__} over Gloo', flush=True)
    for line in sys.stdin:
        name, steps, way = line.split()
        dist.broadcast(torch.tensor([NAMES.index(name), WAYS.index(way), int(steps)]), 0)
        print(measure(name, way, int(steps)), flush=True)
    dist.broadcast(torch.tensor([END, 0, 0]), 0)
    other.wait()
    dist.destroy_process_group()


def follow(folder):
    join(folder, 1)
    order = torch.zeros(3, dtype=torch.int64)
    while True:
        dist.broadcast(order, 0)
        name, way, steps = order.tolist()
        if name == END:
            break
        measure(NAMES[name], WAYS[way], steps)
    dist.destroy_process_group()


if len(sys.argv) > 1:
    follow(sys.argv[1])
else:
    with tempfile.TemporaryDirectory() as folder:
        lead(folder)
