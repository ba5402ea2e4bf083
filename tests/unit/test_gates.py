"""A candidate passes when nothing that matters got worse, and fails for each thing that did."""

from dataclasses import replace

import pytest

from monitor.governance import CandidateFigures, FairnessFigure, GateResult, all_passed, judge_gates
from monitor.performance import Measured
from monitor.performance.fairness import Gap


def _figure(value: float, name: str = "auroc", higher: bool = True) -> Measured:
    return Measured(name=name, value=value, low=value - 0.01, high=value + 0.01, n=2000, higher_is_better=higher)


CHAMPION = CandidateFigures(
    clean=_figure(0.84), robust_auc=0.61, worst_recall=0.4, corrupted_auc=0.75, precision_at_champion_recall=0.5,
    ece=0.02, positive_rate=0.088, mcc=0.5, latency_p95_ms=8,
)  # fmt: skip
CANDIDATE = replace(CHAMPION, clean=_figure(0.90), robust_auc=0.78, positive_rate=0.092, latency_p95_ms=9)


def _judge(candidate: CandidateFigures, difference: float = 0.06, cleared: bool = True) -> dict[str, GateResult]:
    gates = judge_gates(
        CHAMPION, candidate, clean_difference=_figure(difference), trigger_cleared=cleared, trigger_sentence="Clear."
    )
    return {gate.name: gate for gate in gates}


def test_a_better_candidate_passes_every_gate():
    gates = _judge(CANDIDATE)
    assert len(gates) == 11
    assert all_passed(tuple(gates.values()))
    assert gates["clean"].sentence == "Clean auroc 0.840 → 0.900 (+0.060 [+0.050, +0.070], limit -0.005)."


@pytest.mark.parametrize(
    ("gate", "worse"),
    [
        ("robust_auc_s2", {"robust_auc": 0.60}),
        ("worst_recall_s2", {"worst_recall": 0.39}),
        ("corrupted_auc", {"corrupted_auc": 0.74}),
        ("precision_at_champion_recall", {"precision_at_champion_recall": 0.47}),
        ("calibration", {"ece": 0.04}),
        ("positive_rate", {"positive_rate": 0.14}),
        ("positive_rate", {"positive_rate": 0.05}),
        ("latency", {"latency_p95_ms": 60.0}),
        ("mcc", {"mcc": 0.39}),
        ("audit", {"audit_flags": ("gradients are masked",)}),
        ("robust_auc_s2", {"robust_auc": None}),
        ("mcc", {"mcc": None}),
    ],
)
def test_each_thing_that_got_worse_or_was_not_measured_fails_its_gate_alone(gate, worse):
    gates = _judge(replace(CANDIDATE, **worse))
    assert [name for name, result in gates.items() if not result.passed] == [gate]


def test_half_a_point_of_clean_auc_is_the_most_that_may_be_lost():
    assert _judge(CANDIDATE, difference=-0.005)["clean"].passed
    assert not _judge(CANDIDATE, difference=-0.0051)["clean"].passed


def test_a_trigger_that_is_not_cleared_fails():
    assert not _judge(CANDIDATE, cleared=False)["trigger_cleared"].passed


def test_a_near_constant_model_with_perfect_robustness_fails():
    constant = replace(CANDIDATE, robust_auc=1.0, worst_recall=1.0, corrupted_auc=1.0, mcc=0.0, positive_rate=1.0)
    assert not _judge(constant)["mcc"].passed


def test_an_error_may_grow_by_half_a_percent():
    champion = CandidateFigures(clean=_figure(10.0, "rmse", higher=False), robust_auc=0.6)
    for growth, passed in ((0.04, True), (0.06, False)):
        candidate = CandidateFigures(clean=_figure(10 + growth, "rmse", higher=False), robust_auc=0.6)
        gates = judge_gates(
            champion, candidate, clean_difference=_figure(growth, "rmse", higher=False), trigger_cleared=True,
            trigger_sentence="Clear.",
        )  # fmt: skip
        assert gates[0].passed is passed


def test_no_gates_at_all_is_no_pass():
    assert not all_passed(())


def test_a_candidate_that_says_the_same_of_every_row_is_refused_in_a_sentence():
    assert _judge(replace(CANDIDATE, spread=0.2))["not_constant"].passed
    refused = _judge(replace(CANDIDATE, spread=0.0))["not_constant"]
    assert not refused.passed
    assert refused.sentence == ("The candidate says the same of all 2,000 held-out rows: a constant model is refused.")


def test_a_paired_interval_lies_around_the_candidates_value_and_does_not_gate():
    gates = judge_gates(
        CHAMPION, CANDIDATE, clean_difference=_figure(0.06), trigger_cleared=True, trigger_sentence="Clear.",
        differences={"robust_auc_s2": (-0.02, 0.3), "latency": (0.0, 0.0)},
    )  # fmt: skip
    robust = next(gate for gate in gates if gate.name == "robust_auc_s2")
    assert (robust.low, robust.high) == pytest.approx((0.59, 0.91))
    assert robust.passed  # the limit .61 is held against .78 itself
    assert robust.sentence == ("Robust AUC at S2 0.61 → 0.78 (at least 0.61) (paired difference +0.17 [-0.02, +0.3]).")


def _gap(value: float) -> Gap:
    return Gap(
        feature="channel", rate="positive rate", value=value, lowest="= web", lowest_rate=0.1, highest="= app",
        highest_rate=0.1 + value,
    )  # fmt: skip


@pytest.mark.parametrize(("now", "passed"), [(0.031, True), (0.0312, False), (0.0, True)])
def test_a_gap_between_groups_may_grow_by_two_points(now, passed):
    figure = FairnessFigure(
        feature="channel", rate="positive rate", champion=_gap(0.011), candidate=_gap(now), difference=(-0.01, 0.03)
    )
    gate = judge_gates(
        CHAMPION, CANDIDATE, clean_difference=_figure(0.06), trigger_cleared=True, trigger_sentence="Clear.",
        fairness=[figure],
    )[-3]  # fmt: skip
    assert (gate.name, gate.passed) == ("fairness_positive_rate:channel", passed)
    assert "): channel = web 0.1, channel = app " in gate.sentence


def test_a_gap_that_could_not_be_measured_is_not_known_to_be_good():
    figure = FairnessFigure(feature="channel", rate="true-positive rate", champion=_gap(0.01), candidate=None)
    gates = judge_gates(
        CHAMPION, CANDIDATE, clean_difference=_figure(0.06), trigger_cleared=True, trigger_sentence="Clear.",
        fairness=[figure],
    )  # fmt: skip
    failed = [gate for gate in gates if not gate.passed]
    assert [gate.name for gate in failed] == ["fairness_true_positive_rate:channel"]
    assert "fewer than two groups have rows enough" in failed[0].sentence
