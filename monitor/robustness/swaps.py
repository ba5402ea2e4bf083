"""Categories and counts under attack: every single change within the cost budget is scored, the best is kept.

A greedy search: with a budget for one change it is exact, with more each further change is the best given those before.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.robustness.descent import Attack
from monitor.robustness.rescore import completed, margins
from monitor.robustness.target import Target
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray

_SAMPLE = 16  # rows of each class that tell which changes are worth trying on all
_CHUNK = 8_192
_MOST_CLASSES = 20  # with more, targets are read as values


def swap(
    target: Target,
    rows: FloatArray,
    y: FloatArray,
    threat: ThreatModel,
    *,
    start: FloatArray | None = None,
    most: int | None = None,
    seed: int = 0,
) -> Attack:
    """The worst feasible row found by changes of categories and counts; numbers stay as in `start`, else as in rows.

    With `most`, only the changes that did most harm to a sample of the row's class are tried on it, at most so many.
    """
    before = target.queries
    current = (rows if start is None else start).copy()
    lowest = margins(target, current, y)
    tried = _screened(target, rows, current, y, threat, most, seed) if most is not None else None
    for _ in range(_most_changes(threat)):
        found = _best_change(target, rows, current, y, threat, tried)
        better = found.margin < lowest
        if not better.any():
            break
        current[better], lowest[better] = found.rows[better], found.margin[better]
    return Attack(rows=current, margin=lowest, queries=target.queries - before)


def _most_changes(threat: ThreatModel) -> int:
    """As many of the cheapest as the budget pays for."""
    costs = [1.0 if group.costs is None else group.costs[group.costs > 0].min() for group in threat.groups]
    return int(np.floor(threat.swaps / min(costs) + 1e-9)) if costs and np.isfinite(costs).any() else 0


def spent(clean: FloatArray, rows: FloatArray, threat: ThreatModel) -> FloatArray:
    """What the changes of each row cost, (n, groups)."""
    costs = [group.cost(clean[:, group.index], rows[:, group.index]) for group in threat.groups]
    return np.stack(costs, axis=1) if costs else np.zeros((len(clean), 0))


@dataclass(frozen=True, kw_only=True)
class _Options:
    """Single changes: in row `row` the cell of `column` becomes `value`, each (m,)."""

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    value: FloatArray

    def part(self, i: slice) -> "_Options":
        return _Options(row=self.row[i], column=self.column[i], value=self.value[i])

    def applied(self, rows: FloatArray) -> FloatArray:
        changed = rows[self.row]
        changed[np.arange(len(changed)), self.column] = self.value
        return changed


Tried = dict[tuple[float, int], NDArray[np.bool_]]  # by class and group: which of its values are tried


def _options(
    clean: FloatArray, current: FloatArray, y: FloatArray, threat: ThreatModel, tried: Tried | None
) -> _Options:
    """All changes that the budget allows, given what each row has spent elsewhere."""
    costs = spent(clean, current, threat)
    parts = []
    for place, group in enumerate(threat.groups):
        steps = group.values(int(np.floor(threat.swaps)))
        origin, now = clean[:, group.index], current[:, group.index]
        values = np.broadcast_to(steps, (len(clean), len(steps)))
        if group.costs is None:
            values = origin[:, None] + steps
        price = group.cost(np.repeat(origin, len(steps)), values.ravel()).reshape(values.shape)
        elsewhere = costs.sum(axis=1) - costs[:, place]
        allowed = (price > 0) & (elsewhere[:, None] + price <= threat.swaps + 1e-9) & (values != now[:, None])
        if tried is not None:
            kinds = _kinds(y)
            for kind in np.unique(kinds):
                allowed[kinds == kind] &= tried[(float(kind), place)]
        row, which = np.nonzero(allowed)
        parts.append((row, np.full(len(row), group.index), values[row, which]))
    rows, columns, chosen = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _Options(row=rows, column=columns, value=chosen)


def _best_change(
    target: Target, clean: FloatArray, current: FloatArray, y: FloatArray, threat: ThreatModel, tried: Tried | None
) -> Attack:
    options = _options(clean, current, y, threat, tried)
    best, lowest = current.copy(), np.full(len(clean), np.inf)
    for begin in range(0, len(options.row), _CHUNK):
        part = options.part(slice(begin, begin + _CHUNK))
        changed, holds = completed(clean[part.row], part.applied(current), threat)
        found = np.where(holds, margins(target, changed, y[part.row]), np.inf)
        order = np.argsort(found, kind="stable")[::-1]  # the lowest of each row is written last
        better = order[found[order] < lowest[part.row[order]]]
        best[part.row[better]], lowest[part.row[better]] = changed[better], found[better]
    return Attack(rows=best, margin=lowest)


def _screened(
    target: Target, clean: FloatArray, current: FloatArray, y: FloatArray, threat: ThreatModel, most: int, seed: int
) -> Tried:
    """For each class the values, at most `most` over all groups, that lowered the margin of a sample most."""
    tried: Tried = {}
    rng = np.random.default_rng(seed)
    kinds = _kinds(y)
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        some = members[np.sort(rng.choice(len(members), min(_SAMPLE, len(members)), replace=False))]
        harm = [_harm(target, current[some], y[some], threat, place) for place in range(len(threat.groups))]
        together = np.sort(np.concatenate(harm))[::-1]
        limit = together[min(most, len(together)) - 1] if len(together) else 0.0
        for place, one in enumerate(harm):
            tried[(float(kind), place)] = one >= limit
    return tried


def _kinds(y: FloatArray) -> FloatArray:
    """Rows that are screened together, (n,): those of a class, or all where targets are values."""
    return y if len(np.unique(y)) <= _MOST_CLASSES else np.zeros(len(y))


def _harm(target: Target, rows: FloatArray, y: FloatArray, threat: ThreatModel, place: int) -> FloatArray:
    """How far each value of a group lowers the mean margin of these rows, (values,); rules are not asked here."""
    group = threat.groups[place]
    steps = group.values(int(np.floor(threat.swaps)))
    repeated = np.repeat(rows, len(steps), axis=0)
    column = np.tile(steps, len(rows))
    repeated[:, group.index] = column if group.costs is not None else repeated[:, group.index] + column
    found = margins(target, repeated, np.repeat(y, len(steps))).reshape(len(rows), len(steps))
    return np.asarray(margins(target, rows, y).mean() - np.nanmean(np.where(np.isfinite(found), found, np.nan), axis=0))
