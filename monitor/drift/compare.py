"""Two frames side by side: the customary scores, and no promise about false alarms."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from monitor.drift import distances, two_sample
from monitor.drift.bins import Binning, FeatureBins, FloatArray, IntArray
from monitor.drift.profile import Profile
from monitor.drift.report import FeatureStatus, column_status, conventional_scores, magnitude, plain_json
from monitor.drift.scores import THRESHOLDS, Score, customary_thresholds
from monitor.drift.sentences import STATUS_SENTENCES, percent
from monitor.drift.sorted_sample import SortedSample
from monitor.errors import BadInput, NotEnoughData
from monitor.schema import Schema

CAVEAT = (
    "Two samples alone cannot tell a drift from the usual difference of two days: a false-alarm rate needs a reference "
    "of several windows."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """One feature of two profiles, and the name of the thresholds."""

    name: str
    before: Profile
    after: Profile
    thresholds: str | None

    @property
    def bins(self) -> FeatureBins:
        return self.before.binning[self.name]

    @property
    def counts(self) -> tuple[IntArray, IntArray]:
        return self.before.counts_of(self.name), self.after.counts_of(self.name)

    @cached_property
    def filled(self) -> IntArray:
        """The value bins that either profile has rows in."""
        return np.flatnonzero((self.counts[0] + self.counts[1])[: self.bins.missing])

    @cached_property
    def customary(self) -> Mapping[str, float]:
        return customary_thresholds(
            self.thresholds,
            is_numeric=self.bins.is_numeric,
            distinct=self.filled.size,
            n_reference=self.before.rows,
        )

    def scores(self) -> dict[str, Score]:
        """All scores over counts."""
        a, b = self.counts
        methods = ["psi_unbiased", "kl", "hellinger", "tv", "linf", *([] if self.bins.is_numeric else ["g"])]
        found = conventional_scores(self.name, self.before, self.after, self.customary)
        found |= {method: distances.score(method, a, b, threshold=self.customary.get(method)) for method in methods}
        if self.filled.size <= 5 and "chi2" not in found:
            found["chi2"] = distances.score("chi2", a, b, threshold=self.customary.get("chi2"))
        if self.filled.size == 2:
            hits, (n, m) = self.filled[-1], (counts[self.filled].sum() for counts in (a, b))
            if min(n, m) > 0:
                found["z"] = two_sample.proportions_z(
                    int(a[hits]), int(n), int(b[hits]), int(m), threshold=self.customary.get("z")
                )
        return found if "cdf_distance" not in self.customary else found | _cdf_distance(found["ks"], self.customary)


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

    @classmethod
    def of(cls, pair: _Pair) -> "FeatureComparison":
        """By counts alone."""
        status = column_status(pair.name, pair.before, pair.after)
        return cls(
            name=pair.name,
            status=status,
            magnitude=magnitude(*pair.counts),
            scores=pair.scores(),
            sentence=_sentence(pair.name, status, pair.before, pair.after),
        )


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
    reference: pd.DataFrame,
    current: pd.DataFrame,
    schema: Schema | None = None,
    *,
    thresholds: str | None = None,
    exact: bool = True,
) -> ComparisonReport:
    """Compare two frames feature by feature with the customary scores.

    Args:
        reference: known-good rows.
        current: the rows in question.
        schema: inferred from the reference if not given.
        thresholds: `evidently`, `psi`, `nannyml` or `sagemaker`; without it a customary one a score.
        exact: also Anderson–Darling, Cramér–von Mises and the energy distance of numbers, and their Kolmogorov–Smirnov
            and Wasserstein on the raw values, which takes sorting them; without, the latter two are over counts.

    >>> good = pd.DataFrame({"amount": np.arange(100.0), "channel": ["app", "web"] * 50})
    >>> report = compare(good, good.assign(channel="web"))
    >>> report.features[0].sentence
    'share of channel=app 50 % → 0.0 %'
    """
    if min(len(reference), len(current)) < 2:
        raise NotEnoughData(f"expected at least two rows on each side, got {len(reference)} and {len(current)}")
    if thresholds is not None and thresholds not in THRESHOLDS:
        raise BadInput(f"no thresholds are called {thresholds!r}; there are {', '.join(THRESHOLDS)}")
    reference, current = Schema.with_codes(reference), Schema.with_codes(current)
    binning = Binning.fit(reference, schema)
    before, after = Profile.of(reference, binning), Profile.of(current, binning)
    pairs = [_Pair(name=name, before=before, after=after, thresholds=thresholds) for name in binning.schema.names]
    features = [_with_raw(pair, reference, current) if exact else FeatureComparison.of(pair) for pair in pairs]
    features.sort(key=lambda feature: -feature.magnitude)
    return ComparisonReport(rows_reference=before.rows, rows_current=after.rows, features=tuple(features))


def _with_raw(pair: _Pair, reference: pd.DataFrame, current: pd.DataFrame) -> FeatureComparison:
    """The comparison of a feature, with its exact scores if it is a number."""
    compared = FeatureComparison.of(pair)
    if not pair.bins.is_numeric:
        return compared
    encoded = (pair.before.binning.schema.encode_column(frame, pair.name) for frame in (reference, current))
    with ThreadPoolExecutor(2) as pool:  # sorting is most of the work, and NumPy lets the other thread sort too
        samples = list(pool.map(_sorted_finite, encoded))
    found = two_sample.exact_scores(*samples, thresholds=pair.customary)
    return replace(compared, scores={**compared.scores, **found, **_cdf_distance(found["ks"], pair.customary)})


def _sorted_finite(values: FloatArray) -> SortedSample:
    return SortedSample.of(values[np.isfinite(values)])


def _cdf_distance(ks: Score, thresholds: Mapping[str, float]) -> dict[str, Score]:
    """The statistic of Kolmogorov–Smirnov as a distance, for who puts a threshold on it and not on its p."""
    method = "cdf_distance"
    if method not in thresholds:
        return {}
    return {method: replace(ks, p_value=None, method=method, threshold=thresholds[method])}


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
