"""Training steps of the models of torch_models.py, whenever somebody else asks for them.

Each line of stdin is `MODEL STEPS THREADS`, and answered with the seconds that a step took; the first line of stdout says what this is.
"""
import sys
import time

try:
    import torch
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')

from torch_models import WORKLOADS, stepper

made = {}
print(f'PyTorch {torch.__version__}', flush=True)
for line in sys.stdin:
    name, steps, threads = line.split()
    torch.set_num_threads(int(threads))
    if name not in made:
        made[name] = stepper(WORKLOADS[name]())
    step = made[name]
    start = time.perf_counter()
    for _ in range(int(steps)):
        step()
    print((time.perf_counter() - start) / int(steps), flush=True)
