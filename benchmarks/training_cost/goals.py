"""The goals of hardened training, judged by what was measured; a goal without its methods is left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.output import Goal

Rows = Sequence[Mapping[str, Any]]
SHARE, COST, AUC_LOSS = 0.95, 1.75, 0.4
NOISE_EACH, NOISE_MEAN, OVER_NOISE = 0.85, 0.70, 1.0


def summary(rows: Rows) -> dict[str, dict[str, dict[str, float]]]:
    """By table and method the means over the seeds, in points of AUC; costs are relative to standard training."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for table in dict.fromkeys(row["table"] for row in rows):
        of = [row for row in rows if row["table"] == table]
        standard = [row for row in of if row["method"] == "standard"]
        found[table] = {
            method: _means([row for row in of if row["method"] == method], standard)
            for method in dict.fromkeys(row["method"] for row in of)
        }
    return found


def goals_of(rows: Rows) -> list[Goal]:
    """Every goal that the rows can judge."""
    found = summary(rows)
    goals: list[Goal] = []
    for table, by in found.items():
        if {"standard", "hardened", "pgd"} <= set(by):
            gain, wanted = (by[m]["robust S2"] - by["standard"]["robust S2"] for m in ("hardened", "pgd"))
            goals.append(_at_least(f"{table}: share of PGD-10(S2)'s gain of robust AUC at S2", gain / wanted, SHARE))
        if {"standard", "hardened"} <= set(by):
            goals.append(_at_most(f"{table}: training time, × standard", by["hardened"]["cost"], COST))
            goals.append(_at_most(f"{table}: loss of clean AUC, points", by["hardened"]["AUC loss"], AUC_LOSS))
    goals += _over_noise(found) + _noise(found)
    broken = sum(row["certified_and_broken"] for row in rows)
    return [*goals, _at_most(f"certified and broken rows in {len(rows)} stress tests", broken, 0)]


def _over_noise(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Goal]:
    over = {
        table: by["hardened"]["robust S2"] - by["noise"]["robust S2"]
        for table, by in found.items()
        if {"hardened", "noise"} <= set(by)
    }
    if not over:
        return []
    each = [_at_least(f"{table}: robust AUC at S2 over noise-only, points", value, 0) for table, value in over.items()]
    mean = float(np.mean(list(over.values())))
    return [*each, _at_least("mean: robust AUC at S2 over noise-only, points", mean, OVER_NOISE)]


def _noise(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Goal]:
    shares = {
        table: by["hardened"]["noise loss"] / by["standard"]["noise loss"]
        for table, by in found.items()
        if {"hardened", "standard"} <= set(by)
    }
    if not shares:
        return []
    name = "pooled AUC loss under noise, share of standard's"
    each = [_at_most(f"{table}: {name}", share, NOISE_EACH) for table, share in shares.items()]
    return [*each, _at_most(f"mean: {name}", float(np.mean(list(shares.values()))), NOISE_MEAN)]


def _means(of: Rows, standard: Rows) -> dict[str, float]:
    clean = 100 * _mean([row["clean_auc"] for row in of])
    means = {
        "clean AUC": clean,
        "noise loss": 100 * _mean([row["pooled_auc_loss"] for row in of]),
        "ECE": 100 * _mean([row["ece"] for row in of]),
        "seconds": _mean([row["train_seconds"] for row in of]),
        "validation seconds": _mean([row["validation_seconds"] for row in of]),
        "seeds": float(len(of)),
    }
    measured = [row for row in of if row["robust_auc"]]
    for level in measured[0]["robust_auc"] if measured else ():
        means[f"robust {level}"] = 100 * _mean([row["robust_auc"][level] for row in measured])
        means[f"recall {level}"] = 100 * _mean([row["worst_recall"][level] for row in measured])
    if standard:
        means["AUC loss"] = 100 * _mean([row["clean_auc"] for row in standard]) - clean
        means["cost"] = means["seconds"] / _mean([row["train_seconds"] for row in standard])
    return means


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _at_most(name: str, value: float, limit: float) -> Goal:
    return Goal(name=name, target=f"≤ {limit:g}", value=float(value), met=bool(round(value, 9) <= limit))


def _at_least(name: str, value: float, limit: float) -> Goal:
    return Goal(name=name, target=f"≥ {limit:g}", value=float(value), met=bool(round(value, 9) >= limit))
