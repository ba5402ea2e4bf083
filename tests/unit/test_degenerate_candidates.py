"""Candidates that are worth nothing and yet cannot be attacked: none of a thousand passes its gates."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitor.db.registry import ModelSettings
from monitor.jobs import gating
from monitor.jobs.compare_child import Measurements
from monitor.jobs.gating import rule
from monitor.jobs.stress_child import Headline
from monitor.performance import paired_difference
from monitor.robustness import Task
from monitor.schema import Schema

RUNS, LEARNED, HELD = 1_000, 300, 300


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals decide nothing, so that they need not be exact here."""
    monkeypatch.setattr(gating, "paired_difference", partial(paired_difference, resamples=10))
    monkeypatch.setattr(gating, "differences_of", lambda *_: {})


def _material(rng: np.random.Generator, y: np.ndarray) -> Any:
    frame = pd.DataFrame({"amount": rng.normal(size=y.size), "channel": rng.choice(["app", "web"], y.size)})
    return SimpleNamespace(
        y=y, cut=LEARNED, held=HELD, task=Task.BINARY, score=None, prediction=None, frame=frame,
        schema=Schema.infer(frame), settings=ModelSettings(), proposal=SimpleNamespace(verdict="concept_drift"),
        model=SimpleNamespace(task="classification"),
        champion=SimpleNamespace(baseline={"metric": {"name": "auroc"}, "limit": None}),
    )  # fmt: skip


def _measured(scores: np.ndarray, robust: float) -> Measurements:
    """A version with these scores that keeps `robust` of everything under attack and noise."""
    level = {"level": "S2", "robust_auc": robust, "worst_recall": robust, "beyond_reality": False}
    headline = Headline(
        metric="robust_auc", value=robust, low=robust, high=robust, clean=robust, level="S2", corrupted_auc=robust,
        budget=(),
    )  # fmt: skip
    return Measurements(
        learned=scores[:LEARNED], held=scores[LEARNED:], headline=headline, stream={}, reality_cap=None,
        report={"levels": [level], "audit": [], "mean_corrupted_auc": robust}, latency_p95_ms=1.0,
        attacked=scores[LEARNED:], attacked_rows=np.arange(HELD), threshold=0.5,
    )  # fmt: skip


def _degenerate(kind: str, rng: np.random.Generator, champion: np.ndarray) -> np.ndarray:
    n = champion.size
    match kind:
        case "constant":
            return np.full(n, rng.uniform())
        case "nearly constant":
            return np.where(rng.random(n) < 0.01, rng.uniform(), rng.uniform())
        case "chance":
            return rng.uniform(size=n)
        case "turned round":
            return 1 - champion
        case "squashed":
            return 0.5 + (champion - 0.5) * 1e-3
        case _:  # one class, as far as its threshold goes: many rows share the highest score
            return np.where(rng.random(n) < 0.97, 0.999, champion)


@pytest.mark.slow
def test_none_of_a_thousand_degenerate_candidates_passes_however_robust_it_is():
    kinds = ("constant", "nearly constant", "chance", "turned round", "squashed", "one class")
    passed = []
    for run in range(RUNS):
        rng = np.random.default_rng([11, run])
        champion = rng.beta(0.8, 0.8, LEARNED + HELD)
        y = (rng.random(champion.size) < champion).astype(np.float64)
        kind = kinds[run % len(kinds)]
        candidate = _measured(_degenerate(kind, rng, champion), robust=1.0)
        ruling = rule(_material(rng, y), "hardened", _measured(champion, robust=0.6), candidate)
        if ruling.passed:
            passed.append((run, kind))
    assert passed == []


def test_an_equal_candidate_that_is_more_robust_passes():
    rng = np.random.default_rng(3)
    champion = rng.beta(0.8, 0.8, LEARNED + HELD)
    y = (rng.random(champion.size) < champion).astype(np.float64)
    ruling = rule(_material(rng, y), "hardened", _measured(champion, 0.6), _measured(champion, 0.8))
    assert ruling.passed, ruling.sentence
