"""What a campaign found, in sentences that the command, the alert and the dashboard share."""

from collections.abc import Iterable, Mapping
from typing import Any

from monitor.robustness.report import FragileFeature


def fragile_features(report: Mapping[str, Any], most: int = 3) -> tuple[FragileFeature, ...]:
    """The most fragile features of a stored report, those first that repair most by themselves."""
    found = (FragileFeature(**entry) for entry in report.get("fragile_features") or ())
    ordered = sorted(found, key=lambda one: (-one.repaired, -one.recovered, one.feature))
    return tuple(one for one in ordered if one.moved > 0)[:most]


def repairing_features(report: Mapping[str, Any], most: int = 3) -> tuple[FragileFeature, ...]:
    """Those among them that repair any row by themselves."""
    return tuple(one for one in fragile_features(report, most) if one.repaired > 0)


def feature_sentence(found: FragileFeature) -> str:
    """What putting one feature back would repair.

    >>> feature_sentence(FragileFeature(
    ...     feature="payments_24h", moved=.9, repaired=.62, recovered=.7, typical=2.0, unit=None))
    'restoring payments_24h alone repairs 62 % of the broken rows (moved in 90 %, by 2 as a rule)'
    """
    size = (
        "" if found.typical is None else f", by {found.typical:.3g}{f' {found.unit}' if found.unit else ''} as a rule"
    )
    return (
        f"restoring {found.feature} alone repairs {_percent(found.repaired)} of the broken rows "
        f"(moved in {_percent(found.moved)}{size})"
    )


def feature_sentences(report: Mapping[str, Any], most: int = 3) -> tuple[str, ...]:
    """A sentence for each of the most fragile features."""
    return tuple(feature_sentence(found) for found in repairing_features(report, most))


def budget_of(level: Mapping[str, Any], features: Iterable[str] = (), most: int = 3) -> str:
    """What an attacker may move at a stored level, in raw units: the named features first."""
    named = list(features)
    entries = sorted(
        level.get("raw_budget") or (),
        key=lambda one: named.index(one["feature"]) if one["feature"] in named else len(named),
    )
    texts = [entry["text"] for entry in entries]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
