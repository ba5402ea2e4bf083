"""Broken data, told apart from drift: missing, new, unseen, out-of-range, unparseable or rescaled values, silence.

Every test is exact or near it at α = 1e-6 *and* asks for an effect that no ordinary wobble of days reaches, so that on
stationary windows findings are rarer than one in thousands (tested); shifts smaller than the floors are the detector's.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import beta, binom

from monitor.drift.units import UnitChange, UnitReference, fit_units, unit_changes
from monitor.errors import NotEnoughData
from monitor.schema import Feature, Schema

FloatArray = NDArray[np.float64]

ALPHA = 1e-6
MIN_ROWS = 50  # of a window; below it nothing is judged
MIN_REFERENCE_ROWS = 200
# Least rise of the share that counts.
FLOOR = {"missing": 0.05, "appeared": 0.05, "unseen": 0.05, "range": 0.02, "type": 0.01}
MISSING_RATIO = 3.0  # missing values are part of life: their share must triple too, or the column vanish
MOSTLY_MISSING = 0.9  # such a column says nothing when its last values go, and may come into use
STALE_SHARE = 0.1  # of the usual rows


class QualityKind(StrEnum):
    """What is wrong with the data."""

    MISSING = "missing"
    APPEARED = "appeared"
    UNSEEN = "unseen"
    RANGE = "range"
    UNIT = "unit"
    TYPE = "type"
    STALE = "stale"


_BREAKS = frozenset({QualityKind.MISSING, QualityKind.RANGE, QualityKind.UNIT, QualityKind.TYPE})


@dataclass(frozen=True, kw_only=True)
class QualityFinding:
    """One fault. `share` of the rows are affected; `statistic` was measured, `threshold` is what it had to pass.

    `segment` names the rows ("channel=app"), None all of them. `p_value` is None where the statistic needs none.
    """

    kind: QualityKind
    feature: str | None
    statistic: float
    reference: float
    threshold: float
    share: float
    sentence: str
    segment: str | None = None
    p_value: float | None = None

    @property
    def breaks_pipeline(self) -> bool:
        """Whether it explains everything downstream; new columns, unseen levels and silence do not."""
        return self.kind in _BREAKS

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Normal:
    missing: int
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class QualityReference:
    """What the reference rows looked like; fit once, use for every window."""

    schema: Schema
    rows: int
    normal: dict[str, _Normal]
    units: UnitReference

    @classmethod
    def fit(cls, reference: pd.DataFrame, schema: Schema) -> "QualityReference":
        """From a sample of reference rows (20,000 are plenty)."""
        if len(reference) < MIN_REFERENCE_ROWS:
            raise NotEnoughData(f"expected at least {MIN_REFERENCE_ROWS} reference rows, got {len(reference)}")
        rows = schema.conform(reference)
        normal = {feature.name: _fit_feature(rows[feature.name], feature) for feature in schema.features}
        return cls(schema=schema, rows=len(rows), normal=normal, units=fit_units(rows, schema))


def check_quality(reference: QualityReference, current: pd.DataFrame) -> tuple[QualityFinding, ...]:
    """All faults of a window's rows, the widest-reaching first. A window under 50 rows has none.

    `current` may hold raw values: what does not parse is a finding of kind `type`. A feature with a unit finding gets
    no range finding, which would be the same fault said twice.
    """
    if len(current) < MIN_ROWS:
        return ()
    rows = reference.schema.conform(current)
    found = [_unit_finding(change) for change in unit_changes(reference.units, rows)]
    rescaled = {finding.feature for finding in found}
    for feature in reference.schema.features:
        unparsed = _unparsed(current, rows, feature.name)
        found += _type_finding(feature.name, unparsed, len(rows))
        found += _missing_finding(reference, feature.name, rows[feature.name], unparsed)
        appeared = _appeared_finding(reference, feature.name, rows[feature.name])
        found += appeared
        if appeared:  # nothing is known of its values
            continue
        if feature.is_categorical:
            found += _unseen_finding(reference, feature, rows[feature.name])
        elif feature.name not in rescaled:
            found += _range_finding(reference, feature.name, rows[feature.name])
    return tuple(sorted(found, key=lambda finding: (not finding.breaks_pipeline, -finding.share)))


def check_freshness(*, rows: int, usual_rows: float) -> QualityFinding | None:
    """Whether a window that is due is silent, or nearly: under a tenth of its usual (median) rows.

    >>> check_freshness(rows=0, usual_rows=200).sentence
    'No rows came; usually 200 do.'
    """
    if usual_rows <= 0 or rows >= STALE_SHARE * usual_rows:
        return None
    came = f"Only {rows:,} rows came" if rows else "No rows came"
    return QualityFinding(
        kind=QualityKind.STALE, feature=None, statistic=float(rows), reference=float(usual_rows),
        threshold=STALE_SHARE * usual_rows, share=1 - rows / usual_rows,
        sentence=f"{came}; usually {usual_rows:,.0f} do.",
    )  # fmt: skip


def _fit_feature(column: "pd.Series[Any]", feature: Feature) -> _Normal:
    missing = int(column.isna().sum())
    if feature.is_categorical or missing == len(column):
        return _Normal(missing=missing, lowest=-np.inf, highest=np.inf)
    values = column.dropna().to_numpy(np.float64)
    low, high = float(values.min()), float(values.max())
    # A whole span beyond what was ever seen is still ordinary, and a constant says nothing; a declared bound does.
    span = high - low if high > low else np.inf
    lowest = low - span if feature.lower is None else feature.lower
    highest = high + span if feature.upper is None else feature.upper
    return _Normal(missing=missing, lowest=min(lowest, low), highest=max(highest, high))


def _rise(count: int, n: int, known: int, known_n: int) -> tuple[float, float]:
    """p-value of `count` of `n` under the highest share that the reference allows (one in 740), and that share."""
    upper = float(beta.ppf(0.99865, known + 1, max(known_n - known, 1)))
    return float(binom.sf(count - 1, n, upper)), upper


def _missing_finding(
    reference: QualityReference, name: str, column: "pd.Series[Any]", unparsed: int
) -> list[QualityFinding]:
    count, n, known = int(column.isna().sum()) - unparsed, len(column), reference.normal[name].missing
    share, before = count / n, known / reference.rows
    p_value, upper = _rise(count, n, known, reference.rows)
    threshold = min(max(before + FLOOR["missing"], MISSING_RATIO * upper), 1.0)
    if p_value >= ALPHA or share < threshold or before > MOSTLY_MISSING:
        return []
    sentence = f"{name} is missing in {share:.1%} of rows (usually {before:.1%})"
    return [_finding(QualityKind.MISSING, name, share, before, threshold, p_value, sentence)]


def _appeared_finding(reference: QualityReference, name: str, column: "pd.Series[Any]") -> list[QualityFinding]:
    """A column that was empty, or nearly, and has values now: the feed changed."""
    known = reference.rows - reference.normal[name].missing
    count, before = int(column.notna().sum()), known / reference.rows
    share = count / len(column)
    p_value, upper = _rise(count, len(column), known, reference.rows)
    threshold = max(before + FLOOR["appeared"], MISSING_RATIO * upper)
    if p_value >= ALPHA or share < threshold or before >= 1 - MOSTLY_MISSING:
        return []
    sentence = f"{name} has a value in {share:.1%} of rows (usually in {before:.1%}): the column came into use"
    return [_finding(QualityKind.APPEARED, name, share, before, threshold, p_value, sentence)]


def _unseen_finding(reference: QualityReference, feature: Feature, column: "pd.Series[Any]") -> list[QualityFinding]:
    present = column.dropna()
    strangers = present[~present.isin(feature.levels)]
    share = len(strangers) / len(column)
    p_value, _ = _rise(len(strangers), len(column), 0, reference.rows)
    if p_value >= ALPHA or share < FLOOR["unseen"]:
        return []
    level = str(strangers.value_counts().index[0])[:40]
    sentence = f"{feature.name} takes unknown levels in {share:.1%} of rows, most often {level!r}"
    return [_finding(QualityKind.UNSEEN, feature.name, share, 0.0, FLOOR["unseen"], p_value, sentence)]


def _range_finding(reference: QualityReference, name: str, column: "pd.Series[Any]") -> list[QualityFinding]:
    normal, values = reference.normal[name], column.to_numpy(np.float64)
    outside = values[(values < normal.lowest) | (values > normal.highest)]
    share = outside.size / len(column)
    p_value, _ = _rise(outside.size, len(column), 0, reference.rows)
    if p_value >= ALPHA or share < FLOOR["range"]:
        return []
    sentence = (
        f"{name} lies outside [{normal.lowest:.4g}, {normal.highest:.4g}] in {share:.1%} of rows, "
        f"for example {outside[0]:.4g}"
    )
    return [_finding(QualityKind.RANGE, name, share, 0.0, FLOOR["range"], p_value, sentence)]


def _unparsed(current: pd.DataFrame, rows: pd.DataFrame, name: str) -> int:
    return int((current[name].notna() & rows[name].isna()).sum()) if name in current.columns else 0


def _type_finding(name: str, unparsed: int, n: int) -> list[QualityFinding]:
    share = unparsed / n
    if share < FLOOR["type"] or unparsed < 3:
        return []
    sentence = f"{name} is not a number in {share:.1%} of rows"
    return [_finding(QualityKind.TYPE, name, share, 0.0, FLOOR["type"], None, sentence)]


def _unit_finding(change: UnitChange) -> QualityFinding:
    where = f" on {change.segment}" if change.segment else ""
    rows = f" ({change.share:.0%} of rows)" if change.segment else " (all rows)"
    return QualityFinding(
        kind=QualityKind.UNIT, feature=change.feature, statistic=change.measured, reference=1.0,
        threshold=change.factor, share=change.share, segment=change.segment, p_value=change.p_value,
        sentence=f"{change.feature} {change.name}{where}{rows}",
    )  # fmt: skip


def _finding(
    kind: QualityKind, name: str, share: float, before: float, threshold: float, p_value: float | None, sentence: str
) -> QualityFinding:
    return QualityFinding(
        kind=kind, feature=name, statistic=share, reference=before, threshold=threshold, share=share,
        p_value=p_value, sentence=sentence,
    )  # fmt: skip
