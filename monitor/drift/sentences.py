"""Movements in plain words."""

from monitor.drift.bins import BinKind, FeatureBins
from monitor.drift.directions import Movement
from monitor.drift.profile import Profile
from monitor.drift.report import FeatureStatus

STATUS_SENTENCES = {
    FeatureStatus.ALL_NULL: "{name} has no values to compare",
    FeatureStatus.CONSTANT: "{name} was constant in the reference: only new or missing values are looked for",
    FeatureStatus.HIGH_CARDINALITY: "{name} has too many levels for a category: only its missing values are looked for",
    FeatureStatus.UNSEEN_COLUMN: "{name} is a column that the schema does not have: it is not looked at",
    FeatureStatus.MISSING_COLUMN: "{name} did not come in this window: the column is missing",
    FeatureStatus.OUT_OF_SEASON: "{name} has a season, and the reference has no window of this part of the week",
}


def movement_sentence(
    bins: FeatureBins,
    movement: Movement,
    level: str | None,
    effect: float,
    shares: tuple[float, float] | None,
    reference: Profile,
    current: Profile,
    scale: int = 1,
) -> str:
    """One movement in one sentence; `shares` are the expected and the found share of an indicator's bins."""
    over = f" over the last {scale} windows" if scale > 1 else ""
    name = bins.name
    if movement is Movement.LOCATION:
        verb = "rose" if effect > 0 else "fell"
        return f"{name} {verb} by {abs(effect):.2f}σ{over}{_between(name, reference, current, 0.5, 'median')}"
    if movement is Movement.SCALE:
        verb = "wider" if effect > 0 else "narrower"
        return f"{name} became {verb} ({effect:+.2f} in scale){over}{_spread(name, reference, current)}"
    if shares is None:
        return f"{name} changed its shape ({movement}){over}"
    change = f"{percent(shares[0])} → {percent(shares[1])}{over}"
    if movement is Movement.MISSING:
        return f"missing share of {name} {change}"
    if movement in (Movement.LOW, Movement.HIGH):
        return f"share of very {movement} values of {name} ({level}) {change}"
    if level == "unseen":
        return f"share of unseen values of {name} {change}"
    return f"share of {name}={level} {change}"


def stream_sentence(features: tuple[str, ...], reference: float, current: float, scale: int) -> str:
    """A scalar of the model in one sentence.

    >>> stream_sentence(("income", "rent"), 0.44, 0.26, 2)
    'correlation of income and rent 0.44 → 0.26 over the last 2 windows'
    """
    over = f" over the last {scale} windows" if scale > 1 else ""
    if features:
        return f"correlation of {features[0]} and {features[1]} {reference:.2f} → {current:.2f}{over}"
    side = "farther from" if current > reference else "closer to"
    return f"rows lie {side} the reference as a whole than any single feature shows{over}"


def level_name(bins: FeatureBins, marked: tuple[int, ...]) -> str | None:
    """What an indicator's bins hold, in words; None for a polynomial."""
    if not marked:
        return None
    if bins.kind is not BinKind.RANGES:
        return bins.labels[marked[0]] if len(marked) == 1 else "rarer values"
    if marked[0] == 0:
        return f"≤ {bins.edges[marked[-1]]:g}"
    return f"> {bins.edges[marked[0] - 1]:g}" if marked[-1] != bins.missing else "missing"


def percent(share: float) -> str:
    """A share with as many digits as it needs.

    >>> percent(0.2), percent(0.0123), percent(0.00004)
    ('20 %', '1.2 %', '0.004 %')
    """
    value = 100 * share
    if value >= 9.95:
        return f"{value:.0f} %"
    return f"{value:.2g} %" if 0 < value < 0.95 else f"{value:.1f} %"


def _between(name: str, reference: Profile, current: Profile, q: float, word: str) -> str:
    before, after = reference.quantile(name, q), current.quantile(name, q)
    return f" ({word} {before:.4g} → {after:.4g})" if before is not None and after is not None else ""


def _spread(name: str, reference: Profile, current: Profile) -> str:
    ends = [profile.quantile(name, q) for profile in (reference, current) for q in (0.25, 0.75)]
    known = [end for end in ends if end is not None]
    if len(known) < 4:
        return ""
    return f" (middle half {known[0]:.4g} … {known[1]:.4g} → {known[2]:.4g} … {known[3]:.4g})"
