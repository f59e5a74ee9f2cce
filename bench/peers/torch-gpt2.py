"""Steps of the GPT-2 of packages/cli/src/bench/train-gpu.ts on a GPU, in eager mode with autocast to bf16, whenever somebody else asks for them.

Arguments: LAYERS HEADS WIDTH TOKENS PLACES TEXTS. Each line of stdin is a number of steps, and answered with the seconds that one took; the first line of
stdout says what this is.
"""
import sys
import time

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')

from torch_models import Gpt

if not torch.cuda.is_available():
    sys.exit('PyTorch sees no GPU: it was installed without CUDA, or there is none')

LAYERS, HEADS, WIDTH, TOKENS, PLACES, TEXTS = (int(argument) for argument in sys.argv[1:])

model = Gpt(LAYERS, HEADS, WIDTH, TOKENS, PLACES, is_tied=True).cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
text, following = torch.randint(0, TOKENS, (TEXTS, PLACES), device='cuda'), torch.randint(0, TOKENS, (TEXTS * PLACES,), device='cuda')

print(f'PyTorch {torch.__version__}', flush=True)
for line in sys.stdin:
    steps = int(line)
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast('cuda', dtype=torch.bfloat16):
            loss = F.cross_entropy(model(text), following)
        loss.backward()
        optimizer.step()
    torch.cuda.synchronize()
    print((time.perf_counter() - start) / steps, flush=True)
