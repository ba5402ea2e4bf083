"""The models under attack: small networks on network inputs, standard, hardened by PGD, or with confident logits.

Two classes have two logits, because the peers want it so; a hardened model sees PGD-5 at a random ε of its world.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.attack_cost.worlds import World

HIDDEN = (128, 128)
BATCH = 256
EPOCHS = {"credit": 10, "hotel": 10, "digits": 120}
CONFIDENT = 1_000.0  # times the logits: the right class then has probability 1 in float32, and no gradient of its log


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model of the comparison."""

    world: str
    kind: str  # standard, hardened or confident

    @property
    def name(self) -> str:
        return f"{self.world}, {self.kind}"


RECIPES = (
    Recipe(world="credit", kind="standard"),
    Recipe(world="credit", kind="hardened"),
    Recipe(world="hotel", kind="standard"),
    Recipe(world="hotel", kind="hardened"),
    Recipe(world="digits", kind="standard"),
    Recipe(world="digits", kind="confident"),
)


def trained(world: World, kind: str, seed: int, *, hidden: tuple[int, ...] = HIDDEN) -> nn.Sequential:
    """A network of that kind, frozen; the same for the same world, kind, seed and machine."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network((world.x_train.shape[1], *hidden, world.classes))
    x, y = torch.from_numpy(world.x_train).float(), torch.from_numpy(world.y_train).long()
    epochs = EPOCHS[world.name]
    steps = epochs * -(-len(x) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x), generator=generator).split(BATCH):
            rows = _pushed(model, x[chosen], y[chosen], world, generator) if kind == "hardened" else x[chosen]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(rows), y[chosen]).backward()
            optimizer.step()
            schedule.step()
    frozen = model.eval().requires_grad_(False)
    return times(frozen, CONFIDENT) if kind == "confident" else frozen


def network(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLUs between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def times(model: nn.Sequential, factor: float) -> nn.Sequential:
    """The same classifier with its logits multiplied."""
    sizes = [layer for layer in model if isinstance(layer, nn.Linear)]
    copy = network((sizes[0].in_features, *(layer.out_features for layer in sizes)))
    copy.load_state_dict(model.state_dict())
    last = copy[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(factor)
        last.bias.mul_(factor)
    return copy.eval().requires_grad_(False)


def accuracy(model: nn.Module, world: World) -> float:
    """Share of the rows to attack that are classified rightly."""
    with torch.inference_mode():
        found = model(torch.from_numpy(world.x).float()).argmax(1).numpy()
    return float(np.mean(found == world.y))


def _pushed(model: nn.Module, rows: Tensor, y: Tensor, world: World, generator: torch.Generator) -> Tensor:
    """PGD-5 on cross-entropy, ε of each row uniform up to the third of the world."""
    epsilon = world.epsilons[2] * torch.rand((len(rows), 1), generator=generator)
    moved = rows + epsilon * (2 * torch.rand(rows.shape, generator=generator) - 1)
    for _ in range(5):
        moved = moved.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(moved), y), moved)
        moved = torch.clamp(moved.detach() + 0.4 * epsilon * gradient.sign(), rows - epsilon, rows + epsilon)
        if world.hard_bounds:
            moved = moved.clamp(*world.hard_bounds)
    return moved.detach()
