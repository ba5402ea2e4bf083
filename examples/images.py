"""Stress an image classifier with the library alone: no platform, no database.

    python examples/images.py

Trains a small convolutional network on scikit-learn's 8 × 8 digits and says how many of 500 unseen images survive when
every pixel may change by ε. Attacks run on flat rows, the network sees images (n, c, h, w), and so do you.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from monitor.robustness import Plan, Search, ThreatModel, run_campaign


def images() -> tuple[np.ndarray, np.ndarray]:
    """Digits as (n, 1, 8, 8) between 0 and 1, in a shuffled order."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return digits.images[order][:, None] / 16.0, digits.target[order]


def trained(X: np.ndarray, y: np.ndarray) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 16, 10),
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    rows, labels = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    for _ in range(12):
        for batch in torch.randperm(len(rows)).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(rows[batch]), labels[batch]).backward()
            optimiser.step()
    return model.eval()


def main() -> None:
    X, y = images()
    model = trained(X[:1_200], y[:1_200])
    threats = [ThreatModel.linf(epsilon=epsilon, lower=0.0, upper=1.0) for epsilon in (0.02, 0.05, 0.1, 0.2)]
    plan = Plan(rows=500, search=Search(steps=20), smoothing_samples=300)
    report = run_campaign(model, X[1_200:], y[1_200:], threats, plan=plan)
    print(f"{'every pixel ±':>14}{'survive':>10}{'95 % interval':>18}{'smoothed, certified':>22}")
    for level in report.levels:
        low, high = level.interval
        print(f"{level.epsilon:>14.2f}{level.attacked:>10.1%}{f'{low:.1%} to {high:.1%}':>18}{level.smoothed:>22.1%}")
    print(f"clean accuracy {report.clean:.1%}; of the network smoothed by noise {report.smoothed_accuracy:.1%}")
    for flag in report.audit:
        print(f"CAUTION: {flag.sentence}")
    worst = report.adversarial[1]
    print(f"report.adversarial[1] holds the worst images found at ± .05, {worst.shape}")


if __name__ == "__main__":
    main()
