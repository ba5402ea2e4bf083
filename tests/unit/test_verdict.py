"""The first rule that applies decides, and evasion is told apart from ordinary shifts."""

import numpy as np
import pytest

from monitor.drift.quality import QualityFinding, QualityKind
from monitor.performance import EvasionEvidence, Facts, Measured, Verdict, evasion_signature, judge


def _auc(value: float) -> Measured:
    return Measured(name="auroc", value=value, low=value - 0.01, high=value + 0.01, n=900, higher_is_better=True)


def _fault(kind: QualityKind) -> QualityFinding:
    return QualityFinding(
        kind=kind, feature="amount", statistic=100, reference=1, threshold=100, share=0.38, sentence="amount ×100"
    )


EVASION = EvasionEvidence(detected=True, statistic=0.8, p_value=1e-12, feature=0, sentence="They adapt.")
HARM = {"realised": _auc(0.84), "limit": 0.89, "labels_mature": True}
FINE = {"realised": _auc(0.91), "limit": 0.89, "labels_mature": True}


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (Facts(quality=(_fault(QualityKind.UNIT),), moved=("amount",), **HARM), Verdict.PIPELINE_BREAK),
        (Facts(quality=(_fault(QualityKind.UNSEEN),), moved=("amount",), **HARM), Verdict.HARMFUL_COVARIATE_SHIFT),
        (Facts(stress_below_registration=True, **FINE), Verdict.FRAGILE),
        (Facts(evasion=EVASION, moved=("amount",), **HARM), Verdict.FRAGILE),
        (Facts(evasion=EVASION, moved=("amount",), **FINE), Verdict.HARMLESS_DRIFT),
        (Facts(moved=("amount",), **HARM), Verdict.HARMFUL_COVARIATE_SHIFT),
        (Facts(**HARM), Verdict.CONCEPT_DRIFT),
        (Facts(moved=("age",), **FINE), Verdict.HARMLESS_DRIFT),
        (Facts(moved=("age",), **{**HARM, "labels_mature": False}), Verdict.PENDING_LABELS),
        (Facts(moved=("age",), labels_mature=True), Verdict.PENDING_LABELS),
        (Facts(**FINE), Verdict.HEALTHY),
        (Facts(), Verdict.HEALTHY),
    ],
)
def test_the_first_rule_that_applies_decides(facts, verdict):
    assert judge(facts).verdict is verdict


def test_an_interval_that_reaches_the_limit_is_no_harm():
    facts = Facts(moved=("age",), realised=_auc(0.885), limit=0.89, labels_mature=True)
    assert judge(facts).verdict is Verdict.HARMLESS_DRIFT


def test_a_judgement_says_why_and_what_to_do():
    judgement = judge(Facts(moved=("merchant", "amount"), **HARM))
    assert judgement.sentence == (
        "auroc 0.840 [0.830, 0.850] on 900 rows lies beyond the limit 0.890. Moved: merchant, amount."
    )
    assert judge(Facts(moved=("age",), **FINE)).advice.endswith("Do NOT retrain.")


def _population(rng: np.random.Generator, label: int, n: int) -> np.ndarray:
    """Columns: amount (mutable), hour (mutable), age, region; frauds have larger amounts and later hours."""
    means = np.array([1.5, 0.8, -0.2, 0.3]) * label
    return rng.normal(means, 1.0, (n, 4))


def _evidence(rng: np.random.Generator, positive: np.ndarray, negative: np.ndarray) -> EvasionEvidence:
    references = _population(rng, 1, 600), _population(rng, 0, 4000)
    names = ("amount", "hour", "age", "region")
    return evasion_signature(references[0], positive, references[1], negative, (0, 1), names=names)


def test_frauds_that_lower_their_amounts_are_seen_as_evasion():
    rng = np.random.default_rng(0)
    positive = _population(rng, 1, 150) - [0.9, 0, 0, 0]
    evidence = _evidence(rng, positive, _population(rng, 0, 2000))
    assert evidence.detected
    assert evidence.statistic == pytest.approx(0.9, abs=0.25)
    assert "in amount" in evidence.sentence


@pytest.mark.parametrize(
    "shift_positive_negative",
    [
        ([0, 0, 0, 0], [0, 0, 0, 0]),  # nothing
        ([-0.9, 0, 0, 0], [-0.9, 0, 0, 0]),  # prices fell for everyone
        ([0, 0, 0.9, 0], [0, 0, 0.9, 0]),  # another age mix
        ([-0.9, 0, 1.2, 0], [0, 0, 0, 0]),  # another kind of fraudster
        ([0.9, 0, 0, 0], [0, 0, 0, 0]),  # bolder, so easier to catch
    ],
)
def test_ordinary_shifts_are_never_called_evasion(shift_positive_negative):
    rng = np.random.default_rng(1)
    for _ in range(60):
        positive = _population(rng, 1, 150) + shift_positive_negative[0]
        negative = _population(rng, 0, 2000) + shift_positive_negative[1]
        assert not _evidence(rng, positive, negative).detected


def test_too_few_frauds_are_not_enough_to_tell():
    rng = np.random.default_rng(2)
    evidence = _evidence(rng, _population(rng, 1, 10), _population(rng, 0, 500))
    assert not evidence.detected
    assert "Too few" in evidence.sentence
