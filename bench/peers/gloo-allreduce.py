"""All-reduce of f32 between two processes with Gloo, through PyTorch, in rounds that somebody else asks for.

Each line of stdin is `BYTES CALLS`, and answered with the microseconds that a call took; the first line of stdout says what this is.
"""
import os
import subprocess
import sys
import tempfile
import time

try:
    import torch
    import torch.distributed as dist
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')

os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
torch.set_num_threads(1)


def measure(size_bytes, calls):
    values = torch.zeros(size_bytes // 4)
    dist.all_reduce(values)
    dist.barrier()
    start = time.perf_counter()
    for _ in range(calls):
        dist.all_reduce(values)
    return (time.perf_counter() - start) / calls * 1e6


def join(folder, rank):
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)


def lead(folder):
    other = subprocess.Popen([sys.executable, __file__, folder])
    join(folder, 0)
    print(f'gloo of PyTorch {torch.__version__}', flush=True)
    for line in sys.stdin:
        order = torch.tensor([int(word) for word in line.split()])
        dist.broadcast(order, 0)
        print(measure(*order.tolist()), flush=True)
    dist.broadcast(torch.tensor([0, 0]), 0)
    other.wait()
    dist.destroy_process_group()


def follow(folder):
    join(folder, 1)
    order = torch.tensor([0, 0])
    while True:
        dist.broadcast(order, 0)
        size_bytes, calls = order.tolist()
        if calls == 0:
            break
        measure(size_bytes, calls)
    dist.destroy_process_group()


if len(sys.argv) > 1:
    follow(sys.argv[1])
else:
    with tempfile.TemporaryDirectory() as folder:
        lead(folder)
