"""Two frames side by side: the customary scores, and no promise about false alarms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from monitor.drift import two_sample
from monitor.drift.bins import Binning
from monitor.drift.profile import Profile
from monitor.drift.report import FeatureStatus, column_status, conventional_scores, magnitude, plain_json
from monitor.drift.scores import DEFAULT_THRESHOLDS, THRESHOLDS, Score
from monitor.drift.sentences import STATUS_SENTENCES, percent
from monitor.errors import BadInput, NotEnoughData
from monitor.schema import Schema

CAVEAT = (
    "Two samples alone cannot tell a drift from the usual difference of two days: a false-alarm rate needs a reference "
    "of several windows."
)


@dataclass(frozen=True, kw_only=True)
class FeatureComparison:
    """One feature of two frames: customary scores, and √PSI (corrected for sampling) to sort by."""

    name: str
    status: FeatureStatus
    magnitude: float
    scores: Mapping[str, Score]
    sentence: str

    @property
    def exceeds(self) -> tuple[str, ...]:
        """The scores that are beyond their customary threshold."""
        return tuple(name for name, score in self.scores.items() if score.exceeds)


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """All features, the largest difference first."""

    rows_reference: int
    rows_current: int
    features: tuple[FeatureComparison, ...]
    caveat: str = CAVEAT

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values, NaN and infinities as None."""
        features = [
            {
                **{key: getattr(feature, key) for key in ("name", "status", "magnitude", "sentence", "exceeds")},
                "scores": {name: vars(score) | {"exceeds": score.exceeds} for name, score in feature.scores.items()},
            }
            for feature in self.features
        ]
        rows = {"rows_reference": self.rows_reference, "rows_current": self.rows_current}
        document: dict[str, Any] = plain_json({**rows, "features": features, "caveat": self.caveat})
        return document


def compare(
    reference: pd.DataFrame, current: pd.DataFrame, schema: Schema | None = None, *, thresholds: str | None = None
) -> ComparisonReport:
    """Compare two frames feature by feature; numeric KS and Wasserstein are exact on the raw values.

    Args:
        reference: known-good rows.
        current: the rows in question.
        schema: inferred from the reference if not given.
        thresholds: `evidently`, `psi`, `nannyml` or `sagemaker`; without it a customary one a score.

    >>> good = pd.DataFrame({"amount": np.arange(100.0), "channel": ["app", "web"] * 50})
    >>> report = compare(good, good.assign(channel="web"))
    >>> report.features[0].sentence
    'share of channel=app 50 % → 0.0 %'
    """
    if min(len(reference), len(current)) < 2:
        raise NotEnoughData(f"expected at least two rows on each side, got {len(reference)} and {len(current)}")
    if thresholds is not None and thresholds not in THRESHOLDS:
        raise BadInput(f"no thresholds are called {thresholds!r}; there are {', '.join(THRESHOLDS)}")
    chosen = THRESHOLDS[thresholds] if thresholds else DEFAULT_THRESHOLDS
    binning = Binning.fit(reference, schema)
    before, after = Profile.of(reference, binning), Profile.of(current, binning)
    encoded = binning.schema.encode(reference), binning.schema.encode(current)
    features = [
        _feature(name, before, after, (encoded[0][:, j], encoded[1][:, j]), chosen)
        for j, name in enumerate(binning.schema.names)
    ]
    features.sort(key=lambda feature: -feature.magnitude)
    return ComparisonReport(rows_reference=before.rows, rows_current=after.rows, features=tuple(features))


def _feature(
    name: str,
    before: Profile,
    after: Profile,
    raw: tuple["np.ndarray[Any, np.dtype[np.float64]]", "np.ndarray[Any, np.dtype[np.float64]]"],
    thresholds: Mapping[str, float],
) -> FeatureComparison:
    scores = conventional_scores(name, before, after, thresholds)
    if before.binning[name].is_numeric:
        finite = [values[np.isfinite(values)] for values in raw]
        scores["ks"] = two_sample.ks(*finite, threshold=thresholds.get("ks"))
        scores["wasserstein"] = two_sample.wasserstein(
            *finite, standardise=True, threshold=thresholds.get("wasserstein")
        )
    status = column_status(name, before, after)
    return FeatureComparison(
        name=name,
        status=status,
        magnitude=magnitude(before.counts_of(name), after.counts_of(name)),
        scores=scores,
        sentence=_sentence(name, status, before, after),
    )


def _sentence(name: str, status: FeatureStatus, before: Profile, after: Profile) -> str:
    """The plainest change: the median of a number, the share of the level that changed most, or what is missing."""
    if status in (FeatureStatus.ALL_NULL, FeatureStatus.MISSING_COLUMN):
        return STATUS_SENTENCES[status].format(name=name)
    bins = before.binning[name]
    p, q = before.counts_of(name) / before.rows, after.counts_of(name) / after.rows
    b = int(np.abs(q - p).argmax())
    medians = before.quantile(name, 0.5), after.quantile(name, 0.5)
    if b == bins.missing:
        return f"missing share of {name} {percent(p[b])} → {percent(q[b])}"
    if bins.is_numeric and medians[0] is not None and medians[1] is not None and len(bins.edges) > 2:
        return f"median of {name} {medians[0]:.4g} → {medians[1]:.4g}"
    return f"share of {name}={bins.labels[b]} {percent(p[b])} → {percent(q[b])}"
