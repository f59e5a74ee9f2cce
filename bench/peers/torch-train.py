"""Training steps of the models of packages/cli/src/bench/train-models.ts, whenever somebody else asks for them.

Each line of stdin is `MODEL STEPS THREADS`, and answered with the seconds that a step took; the first line of stdout says what this is.
"""
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    sys.exit('PyTorch is not installed: run `node bench/peers/setup.mjs`')

CHARACTERS, PLACES, TEXTS, WIDTH, HEADS, LAYERS = 96, 128, 16, 128, 4, 4


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


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.characters, self.places = nn.Embedding(CHARACTERS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CHARACTERS)

    def forward(self, text):
        embedded = self.characters(text) + self.places(torch.arange(PLACES))
        return self.head(self.norm(self.blocks(embedded))).view(-1, CHARACTERS)


def mlp():
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, torch.randn(128, 784), torch.randint(0, 10, (128,))


def cnn():
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, torch.randn(128, 1, 28, 28), torch.randint(0, 10, (128,))


def gpt():
    return Gpt(), torch.randint(0, CHARACTERS, (TEXTS, PLACES)), torch.randint(0, CHARACTERS, (TEXTS * PLACES,))


MADE = {}


def step_of(name):
    if name not in MADE:
        model, inputs, targets = globals()[name]()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

        def step():
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()

        MADE[name] = step
    return MADE[name]


print(f'PyTorch {torch.__version__}', flush=True)
for line in sys.stdin:
    name, steps, threads = line.split()
    torch.set_num_threads(int(threads))
    step = step_of(name)
    start = time.perf_counter()
    for _ in range(int(steps)):
        step()
    print((time.perf_counter() - start) / int(steps), flush=True)
