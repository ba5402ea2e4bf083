"""Lost rows, McNemar's test on shared rows, and the stream of lost rows: by closed forms and seeded worlds."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from torch import nn

from monitor.errors import BadInput
from monitor.robustness import Plan, ThreatModel, run_campaign
from monitor.robustness.lost import lost_rows, registered_cut
from monitor.robustness.mcnemar import mcnemar
from monitor.robustness.stream import BUDGET_TICKS, TILTS, RobustStream, Shares, likelihood_ratios

REGISTERED = Shares(rows={"0": 3_000, "1": 1_096}, lost={"0": 300, "1": 219})
PLAN = Plan(rows=500, levels=("only",), families=(), audit_queries=0)


def tick(rng: np.random.Generator, negative: float, positive: float) -> Shares:
    lost = {"0": int(rng.binomial(384, negative)), "1": int(rng.binomial(128, positive))}
    return Shares(rows={"0": 384, "1": 128}, lost=lost)


class Sum(nn.Module):
    def forward(self, rows):
        return rows.sum(dim=1)


def campaign(y, task=None):
    X = np.random.default_rng(0).normal(size=(500, 1))
    threat = ThreatModel.linf(epsilon=0.25, lower=-10.0, upper=10.0)
    return X, run_campaign(Sum().eval(), X, y(X), threat, plan=PLAN, task=task, threshold=0.0 if task is None else None)


def test_a_row_is_lost_when_it_was_right_and_the_budget_reaches_across_the_decision():
    X, report = campaign(lambda X: (X[:, 0] > 0).astype(float))
    level = report.levels[0].level
    assert lost_rows(report, level).tolist() == (np.abs(X[:, 0]) <= 0.25).tolist()
    with pytest.raises(BadInput, match="expected a level among"):
        lost_rows(report, "S9")


def test_a_fifth_of_the_registered_values_is_beyond_the_cut_of_the_error():
    _, report = campaign(lambda X: X[:, 0] + np.linspace(-1, 1, 500), task="regression")
    level = report.levels[0].level
    grown = np.abs(report.worst_outputs[0] - report.y) - np.abs(report.outputs - report.y)
    cut = registered_cut(report, level)
    assert cut == pytest.approx(np.quantile(grown, 0.8))
    assert lost_rows(report, level, cut=cut).tolist() == (grown > cut).tolist()
    with pytest.raises(BadInput, match="expected the cut"):
        lost_rows(report, level)


def test_mcnemar_is_the_binomial_test_of_the_rows_that_changed_sides():
    before = np.array([True] * 4 + [False] * 96)
    after = np.array([True] * 1 + [False] * 3 + [True] * 15 + [False] * 81)
    found = mcnemar(before, after)
    assert (found.newly, found.no_longer, found.change) == (15, 3, 0.12)
    assert found.p_value == pytest.approx(2 * binom.cdf(3, 18, 0.5))
    assert mcnemar(before, before).p_value == 1.0
    with pytest.raises(BadInput, match="same rows twice"):
        mcnemar(before, after[:50])


def test_no_bet_gains_on_average_while_the_share_is_no_larger_than_registered():
    registered = Shares(rows={"all": 4_096}, lost={"all": 600})
    counts = np.arange(513)
    ratios = np.array([likelihood_ratios(registered, Shares(rows={"all": 512}, lost={"all": int(k)})) for k in counts])
    for share in (0.10, 600 / 4_096):
        assert (binom.pmf(counts, 512, share) @ ratios <= 1).all()
    assert (binom.pmf(counts, 512, 600 / 4_096 + 0.05) @ np.log(ratios))[1] > 2


def test_a_mix_of_classes_that_changes_is_no_growth():
    tick = Shares(
        rows={"0": 100, "1": 412}, lost={"0": 10, "1": 82}
    )  # 18 % lost against 12.7 %, class by class as ever
    assert (likelihood_ratios(REGISTERED, tick) < 1).all()
    assert REGISTERED.expected_in(tick) == pytest.approx(0.18, abs=0.002)
    assert (likelihood_ratios(REGISTERED, replace(tick, lost={"0": 20, "1": 110})) > 1).any()


def test_a_growth_of_five_points_is_found_and_its_end_ends_the_alarm():
    rng, stream, alarms = np.random.default_rng(3), RobustStream(), []
    for share in [(0.10, 0.20)] * 50 + [(0.145, 0.27)] * 6 + [(0.10, 0.20)] * 4:
        stream = stream.update(REGISTERED, tick(rng, *share))
        alarms.append(stream.alarm)
    assert alarms.index(True) in (51, 52)
    assert (alarms[55], alarms[59]) == (True, False)
    assert max(stream.won) <= BUDGET_TICKS * len(TILTS)


def test_a_stream_goes_on_from_its_document():
    rng = np.random.default_rng(1)
    first = RobustStream().update(REGISTERED, tick(rng, 0.15, 0.3))
    again = RobustStream.from_document(json.loads(json.dumps(first.to_document())))
    assert again == first
    assert RobustStream.from_document({}) == RobustStream()
    with pytest.raises(BadInput, match="classes among"):
        first.update(REGISTERED, Shares(rows={"2": 9}, lost={"2": 1}))
