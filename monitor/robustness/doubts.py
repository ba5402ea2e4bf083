"""All doubts about a finished campaign, from its own results and from probes."""

from dataclasses import replace

import numpy as np

from monitor.robustness import audit, probes
from monitor.robustness.gradient import attack
from monitor.robustness.level_attacks import Found
from monitor.robustness.report import Flag, NoiseResult
from monitor.robustness.stressed import Stressed
from monitor.robustness.target import Task

_STARTS = 16  # of a second look at rows that random search broke
_FOREIGN = ("lower level", "transfer")  # rows that were made for another threat or model


def doubts(
    of: Stressed, found: list[Found], gate: Found, noise: tuple[NoiseResult, ...], *, matthews: float | None
) -> list[Flag]:
    """Every flag of a campaign, given what was found by level, at the gate's level among them, and under noise."""
    first = [one.tried[0] for one in found]
    alone = [of.quality(one.outputs) for one in first]
    flags = audit.audit_model(of.target, of.rows, of.clean, matthews)
    flags += audit.audit_rows(
        infeasible=sum(one.infeasible for level in found for one in level.tried if one.name not in _FOREIGN),
        movable=any(one.threat.movable.any() for one in found),
    )
    if gate.threat.links is not None:
        flags += audit.audit_relations(gate.threat.links.broken_share(of.rows))
    if of.target.white_box:
        flags += _of_gradients(of, found)
    if of.task is not Task.REGRESSION:
        flags += audit.audit_curve(alone, _by_name(of, found, "one step"))
        flags += audit.audit_chance(missed=_missed(of, found[-1]), rows=len(of.rows))
    return flags + audit.audit_noise(max((cell.unanswered for cell in noise), default=0.0))


def _missed(of: Stressed, found: Found) -> int:
    """How many more rows random search broke than gradients and swaps did, and that a second look does not find."""
    chance = found.by_name("random")
    if chance is None or not of.target.white_box:
        return 0
    informed = [one for name in ("gradient", "swaps") if (one := found.by_name(name)) is not None]
    broken = np.any([one.margin < 0 for one in informed], axis=0)
    left = np.flatnonzero((chance.margin < 0) & ~broken)
    ahead = int((chance.margin < 0).sum() - broken.sum())
    if ahead <= 0:
        return 0
    search = replace(of.plan.search, restarts=_STARTS, drop_broken=True)
    again = attack(of.target, of.rows[left], of.y[left], found.threat, search, seed=of.seed)
    return min(ahead, int((again.margin >= 0).sum()))


def _by_name(of: Stressed, found: list[Found], name: str) -> list[float | None]:
    tried = [one.by_name(name) for one in found]
    return [None if one is None else of.quality(one.outputs) for one in tried]


def _of_gradients(of: Stressed, found: list[Found]) -> list[Flag]:
    last = found[-1].tried[0].attack
    given = (of.target, of.rows, of.y)
    wrong = probes.wrong_slopes(*given, found[-1].threat, of.seed) if of.plan.probes else 0.0
    flags = audit.audit_gradients(zero=last.zero_gradients, nan=last.nan_gradients, wrong=wrong)
    if of.task is Task.REGRESSION or not of.plan.probes:
        return flags
    search = of.plan.search
    copies = probes.beaten_without_budget(*given, found[-1].threat, search, of.seed)
    return flags + audit.audit_search(
        gained=of.gained, rows=min(len(of.rows), probes.TRIED), steps=search.steps, copies=copies
    )
