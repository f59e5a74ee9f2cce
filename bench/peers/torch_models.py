"""The models of packages/cli/src/bench/train-models.ts and train-gpu.ts in PyTorch, with batches of random numbers."""
import torch
from torch import nn
from torch.nn import functional as F

CHARACTERS, PLACES, TEXTS, WIDTH, HEADS, LAYERS = 96, 128, 16, 128, 4, 4


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        texts, places, width = x.shape
        heads = self.project(self.first_norm(x)).view(texts, places, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(texts, places, width))
        return x + self.down(F.gelu(self.up(self.second_norm(x))))


class Gpt(nn.Module):
    """The head has weights of its own unless they are tied to the embedding's, as GPT-2's are."""

    def __init__(self, layers, heads, width, tokens, places, is_tied=False):
        super().__init__()
        self.tokens, self.places = nn.Embedding(tokens, width), nn.Embedding(places, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = None if is_tied else nn.Linear(width, tokens)

    def forward(self, text):
        x = self.norm(self.blocks(self.tokens(text) + self.places(torch.arange(text.shape[1], device=text.device))))
        logits = F.linear(x, self.tokens.weight) if self.head is None else self.head(x)
        return logits.view(-1, logits.shape[-1])


def mlp():
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, torch.randn(128, 784), torch.randint(0, 10, (128,))


def cnn():
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, torch.randn(128, 1, 28, 28), torch.randint(0, 10, (128,))


def gpt():
    return Gpt(LAYERS, HEADS, WIDTH, CHARACTERS, PLACES), torch.randint(0, CHARACTERS, (TEXTS, PLACES)), torch.randint(0, CHARACTERS, (TEXTS * PLACES,))


WORKLOADS = {'mlp': mlp, 'cnn': cnn, 'gpt': gpt}


def stepper(workload, around=lambda model: model):
    """A function that makes one step. `around` wraps the model for its forward pass."""
    model, inputs, targets = workload
    forward = around(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(forward(inputs), targets).backward()
        optimizer.step()

    return step
