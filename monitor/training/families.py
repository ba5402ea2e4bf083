"""Noise in training: which families, how large, and how often each is drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from monitor.errors import BadInput
from monitor.robustness.noise import FAMILIES, Surroundings
from monitor.schema import FloatArray

LARGEST: Mapping[str, float] = {"gaussian": 0.5, "missing": 0.4, "category_swap": 0.4}  # 2 × S3 in robust σ; cells
LEAST_SHARE = 0.1  # of the draws, of every family: what did not hurt yesterday may hurt tomorrow

# What a family of a campaign's grid teaches of: training knows a few kinds, one for each way of being wrong.
TAUGHT_BY: Mapping[str, str] = {
    **dict.fromkeys(
        ("gaussian", "student_t", "offset", "gain", "rounding", "drift", "common_mode", "snr", "saturation", "lag",
         "stuck", "spikes", "unit_x10", "unit_x100", "sign", "column_swap"),
        "gaussian",
    ),
    **dict.fromkeys(("missing", "missing_large", "missing_by_other", "dropout", "unseen_level", "typo"), "missing"),
    **dict.fromkeys(("category_swap", "stale"), "category_swap"),
}  # fmt: skip


def family_weights(noise_report: Mapping[str, Any]) -> dict[str, float]:
    """How often each family is drawn, from what the last campaign's noise cost: shares that add up to 1.

    Args:
        noise_report: a campaign as `CampaignReport.to_document` gives it. A family's drop is the clean AUC (or
            accuracy; for regression the growth of the error, relative) minus its mean over severities, at least 0.

    Families of the grid that training does not draw count for the one that teaches of them. Each gets at least a tenth;
    without a grid, or where nothing dropped, all are drawn equally.

    >>> cell = {"severity": 5, "quality": 0.8}
    >>> family_weights({"task": "binary", "clean_auc": 0.9, "noise": [
    ...     {**cell, "family": "missing", "auc": 0.7}, {**cell, "family": "gaussian", "auc": 0.9}]})
    {'gaussian': 0.1, 'missing': 0.8, 'category_swap': 0.1}
    """
    drops: dict[str, list[float]] = {family: [] for family in LARGEST}
    for name, cells in _by_family(noise_report).items():
        drops[TAUGHT_BY.get(name, "gaussian")].append(max(float(np.mean(cells)), 0.0))
    mean = {family: float(np.mean(found)) if found else 0.0 for family, found in drops.items()}
    return with_least(mean)


def with_least(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares of all families that add up to 1, each at least a tenth, in proportion to what is given above that."""
    if unknown := sorted(set(shares) - set(LARGEST)):
        raise BadInput(f"expected weights of the families {', '.join(LARGEST)}, got {', '.join(unknown)}")
    given = np.array([shares.get(family, 0.0) for family in LARGEST], dtype=np.float64)
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise BadInput(f"expected weights of noise families that are 0 or more, got {dict(shares)}")
    part = given / given.sum() if given.sum() > 0 else np.full(len(given), 1 / len(given))
    low = part < LEAST_SHARE
    while True:
        rest = 1 - LEAST_SHARE * low.sum()
        found = np.where(low, LEAST_SHARE, rest * part / max(part[~low].sum(), 1e-12))
        lower = found < LEAST_SHARE - 1e-12
        if not lower.any():
            return {family: round(float(share), 6) for family, share in zip(LARGEST, found, strict=True)}
        low |= lower


def _by_family(report: Mapping[str, Any]) -> dict[str, list[float]]:
    """Drops of quality of every family's cells; a cell that left rows unanswered ranks like chance."""
    regression, clean_auc, clean = report.get("task") == "regression", report.get("clean_auc"), report.get("clean")
    found: dict[str, list[float]] = {}
    for cell in report.get("noise") or ():
        if clean_auc is not None:
            drop = clean_auc - (0.5 if cell.get("auc") is None else cell["auc"])
        elif clean is None or cell.get("quality") is None:
            continue
        elif regression:
            drop = cell["quality"] / clean - 1 if clean else 0.0
        else:
            drop = clean - cell["quality"]
        found.setdefault(cell["family"], []).append(float(drop))
    return found


def disturbed(
    rows: FloatArray, around: Surroundings, rng: np.random.Generator, *, ramp: float, shares: Mapping[str, float]
) -> FloatArray:
    """Rows (n, d) with one kind of noise each, drawn by `shares`, its size uniform from 0 to ramp × the largest."""
    names = list(shares)
    kinds = rng.choice(len(names), len(rows), p=np.array(list(shares.values())) / sum(shares.values()))
    changed = rows.copy()
    for kind, family in enumerate(names):
        chosen = kinds == kind
        size = ramp * LARGEST[family] * rng.random((int(chosen.sum()), 1))
        changed[chosen] = FAMILIES[family].apply(rows[chosen], size, around, rng)
    return changed


def drawn_families(
    around: Surroundings, weights: Mapping[str, float] | None, *, answers_missing: bool
) -> dict[str, float]:
    """The shares that a training draws: without families that find no feature, or that the network cannot answer.

    Empty where none is left.
    """
    wanted = with_least(weights or {})
    able = {
        family: share
        for family, share in wanted.items()
        if FAMILIES[family].applies(around) and (answers_missing or family != "missing")
    }
    return {family: share / sum(able.values()) for family, share in able.items()}
