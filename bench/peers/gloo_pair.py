"""Two processes that PyTorch joins over Gloo: the first reads orders from stdin, both carry them out, and the first answers with what it measured."""
import os
import subprocess
import sys
import tempfile

import torch
import torch.distributed as dist

RANKS = 2

os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
torch.set_num_threads(1)


def serve(title, numbers_of, measure):
    """`numbers_of` makes whole numbers of an order's words, which `measure` takes in both processes. Returns when stdin ends."""
    if len(sys.argv) > 1:
        follow(sys.argv[1], measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        lead(folder, title, numbers_of, measure)


def join(folder, rank):
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=RANKS)


def tell(numbers):
    """How many they are goes first; none is the end."""
    dist.broadcast(torch.tensor([len(numbers)]), 0)
    if numbers:
        dist.broadcast(torch.tensor(numbers), 0)


def lead(folder, title, numbers_of, measure):
    other = subprocess.Popen([sys.executable, '-W', 'ignore', sys.argv[0], folder], stdin=subprocess.DEVNULL)
    join(folder, 0)
    print(title, flush=True)
    for line in sys.stdin:
        numbers = numbers_of(line.split())
        tell(numbers)
        print(measure(*numbers), flush=True)
    tell([])
    other.wait()
    dist.destroy_process_group()


def follow(folder, measure):
    join(folder, 1)
    while True:
        count = torch.zeros(1, dtype=torch.int64)
        dist.broadcast(count, 0)
        if count.item() == 0:
            break
        numbers = torch.zeros(count.item(), dtype=torch.int64)
        dist.broadcast(numbers, 0)
        measure(*numbers.tolist())
    dist.destroy_process_group()
