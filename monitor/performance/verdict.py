"""What a window amounts to, in words, and what to do about it. "Do not retrain" is a verdict too."""

from dataclasses import dataclass
from enum import StrEnum

from monitor.drift.quality import QualityFinding
from monitor.performance.evasion import EvasionEvidence
from monitor.performance.measured import Measured
from monitor.performance.tolerance import is_beyond


class Verdict(StrEnum):
    """The judgement of a window, as it is stored and shown."""

    PIPELINE_BREAK = "pipeline_break"
    FRAGILE = "fragile"
    HARMFUL_COVARIATE_SHIFT = "harmful_covariate_shift"
    CONCEPT_DRIFT = "concept_drift"
    HARMLESS_DRIFT = "harmless_drift"
    PENDING_LABELS = "pending_labels"
    HEALTHY = "healthy"

    @property
    def in_words(self) -> str:
        """As people say it.

        >>> Verdict.HARMFUL_COVARIATE_SHIFT.in_words
        'harmful covariate shift'
        """
        return self.value.replace("_", " ")


HARMFUL = frozenset({Verdict.HARMFUL_COVARIATE_SHIFT, Verdict.CONCEPT_DRIFT})

# What to do, and what not to do.
ADVICE = {
    Verdict.PIPELINE_BREAK: (
        "call the source's owner; roll the feed back.",
        "retrain: the model would learn the fault.",
    ),
    Verdict.FRAGILE: ("widen the manual-review band; review the proposal to retrain with hardening.", ""),
    Verdict.HARMFUL_COVARIATE_SHIFT: (
        "review the proposal to retrain; until then route the worst slice to people.",
        "",
    ),
    Verdict.CONCEPT_DRIFT: ("ask what changed in the world or the labelling; review the proposal to retrain.", ""),
    Verdict.HARMLESS_DRIFT: ("nothing; if this is the new normal, accept it as a baseline.", "retrain."),
    Verdict.PENDING_LABELS: ("wait for the labels, or ask for a hundred of the rows that moved.", "retrain yet."),
    Verdict.HEALTHY: ("nothing.", ""),
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a window when it is judged.

    `moved` are the features that the detector holds responsible. `realised` is measured on the labels that have come
    and counts only when `labels_mature`; `limit` is the tolerance (`performance.tolerance`).
    `stress_below_registration` says that robust performance fell below what it was when the version was registered;
    `evasion` is the measured signature of somebody moving only what can be moved.
    """

    quality: tuple[QualityFinding, ...] = ()
    moved: tuple[str, ...] = ()
    realised: Measured | None = None
    limit: float | None = None
    labels_mature: bool = False
    label_coverage: float = 0.0
    stress_below_registration: bool = False
    stress_sentence: str = ""
    evasion: EvasionEvidence | None = None

    @property
    def realised_drop(self) -> bool:
        """Whether the whole interval of the realised metric, on mature labels, lies beyond the tolerance."""
        if self.realised is None or self.limit is None or not self.labels_mature:
            return False
        return is_beyond(self.realised, self.limit)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict, the sentence why, what to do, and what not to do (empty: nothing in particular)."""

    verdict: Verdict
    sentence: str
    do: str
    dont: str

    @property
    def advice(self) -> str:
        """Both as one text."""
        return f"DO: {self.do}" + (f" Do NOT {self.dont}" if self.dont else "")


def judge(facts: Facts) -> Judgement:
    """The first rule that applies, in order: broken data, fragility, realised harm, moved features, nothing.

    >>> judge(Facts(moved=("age",))).verdict
    <Verdict.PENDING_LABELS: 'pending_labels'>
    """
    verdict, sentence = _first_that_applies(facts)
    do, dont = ADVICE[verdict]
    return Judgement(verdict=verdict, sentence=sentence, do=do, dont=dont)


def _first_that_applies(facts: Facts) -> tuple[Verdict, str]:
    breaks = [finding.sentence for finding in facts.quality if finding.breaks_pipeline]
    if breaks:
        return Verdict.PIPELINE_BREAK, f"{'; '.join(breaks)}."
    if facts.stress_below_registration:
        return Verdict.FRAGILE, facts.stress_sentence or "The stress test fell below its value at registration."
    if facts.realised_drop and facts.evasion is not None and facts.evasion.detected:
        return Verdict.FRAGILE, f"{_harm(facts)} {facts.evasion.sentence}"
    if facts.realised_drop and facts.moved:
        return Verdict.HARMFUL_COVARIATE_SHIFT, f"{_harm(facts)} Moved: {_names(facts.moved)}."
    if facts.realised_drop:
        return Verdict.CONCEPT_DRIFT, f"{_harm(facts)} No feature moved."
    if not facts.moved:
        return Verdict.HEALTHY, _healthy(facts)
    if facts.labels_mature and facts.realised is not None:
        return Verdict.HARMLESS_DRIFT, f"{_names(facts.moved)} moved; {facts.realised} is within tolerance."
    return Verdict.PENDING_LABELS, f"{_names(facts.moved)} moved; {facts.label_coverage:.0%} of the labels have come."


def _harm(facts: Facts) -> str:
    return f"{facts.realised} lies beyond the limit {facts.limit:.3f}."


def _healthy(facts: Facts) -> str:
    return f"Nothing moved; {facts.realised}." if facts.realised is not None else "Nothing moved."


def _names(features: tuple[str, ...]) -> str:
    shown = ", ".join(features[:4])
    return f"{shown} and {len(features) - 4} more" if len(features) > 4 else shown
