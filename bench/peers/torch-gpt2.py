"""Steps of the GPT-2 of packages/cli/src/bench/train-gpu.ts on a GPU, in eager mode with autocast to bf16, whenever somebody else asks for them.

Arguments: LAYERS HEADS WIDTH TOKENS PLACES TEXTS. Each line of stdin is a number of steps, and answered with the seconds that one took; the first line of
stdout says what this is.
"""
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')

if not torch.cuda.is_available():
    sys.exit('PyTorch sees no GPU: it was installed without CUDA, or there is none')

LAYERS, HEADS, WIDTH, TOKENS, PLACES, TEXTS = (int(argument) for argument in sys.argv[1:])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        heads = self.project(self.first_norm(x)).view(TEXTS, PLACES, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(TEXTS, PLACES, WIDTH))
        return x + self.down(F.gelu(self.up(self.second_norm(x))))


class Gpt2(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, text):
        embedded = self.tokens(text) + self.places(torch.arange(text.shape[1], device=text.device))
        return F.linear(self.norm(self.blocks(embedded)), self.tokens.weight).view(-1, TOKENS)


model = Gpt2().cuda()
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
