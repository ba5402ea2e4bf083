"""What a candidate must show before it may serve: each gate has a value, a limit, an interval and a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from monitor.performance.fairness import Gap
from monitor.performance.intervals import Interval
from monitor.performance.measured import Measured


@dataclass(frozen=True, kw_only=True)
class CandidateFigures:
    """One version measured on the held-out recent rows that both versions are judged on.

    `clean` is the watched metric. `robust_auc`, `worst_recall` are at attack level S2; `corrupted_auc` is the mean over
    noise families, of several classes `corrupted_accuracy`. `ece`, `positive_rate`, `precision_at_champion_recall` and
    `mcc` are of the clean rows (None where the task has no such figure). `audit_flags` are sentences of the attack
    audit, such as a masked gradient. `spread` is how far what the model says differs between rows: the share of rows
    outside the class that it decides on most, or the range of its values; 0 says that it tells no row from another
    (None: not asked).
    """

    clean: Measured
    robust_auc: float | None = None
    worst_recall: float | None = None
    corrupted_auc: float | None = None
    corrupted_accuracy: float | None = None
    precision_at_champion_recall: float | None = None
    ece: float | None = None
    positive_rate: float | None = None
    mcc: float | None = None
    latency_p95_ms: float | None = None
    audit_flags: tuple[str, ...] = ()
    spread: float | None = None


@dataclass(frozen=True, kw_only=True)
class FairnessFigure:
    """The largest gap of one rate between groups of one feature, of both versions on the same rows.

    None of a version: fewer than two groups have rows enough. `unit` is what the limit's share is of: 1 for a rate, the
    champion's mean error for an error.
    """

    feature: str
    rate: str
    champion: Gap | None
    candidate: Gap | None
    difference: Interval | None = None
    unit: float = 1.0

    @property
    def name(self) -> str:
        return f"fairness_{self.rate.replace(' ', '_').replace('-', '_')}:{self.feature}"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a candidate may be worse; all in the figure's own unit."""

    clean_loss: float = 0.005
    clean_growth: float = 1.005
    precision_loss: float = 0.02
    robust_slack: float = 0.0
    ece_growth: float = 0.01
    positive_rate_ratio: float = 1.5
    latency_ms: float = 50.0
    latency_ratio: float = 2.0
    mcc_share: float = 0.8
    fairness_growth: float = 0.02


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One gate. `low` and `high` are the interval of `value` where one was measured.

    Where both versions were measured on the same rows it is the interval of their paired difference, laid around the
    candidate's value: whether it reaches beyond the limit is then free of how difficult those rows are.
    """

    name: str
    value: float
    limit: float
    passed: bool
    sentence: str
    low: float | None = None
    high: float | None = None
    champion: float | None = None

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def judge_gates(
    champion: CandidateFigures, candidate: CandidateFigures, *, clean_difference: Measured,
    trigger_cleared: bool, trigger_sentence: str, limits: Limits | None = None,
    differences: Mapping[str, Interval] | None = None, fairness: Sequence[FairnessFigure] = (),
) -> tuple[GateResult, ...]:  # fmt: skip
    """Every gate that the two versions' figures allow to be judged.

    A figure that the champion has and the candidate lacks fails its gate: it was not measured, so it is not known to be
    good. One that the champion lacks too is left out, but for the robust AUC and the trigger, which are always judged.
    A limit is held against the candidate's value itself, not against an edge of its interval.

    Args:
        clean_difference: candidate minus champion on the same rows (`performance.paired_difference`).
        trigger_cleared: whether the evidence that raised the proposal is gone on the candidate.
        differences: of other gates by name, the paired interval of candidate minus champion where rows are shared.
        fairness: gaps between groups, which may be wider than the champion's by a limit.
    """
    allowed = limits or Limits()
    gates = [
        _clean(champion, candidate, clean_difference, allowed),
        _robust(champion, candidate, allowed),
        _at_least("worst_recall_s2", "Worst-case recall at S2", champion.worst_recall, candidate.worst_recall, 0.0),
        _at_least("corrupted_auc", "Mean AUC under noise", champion.corrupted_auc, candidate.corrupted_auc, 0.0),
        _at_least(
            "corrupted_accuracy", "Mean accuracy under noise", champion.corrupted_accuracy,
            candidate.corrupted_accuracy, 0.0,
        ),
        _at_least(
            "precision_at_champion_recall", "Precision at the champion's recall",
            champion.precision_at_champion_recall, candidate.precision_at_champion_recall, allowed.precision_loss,
        ),
        _at_most("calibration", "Calibration error", champion.ece, candidate.ece, plus=allowed.ece_growth),
        _positive_rate(champion.positive_rate, candidate.positive_rate, allowed.positive_rate_ratio),
        _latency(champion.latency_p95_ms, candidate.latency_p95_ms, allowed),
        _mcc(champion.mcc, candidate.mcc, allowed.mcc_share),
        _tells_rows_apart(candidate),
        *(_fair(figure, allowed) for figure in fairness),
        _audit(candidate.audit_flags),
        _yes_or_no("trigger_cleared", trigger_cleared, trigger_sentence),
    ]  # fmt: skip
    return tuple(_with_interval(gate, differences or {}) for gate in gates if gate is not None)


def _with_interval(gate: GateResult, differences: Mapping[str, Interval]) -> GateResult:
    """The paired interval around the candidate's value, for a gate whose value is the candidate's own figure."""
    found = differences.get(gate.name)
    champion = gate.champion
    if found is None or champion is None or gate.low is not None:
        return gate
    low, high = champion + found[0], champion + found[1]
    inner = f" (paired difference {gate.value - champion:+.3g} [{found[0]:+.3g}, {found[1]:+.3g}])."
    return replace(gate, low=low, high=high, sentence=gate.sentence.removesuffix(".") + inner)


def all_passed(gates: tuple[GateResult, ...]) -> bool:
    """Whether the candidate may be offered for promotion: at least one gate, and none failed."""
    return bool(gates) and all(gate.passed for gate in gates)


def _clean(champion: CandidateFigures, candidate: CandidateFigures, difference: Measured, limits: Limits) -> GateResult:
    """The loss measured on the same rows must lie within the limit; its interval is shown with it."""
    better = candidate.clean.higher_is_better
    limit = -limits.clean_loss if better else champion.clean.value * (limits.clean_growth - 1)
    passed = difference.value >= limit if better else difference.value <= limit
    name = candidate.clean.name
    return GateResult(
        name="clean", value=difference.value, limit=limit, low=difference.low, high=difference.high, passed=passed,
        sentence=f"Clean {name} {champion.clean.value:.3f} → {candidate.clean.value:.3f} ({difference.value:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}], limit {limit:+.3f}).",
    )  # fmt: skip


def _robust(champion: CandidateFigures, candidate: CandidateFigures, limits: Limits) -> GateResult:
    if champion.robust_auc is None or candidate.robust_auc is None:
        return _unmeasured("robust_auc_s2", "Robust AUC at S2", champion.robust_auc)
    limit = champion.robust_auc - limits.robust_slack
    return _compared(
        "robust_auc_s2", "Robust AUC at S2", champion.robust_auc, candidate.robust_auc, limit, at_least=True
    )


def _at_least(
    name: str, words: str, champion: float | None, candidate: float | None, slack: float
) -> GateResult | None:
    if champion is None:
        return None
    if candidate is None:
        return _unmeasured(name, words, champion)
    return _compared(name, words, champion, candidate, champion - slack, at_least=True)


def _at_most(
    name: str, words: str, champion: float | None, candidate: float | None, *, plus: float
) -> GateResult | None:
    if champion is None:
        return None
    if candidate is None:
        return _unmeasured(name, words, champion)
    return _compared(name, words, champion, candidate, champion + plus, at_least=False)


def _positive_rate(champion: float | None, candidate: float | None, ratio: float) -> GateResult | None:
    """Within a factor of the champion's, either way: people who handle the positives must be able to."""
    if champion is None:
        return None
    if candidate is None:
        return _unmeasured("positive_rate", "Positive rate", champion)
    limit = champion * ratio if candidate >= champion else champion / ratio
    return _compared("positive_rate", "Positive rate", champion, candidate, limit, at_least=candidate < champion)


def _latency(champion: float | None, candidate: float | None, limits: Limits) -> GateResult | None:
    """A candidate is quick enough below the fixed limit, or below a multiple of a slow champion."""
    if champion is None:
        return None
    if candidate is None:
        return _unmeasured("latency", "p95 latency in ms", champion)
    limit = max(limits.latency_ms, champion * limits.latency_ratio)
    return _compared("latency", "p95 latency in ms", champion, candidate, limit, at_least=False)


def _mcc(champion: float | None, candidate: float | None, share: float) -> GateResult | None:
    """A near-constant model passes robust accuracy; it does not pass this."""
    if champion is None:
        return None
    if candidate is None:
        return _unmeasured("mcc", "MCC", champion)
    return _compared("mcc", "MCC", champion, candidate, share * champion, at_least=True)


def _tells_rows_apart(candidate: CandidateFigures) -> GateResult | None:
    """A model that says the same of every row cannot be attacked, is calibrated, and is worth nothing."""
    if candidate.spread is None:
        return None
    constant = candidate.spread <= 0
    sentence = (
        f"The candidate says the same of all {candidate.clean.n:,} held-out rows: a constant model is refused."
        if constant
        else "The candidate tells rows apart."
    )
    return GateResult(name="not_constant", value=candidate.spread, limit=0.0, passed=not constant, sentence=sentence)


def _fair(figure: FairnessFigure, limits: Limits) -> GateResult:
    """The widest gap between groups may grow by the limit; the two groups that are furthest apart are named."""
    words = f"Gap in {figure.rate} between groups of {figure.feature}"
    before, now = figure.champion, figure.candidate
    if before is None or now is None:
        return GateResult(
            name=figure.name, value=0.0, limit=0.0, passed=False,
            sentence=f"{words} was not measured: fewer than two groups have rows enough. It is not known to be good.",
        )  # fmt: skip
    limit = before.value + limits.fairness_growth * figure.unit
    low, high = figure.difference or (None, None)
    span = f" [{low:+.3g}, {high:+.3g}]" if low is not None else ""
    return GateResult(
        name=figure.name, value=now.value, limit=limit, passed=now.value <= limit, champion=before.value,
        low=None if low is None else before.value + low, high=None if high is None else before.value + high,
        sentence=f"{words} {before.value:.3g} → {now.value:.3g} (at most {limit:.3g}; paired difference "
        f"{now.value - before.value:+.3g}{span}): {figure.feature} {now.lowest} {now.lowest_rate:.3g}, "
        f"{figure.feature} {now.highest} {now.highest_rate:.3g}.",
    )  # fmt: skip


def _audit(flags: tuple[str, ...]) -> GateResult:
    sentence = "The attack audit raised no flag." if not flags else f"The attack audit says: {'; '.join(flags)}."
    return GateResult(name="audit", value=float(len(flags)), limit=0.0, passed=not flags, sentence=sentence)


def _yes_or_no(name: str, passed: bool, sentence: str) -> GateResult:
    return GateResult(name=name, value=float(passed), limit=1.0, passed=passed, sentence=sentence)


def _compared(
    name: str, words: str, champion: float, candidate: float, limit: float, *, at_least: bool
) -> GateResult:  # fmt: skip
    passed = candidate >= limit if at_least else candidate <= limit
    edge = "at least" if at_least else "at most"
    return GateResult(
        name=name, value=candidate, limit=limit, passed=passed,
        sentence=f"{words} {champion:.3g} → {candidate:.3g} ({edge} {limit:.3g}).", champion=champion,
    )  # fmt: skip


def _unmeasured(name: str, words: str, champion: float | None) -> GateResult:
    return GateResult(
        name=name, value=0.0, limit=champion or 0.0, passed=False,
        sentence=f"{words} was not measured on both versions, so it is not known to be good.",
    )  # fmt: skip
