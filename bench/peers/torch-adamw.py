"""One step of PyTorch's fused AdamW on f32, whenever somebody else asks for it.

Each line of stdin is `ELEMENTS THREADS`, and answered with the seconds that a step took; the first line of stdout says what this is.
"""
import sys
import time

try:
    import torch
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')


def optimizer_of(elements):
    weights = torch.full((elements,), 0.001, requires_grad=True)
    weights.grad = torch.full((elements,), 0.001)
    return torch.optim.AdamW([weights], lr=1e-3, weight_decay=0.01, fused=True)


print(f'PyTorch {torch.__version__}', flush=True)
optimizer = None
for line in sys.stdin:
    elements, threads = (int(word) for word in line.split())
    torch.set_num_threads(threads)
    optimizer = optimizer or optimizer_of(elements)
    start = time.perf_counter()
    optimizer.step()
    print(time.perf_counter() - start, flush=True)
