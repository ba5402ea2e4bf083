"""A torch model of your own: a factory that builds it, and its weights as safetensors.

    python examples/own_model.py /tmp/own && cd /tmp/own   # trains; writes log.parquet, w.safetensors, holdfast.toml
    holdfast watch log.parquet --model own --time time --score score --target fraud --mutable amount --once
    PYTHONPATH=CHECKOUT/examples holdfast model attach own --factory own_model:build --weights w.safetensors
    PYTHONPATH=CHECKOUT/examples holdfast watch --model own --once   # the next windows are stress-tested

The factory is your code, so a person allows it by name in holdfast.toml; the weights are numbers and cannot run code.
"""

import sys
from pathlib import Path

import torch
from production_log import CHANNELS, FEATURES, payments
from safetensors.torch import save_file
from torch import nn


class FraudNet(nn.Module):
    """Raw rows (n, 4) → logits (n,). Categories come as numbers: the position among the levels of Holdfast's schema."""

    def __init__(self, levels: list[str]) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(3))
        self.register_buffer("scale", torch.ones(3))
        mine = [CHANNELS.index(level) if level in CHANNELS else 3 for level in [*levels, "unknown"]]
        self.register_buffer("position", torch.tensor(mine), persistent=False)  # of each level in my own order
        self.layers = nn.Sequential(nn.Linear(3 + 4, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        numbers = torch.nan_to_num((rows[:, :3] - self.centre) / self.scale)  # a missing number is an average one
        unknown = float(len(self.position) - 1)
        channel = self.position[torch.nan_to_num(rows[:, 3], nan=unknown).long()]
        return self.layers(torch.cat([numbers, nn.functional.one_hot(channel, 4).to(rows.dtype)], dim=1))[:, 0]


def build(schema: dict, task: str, settings: dict) -> FraudNet:
    """The factory: an untrained network of the right shape, for the model's schema as Holdfast stores it."""
    features = {feature["name"]: feature for feature in schema["features"]}
    assert list(features) == FEATURES, f"expected the features {FEATURES}, got {list(features)}"
    return FraudNet(list(features["channel"]["levels"]))


def main(folder: Path) -> None:
    torch.manual_seed(0)
    log, net = payments(), FraudNet(CHANNELS)
    coded = log.assign(channel=log["channel"].map(CHANNELS.index))
    rows = torch.tensor(coded[FEATURES].to_numpy(), dtype=torch.float32)
    y = torch.tensor(log["fraud"].to_numpy(), dtype=torch.float32)
    net.centre, net.scale = rows[:, :3].mean(0), rows[:, :3].std(0)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(rows), y).backward()
        optimiser.step()
    folder.mkdir(parents=True, exist_ok=True)
    log.assign(score=torch.sigmoid(net(rows)).detach().numpy()).to_parquet(folder / "log.parquet")
    save_file(net.state_dict(), folder / "w.safetensors")
    (folder / "holdfast.toml").write_text('factories = ["own_model:build"]\n')


if __name__ == "__main__":
    main(Path(sys.argv[1]))
