"""Ways to look robust without being so: each is told. Honest models are left in peace."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from monitor.errors import BadInput
from monitor.robustness import Plan, Search, ThreatModel, run_campaign
from monitor.schema import Schema

ROWS = 256


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def world(seed: int = 0, d: int = 6, n: int = 700) -> tuple[Schema, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, d)) * rng.uniform(0.5, 200, d), columns=[f"x{j}" for j in range(d)])
    standard = ((frame - frame.mean()) / frame.std()).to_numpy()
    score = standard @ rng.normal(size=d) + 0.7 * standard[:, 0] * standard[:, 1] + rng.normal(0, 0.5, n)
    schema = Schema.infer(frame, mutable=frame.columns)
    return schema, schema.encode(frame), (score > 0).astype(float)


class Scaled(nn.Module):
    """A network on standardised rows."""

    def __init__(self, X: np.ndarray, layers: nn.Module) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(X.mean(0), dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(X.std(0), dtype=torch.float32))
        self.layers = layers

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.nan_to_num((rows - self.centre) / self.scale))[:, 0]


def honest(X: np.ndarray, y: np.ndarray, *, seed: int = 0, width: int = 24, depth: int = 1, steps: int = 60) -> Scaled:
    """A small network that was trained plainly."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = [X.shape[1], *[width] * depth]
        hidden = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
        model = Scaled(X, nn.Sequential(*hidden, nn.Linear(width, 1)))
        optimiser = torch.optim.Adam(model.layers.parameters(), 0.02)
        rows, targets = torch.tensor(X, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
        for _ in range(steps):
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(model(rows), targets).backward()
            optimiser.step()
    return model.eval()


class Around(nn.Module):
    """A defect around an honest model."""

    def __init__(self, model: nn.Module, forward) -> None:
        super().__init__()
        self.model, self.change = model, forward

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.change(self.model, rows)


class WrongSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, g):
        return -g


class Tiny(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, g):
        return g * 1e-3


def noisy_steps(model, rows):
    """Rows snapped to a coarse grid, as a defence by quantisation does."""
    step = 0.8 * model.scale
    return model(torch.round(rows / step) * step)


def by_batch(model, rows):
    z = model(rows)
    return z - 0.8 * z.mean()


DEFECTS = {
    "train_mode": lambda m: Around(m, lambda model, rows: model(rows)).train(),
    "random_outputs": lambda m: Around(m, lambda model, rows: model(rows + 0.3 * torch.randn_like(rows) * model.scale)),
    "batch_dependent": lambda m: Around(m, by_batch),
    "probabilities": lambda m: Around(m, lambda model, rows: torch.sigmoid(model(rows))),
    "degenerate": lambda m: Around(m, lambda model, rows: 1e-6 * model(rows) + 3.0),
    "no_gradient": lambda m: Around(m, lambda model, rows: model(rows).detach()),
    "zero_gradients": lambda m: Around(m, lambda model, rows: torch.round(model(rows))),
    "nan_gradients": lambda m: Around(m, lambda model, rows: model(rows) + torch.sqrt((rows[:, 0] - rows[:, 0]).abs())),
    "wrong_gradients (sign)": lambda m: Around(m, lambda model, rows: WrongSign.apply(model(rows))),
    "wrong_gradients (scaled)": lambda m: Around(m, lambda model, rows: Tiny.apply(model(rows))),
    "wrong_gradients (half detached)": lambda m: Around(
        m, lambda model, rows: 0.1 * model(rows) + 0.9 * model(rows).detach()
    ),
    "random_beats_gradient (wrong sign)": lambda m: Around(m, lambda model, rows: WrongSign.apply(model(rows))),
    "zero_gradients (quantised rows)": lambda m: Around(m, noisy_steps),
    "random_beats_gradient (quantised rows)": lambda m: Around(m, noisy_steps),
    "wrong_gradients (shattered)": lambda m: Around(
        m, lambda model, rows: model(rows) + 0.05 * torch.sin(4e3 * rows / model.scale).sum(1)
    ),
    "stops_short (flat but far away)": lambda m: Around(
        m, lambda model, rows: WrongSign.apply(torch.tanh(model(rows)))
    ),
}  # fmt: skip


def flags(model: nn.Module, X: np.ndarray, y: np.ndarray, schema: Schema, **plan) -> dict[str, str]:
    threat = ThreatModel.from_schema(schema, X)
    plan = Plan(rows=ROWS, levels=("S2", "S3", "S5"), audit_queries=60, **plan)
    report = run_campaign(model, X, y, threat, schema=schema, plan=plan, seed=3)
    return {flag.name: flag.sentence for flag in report.audit}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_told_in_a_sentence(name):
    schema, X, y = world()
    model = DEFECTS[name](honest(X, y))
    told = flags(model if name == "train_mode" else model.eval(), X, y, schema)
    assert name.split(" (")[0] in told
    assert all(sentence.endswith(".") for sentence in told.values())


def test_a_search_takes_more_steps_where_it_has_not_converged():
    schema, X, y = world()
    rough = Around(
        honest(X, y, width=64, depth=2, steps=400),
        lambda model, rows: model(rows) + 2 * torch.sin(6 * (rows / model.scale)[:, :3]).sum(1),
    ).eval()
    plans = (Plan(rows=ROWS, search=Search(steps=2), probes=probes) for probes in (False, True))
    planned, converged = (run_campaign(rough, X, y, ThreatModel.from_schema(schema, X), plan=plan) for plan in plans)
    assert planned.steps == 2 < converged.steps
    assert converged.levels[2].attacked < planned.levels[2].attacked


def test_a_search_that_has_not_converged_and_may_not_go_on_is_told():
    schema, X, y = world()
    rough = Around(
        honest(X, y, width=64, depth=2, steps=400),
        lambda model, rows: model(rows) + 4 * torch.sin(30 * (rows / model.scale)).sum(1),
    ).eval()
    assert "not_converged" in flags(rough, X, y, schema, search=Search(steps=41))


def test_confident_logits_are_no_way_to_look_robust():
    schema, X, y = world()
    model = honest(X, y)
    loud = Around(model, lambda inner, rows: 1e4 * inner(rows)).eval()
    reports = [
        run_campaign(m, X, y, ThreatModel.from_schema(schema, X), plan=Plan(rows=ROWS), seed=3) for m in (model, loud)
    ]
    assert [level.attacked for level in reports[0].levels] == [level.attacked for level in reports[1].levels]
    assert reports[1].audit == ()


def test_of_fifty_honest_models_none_is_flagged():
    flagged = []
    for seed in range(50):
        schema, X, y = world(seed=100 + seed, d=4 + seed % 9)
        model = honest(X, y, seed=seed, width=(8, 24, 64)[seed % 3], depth=1 + seed % 2, steps=(60, 150)[seed % 2])
        flagged += [(seed, *flags(model, X, y, schema))] if flags(model, X, y, schema) else []
    assert flagged == []


def shaped(change) -> nn.Module:
    _, X, y = world()
    return Around(honest(X, y), change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda model, rows: model(rows).expand(3, -1).T, r"expected logits \(n,\), \(n, 1\) or \(n, 2\)"),
        (lambda model, rows: model(rows)[:-1], r"expected logits .* got \(\d+,\)"),
        (lambda model, rows: model(rows).mean(), r"got \(\)"),
        (lambda model, rows: {"logits": model(rows)}, "got dict"),
        (lambda model, rows: model(rows) / 0, "finite model outputs"),
    ],
)
def test_outputs_of_a_wrong_shape_are_refused_in_a_sentence(change, sentence):
    schema, X, y = world()
    with pytest.raises(BadInput, match=sentence):
        run_campaign(shaped(change), X, y, ThreatModel.from_schema(schema, X), plan=Plan(rows=64), task="binary")


def test_a_black_box_that_forgets_a_row_is_refused():
    schema, X, y = world()

    class Short(LogisticRegression):
        def predict_proba(self, rows):
            return super().predict_proba(rows)[:-1]

    with pytest.raises(BadInput, match="expected probabilities"):
        run_campaign(Short(max_iter=500).fit(X, y), X, y, ThreatModel.from_schema(schema, X), plan=Plan(rows=64))


def test_a_relation_written_the_wrong_way_round_is_told():
    schema, X, y = world()
    X = np.abs(X)
    X[:, 0] = X[:, 1] * 0.5
    wrong = Schema(schema.features, ("x1 <= x0",))
    report = run_campaign(honest(X, y), X, y, ThreatModel.from_schema(wrong, X), plan=Plan(rows=64))
    told = {flag.name: flag.sentence for flag in report.audit}
    assert "x1 <= x0 does not hold in 100%" in told["relation_broken"]
