"""The goals of detection, judged by the figures of `benchmarks.detection`; a goal without its figure is left out."""

from collections.abc import Mapping
from typing import Any

from benchmarks.output import Goal

NULL, UPPER = 0.5, 1.0


def goals_of(figures: Mapping[str, Any]) -> list[Goal]:
    """Every goal that the figures can judge."""
    nulls, drifts = figures["nulls"], figures["drifts"]
    return [
        *(_at_most(f"false incidents a model-year: {world}", row["per_year"], NULL) for world, row in nulls.items()),
        _at_most("false incidents, upper limit, worst world", max(row["high"] for row in nulls.values()), UPPER),
        _at_most("rate of alarms on exact nulls × c, c = 30", figures["arl_30"]["rate_times_c"], 1.0),
        *_rate_at_365(nulls),
        *_delay(drifts, "day + season: mean 0.25 × 1", 2),
        *_missed(drifts, "day + season: mean 0.25 × 1", 0.01),
        *_delay(drifts, "iid, 100 rows: mean 0.25 × 1", 4),
        *_delay(drifts, "correlated: correlation 0.26 × 2", 2),
        *_right(drifts, "correlated: correlation 0.26 × 2", 0.95),
        *_delay(drifts, "iid: subgroup 0.05 × 1", 3),
        *_delay(drifts, "day + season: missing 0.02 × 1", 3),
        *_right(drifts, "day + season: mean 0.25 × 1", 0.95),
        *_culprits(drifts, "day + season: mean 0.5 × 5"),
        *_culprits(drifts, "day + season: mean 0.25 × 5"),
        *_messages(drifts),
        _at_most("detector, µs a tick of 20 features", figures["cost"]["tick_us"], 200),
    ]


def _at_most(name: str, value: float, limit: float) -> Goal:
    return Goal(name=name, target=f"≤ {limit:g}", value=value, met=value <= limit)


def _at_least(name: str, value: float, limit: float) -> Goal:
    return Goal(name=name, target=f"≥ {limit:g}", value=value, met=value >= limit)


def _rate_at_365(nulls: Mapping[str, Any]) -> list[Goal]:
    return (
        [_at_most("rate of alarms on exact nulls × c, c = 365", nulls["iid"]["per_year"], 1.0)]
        if "iid" in nulls
        else []
    )


def _delay(drifts: Mapping[str, Any], name: str, limit: float) -> list[Goal]:
    return [_at_most(f"median windows: {name}", drifts[name]["median"], limit)] if name in drifts else []


def _missed(drifts: Mapping[str, Any], name: str, limit: float) -> list[Goal]:
    return [_at_most(f"missed in 30: {name}", drifts[name]["missed"], limit)] if name in drifts else []


def _right(drifts: Mapping[str, Any], name: str, limit: float) -> list[Goal]:
    return [_at_least(f"top culprit right: {name}", drifts[name]["top1"], limit)] if name in drifts else []


def _culprits(drifts: Mapping[str, Any], name: str) -> list[Goal]:
    if name not in drifts:
        return []
    row = drifts[name]
    return [
        _at_most(f"false share of culprits: {name}", row["false_culprits"], 0.05),
        _at_least(f"recall of culprits: {name}", row["recall"], 0.9),
    ]


def _messages(drifts: Mapping[str, Any]) -> list[Goal]:
    """Incidents that one lasting change opens; a change that comes and goes opens more than one by right."""
    openings = [row["openings"] for name, row in drifts.items() if "recurring" not in name and row["openings"] > 0]
    return [_at_most("incidents opened by one lasting change", sum(openings) / len(openings), 1.1)] if openings else []
