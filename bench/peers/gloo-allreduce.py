"""All-reduce of f32 between two processes with Gloo, through PyTorch, in rounds that somebody else asks for.

Each line of stdin is `BYTES CALLS`, and answered with the microseconds that a call took; the first line of stdout says what this is.
"""
import sys
import time

try:
    import torch
    import torch.distributed as dist
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')

from gloo_pair import serve


def measure(size_bytes, calls):
    values = torch.zeros(size_bytes // 4)
    dist.all_reduce(values)
    dist.barrier()
    start = time.perf_counter()
    for _ in range(calls):
        dist.all_reduce(values)
    return (time.perf_counter() - start) / calls * 1e6


serve(f'gloo of PyTorch {torch.__version__}', lambda words: [int(word) for word in words], measure)
