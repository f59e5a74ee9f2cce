"""A training step of examples/train-mnist.ts's network in PyTorch, whenever somebody else asks for it.

Each line of stdin is `IMAGES THREADS`, and answered with the seconds that a step took; the first line of stdout says what this is.
"""
import sys
import time

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
batches = {}

print(f'PyTorch {torch.__version__}', flush=True)
for line in sys.stdin:
    images, threads = (int(word) for word in line.split())
    torch.set_num_threads(threads)
    pixels, labels = batches.setdefault(images, (torch.rand(images, 1, 28, 28), torch.randint(10, (images,))))
    start = time.perf_counter()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(pixels), labels).backward()
    optimizer.step()
    print(time.perf_counter() - start, flush=True)
