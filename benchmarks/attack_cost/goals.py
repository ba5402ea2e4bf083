"""The goals of robustness, judged by the figures of `benchmarks.attack`; a goal without its figure is left out."""

from collections.abc import Mapping
from typing import Any

from benchmarks.output import Goal


def goals_of(figures: Mapping[str, Any]) -> list[Goal]:
    """Every goal that the figures can judge."""
    return [
        *_accuracy(figures.get("accuracy", {})),
        *_exactness(figures.get("exactness", {})),
        *_constrained(figures.get("constrained", {})),
        *_speed(figures.get("speed", {}).get("speed, worst", {})),
        *_campaigns(figures.get("campaigns", {})),
        *_audit(figures.get("audit", {})),
        _at_most("infeasible rows among ours, all sections", _infeasible(figures), 0),
    ]


def _at_most(name: str, value: float, limit: float) -> Goal:
    """Shares of a thousand rows do not add up exactly in floating point: two rows are .2 point."""
    return Goal(name=name, target=f"≤ {limit:g}", value=float(value), met=bool(round(value, 9) <= limit))


def _at_least(name: str, value: float, limit: float) -> Goal:
    return Goal(name=name, target=f"≥ {limit:g}", value=float(value), met=bool(value >= limit))


def _accuracy(found: Mapping[str, Any]) -> list[Goal]:
    if "strongest peer" not in found:
        return []
    against = [key.removeprefix("against ") for key in found if key.startswith("against ")]
    return [
        *(
            _at_most(f"robust accuracy above {peer}, worst cell, points", found[f"against {peer}"]["worst_excess"], 0.2)
            for peer in against
        ),
        _at_most(
            "robust accuracy above the lowest of all peers, worst cell, points",
            found["strongest peer"]["worst_excess"],
            0.2,
        ),
        _at_most("gradient calls, largest share of a peer's", found["largest share of their calls"], 1),
    ]


def _exactness(found: Mapping[str, Any]) -> list[Goal]:
    if not found:
        return []
    scales, batches, proved = found["logit scales"], found["batches"], found["certified and broken"]
    return [
        _at_most(
            "linear models, largest |margin − closed form|", found["linear"]["largest difference of margins"], 1e-9
        ),
        _at_most("linear models, largest |RA − closed form|", found["linear"]["largest difference of RA"], 0),
        _at_most("small enumerable schemas, points above brute force", found["enumerable"]["points above"], 1),
        _at_most(
            "logits × .001 to 1,000, spread of RA, points", max(r["spread, points"] for r in scales.values()), 0.2
        ),
        _at_least(
            "batches of 1, 7, 1,024, share of identical rows", min(r["identical rows"] for r in batches.values()), 1
        ),
        _at_least(
            "batches of 1, 7, 1,024, share of equal verdicts", min(r["same verdict"] for r in batches.values()), 1
        ),
        _at_most(f"certified and broken rows in {proved['pairs']:,.0f} pairs", proved["certified and broken"], 0),
    ]


def _constrained(found: Mapping[str, Any]) -> list[Goal]:
    if "share of MOEVA's time" not in found:
        return []
    return [
        _at_most("constrained search, share of MOEVA's wall time", found["share of MOEVA's time"], 0.05),
        _at_most("constrained search, points of RA above MOEVA", found["points above MOEVA"], 0),
    ]


def _speed(worst: Mapping[str, float]) -> list[Goal]:
    goals = []
    for how in ("ours, every row to the end", "ours"):
        if f"× floor, {how}" in worst:
            name = f"gradient attack ({how}), × the floor of the same live batches, worst model"
            goals.append(_at_most(name, worst[f"× floor, {how}"], 1.15))
    for peer, least in (("AutoAttack, 101 calls", 2), ("ART, batches of 32", 7)):
        if f"× faster than {peer}" in worst:
            goals.append(_at_least(f"times faster than {peer}, worst model", worst[f"× faster than {peer}"], least))
    return goals


def _campaigns(found: Mapping[str, Any]) -> list[Goal]:
    if not found:
        return []
    seconds = max(row["seconds per 1,024 rows"] for row in found["bracket"] if row["judged"])
    return [
        *(
            _at_most(f"attacked − certified, median, {name}, points", points, 2)
            for name, points in found["median bracket, points"].items()
        ),
        _at_most("certificate, seconds a 1,024 rows and core, worst model", seconds, 1),
        _at_most("certified and broken rows among the brackets", sum(r["contradictions"] for r in found["bracket"]), 0),
        *(
            _at_most(f"tick of 512 rows, seconds a core: {name}", row["seconds"], 1)
            for name, row in found["tick"].items()
        ),
    ]


def _audit(found: Mapping[str, Any]) -> list[Goal]:
    if not found:
        return []
    return [
        _at_least("planted masking defects, number", found["planted"], 12),
        _at_most("planted masking defects missed", len(found["missed"]), 0),
        _at_most(
            f"share of {found['honest']:.0f} honest models flagged", len(found["doubted"]) / found["honest"], 0.01
        ),
    ]


def _infeasible(figures: Mapping[str, Any]) -> float:
    campaigns = figures.get("campaigns", {})
    return (
        figures.get("accuracy", {}).get("our refused rows", 0)
        + figures.get("exactness", {}).get("certified and broken", {}).get("infeasible", 0)
        + figures.get("constrained", {}).get("ours, refused", 0)
        + sum(row["infeasible"] for row in campaigns.get("bracket", ()))
        + sum(row["infeasible"] for row in campaigns.get("tick", {}).values())
    )
