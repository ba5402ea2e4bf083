"""All attacks at one level: each by itself, and per row the worst feasible row of any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from monitor.errors import HoldfastError
from monitor.robustness.bank import Bank
from monitor.robustness.certify import certified
from monitor.robustness.evolve import evolve
from monitor.robustness.feasibility import feasible
from monitor.robustness.gradient import Attack, Search, attack
from monitor.robustness.report import AttackResult
from monitor.robustness.rescore import completed, margins
from monitor.robustness.square import square
from monitor.robustness.stressed import Stressed
from monitor.robustness.swaps import swap
from monitor.robustness.target import Task, margin
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray

_BROKEN_TRIED = 16  # broken rows for which a certificate is tried all the same: there must be none

Seconds = Callable[[], float | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """One attack by itself: its rows where the independent check allows them, and what the model says there."""

    name: str
    rows: FloatArray
    outputs: FloatArray
    margin: FloatArray
    infeasible: int
    attack: Attack
    seconds: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Everything at one level; `rows`, `outputs` and `margin` are the worst of all attacks.

    `sure` are the rows that were certified before the last searches, which left them out; None when none was asked for.
    """

    threat: ThreatModel
    tried: tuple[Tried, ...]
    rows: FloatArray
    outputs: FloatArray
    margin: FloatArray
    sure: BoolArray | None = None

    def by_name(self, name: str) -> Tried | None:
        """One attack, or None when it was not run."""
        return next((one for one in self.tried if one.name == name), None)


@dataclass(frozen=True, eq=False, kw_only=True)
class LevelAttacks:
    """The attacks of a plan on the same rows, level by level in rising order."""

    of: Stressed
    seconds: Seconds
    bank: Bank

    def run(
        self, threat: ThreatModel, *, before: Found | None, transfer: FloatArray | None, with_random: bool
    ) -> Found:
        """What breaks at one level; rows that broke `before`, at a smaller budget, and rows for transfer count too."""
        tried: list[Tried] = []
        for name, make in self._attacks(threat, tried, with_random=with_random):
            tried.append(self._tried(name, threat, make))
        for name, rows in (("lower level", before.rows if before else None), ("transfer", transfer)):
            if rows is not None:
                tried.append(self._tried(name, threat, partial(self._as_attack, rows, threat)))
        searches = self._last_searches()
        if not searches:
            return self._worst(threat, tried)
        worst = self._worst(threat, tried)
        sure = proved(self.of, worst, np.arange(len(self.of.rows)))
        left = np.flatnonzero((worst.margin >= 0) & self.of.attacked & (True if sure is None else ~sure))
        for name, search, queries in searches if left.size else ():
            tried.append(self._tried(name, threat, partial(self._searched, search, queries, worst, left)))
        return replace(self._worst(threat, tried), sure=sure)

    def results(self, found: Found) -> tuple[AttackResult, ...]:
        """Each attack by itself, as a report says it."""
        broken = np.stack([one.margin < 0 for one in found.tried]) & (self._margin(self.of.clean) >= 0)
        alone = broken & (broken.sum(axis=0) == 1)
        return tuple(
            AttackResult(
                name=one.name,
                quality=self.of.quality(one.outputs),
                alone=int(mine.sum()),
                infeasible=one.infeasible,
                gradient_rows=one.attack.gradient_rows,
                queries=one.attack.queries,
                seconds=one.seconds,
            )
            for one, mine in zip(found.tried, alone, strict=True)
        )

    def _attacks(
        self, threat: ThreatModel, tried: Sequence[Tried], *, with_random: bool
    ) -> "list[tuple[str, Callable[[], Attack]]]":
        given = (self.of.target, self.of.rows, self.of.y, threat)
        if not self.of.target.white_box:
            return [("random", lambda: square(*given, queries=self.of.plan.queries, seed=self.of.seed))]
        attacks: list[tuple[str, Callable[[], Attack]]] = [
            ("gradient", lambda: attack(*given, self.of.plan.search, seed=self.of.seed))
        ]
        wanted = self.of.plan.attacks
        if "one step" in wanted:
            one = Search(steps=1, batch_size=self.of.plan.search.batch_size)
            attacks.append(("one step", lambda: attack(*given, one, seed=self.of.seed)))
        if "swaps" in wanted and threat.groups and threat.swaps > 0:
            attacks.append(("swaps", lambda: self._swapped(threat, tried[0])))
        if with_random and "random" in wanted and self.of.plan.audit_queries:
            attacks.append(("random", lambda: square(*given, queries=self.of.plan.audit_queries, seed=self.of.seed)))
        return attacks

    def _swapped(self, threat: ThreatModel, before: Tried) -> Attack:
        """The best changes of categories and counts where the gradient ended, then the numbers once more."""
        given = (self.of.target, self.of.rows, self.of.y, threat)
        changed = swap(*given, start=before.rows, most=self.of.plan.most_swaps, seed=self.of.seed)
        columns = [group.index for group in threat.groups]
        other = np.flatnonzero((changed.rows[:, columns] != before.rows[:, columns]).any(axis=1))
        if other.size == 0 or not threat.boxed.any():
            return changed
        search = replace(self.of.plan.search, steps=max(self.of.plan.search.steps // 2, 1), restarts=0)
        again = attack(
            self.of.target,
            self.of.rows[other],
            self.of.y[other],
            threat,
            search,
            seed=self.of.seed,
            start=changed.rows[other],
        )
        return _put(changed, again, other)

    def _last_searches(self) -> list[tuple[str, Callable[..., Attack], int]]:
        """Searches without gradients for the rows that nothing has broken and nothing proves."""
        plan = self.of.plan
        if self.of.task is Task.REGRESSION:
            return []
        searches: tuple[tuple[str, str, Callable[..., Attack], int], ...] = (
            ("random", "survivors at random", square, plan.survivor_queries),
            ("evolution", "evolution", evolve, plan.evolve_queries),
        )
        return [(name, search, n) for attack_name, name, search, n in searches if n and attack_name in plan.attacks]

    def _searched(self, search: Callable[..., Attack], queries: int, worst: Found, left: NDArray[np.intp]) -> Attack:
        part = search(
            self.of.target, self.of.rows[left], self.of.y[left], worst.threat, queries=queries, seed=self.of.seed,
            start=worst.rows[left], drop_broken=True,
        )  # fmt: skip
        return _put(Attack(rows=worst.rows, margin=worst.margin), part, left)

    def _as_attack(self, rows: FloatArray, threat: ThreatModel) -> Attack:
        """Rows from elsewhere, drawn into this threat where they lie outside of its box."""
        low, high = threat.box(self.of.rows)
        inside = np.clip(rows, low, high)
        for group in threat.groups:
            inside[:, group.index] = rows[:, group.index]
        given, _ = completed(self.of.rows, inside, threat)
        return Attack(rows=given, margin=margins(self.of.target, given, self.of.y), queries=len(given))

    def _tried(self, name: str, threat: ThreatModel, make: Callable[[], Attack]) -> Tried:
        """The attack, or what the bank remembers of it; scored again, and checked by means of its own."""
        started = self.seconds()
        key = f"{threat.budget}/{threat.norm}/{threat.level}/{name}"
        known = self.bank.get(key)
        found = make() if known is None else _remembered(known)
        if known is None:
            self.bank.put(key, _to_remember(found))
        allowed, attacked = feasible(self.of.rows, found.rows, threat), self.of.attacked
        rows = np.where((allowed & attacked)[:, None], found.rows, self.of.rows)
        outputs = self.of.target.outputs(rows)
        ended = self.seconds()
        return Tried(
            name=name, rows=rows, outputs=outputs, margin=self._margin(outputs),
            infeasible=int((~allowed & attacked).sum()), attack=found,
            seconds=ended - started if ended is not None and started is not None else None,
        )  # fmt: skip

    def _worst(self, threat: ThreatModel, tried: Sequence[Tried]) -> Found:
        rows, outputs, lowest = self.of.rows.copy(), self.of.clean.copy(), self._margin(self.of.clean)
        for one in tried:
            worse = one.margin < lowest
            rows[worse], outputs[worse], lowest[worse] = one.rows[worse], one.outputs[worse], one.margin[worse]
        return Found(threat=threat, tried=tuple(tried), rows=rows, outputs=outputs, margin=lowest)

    def _margin(self, outputs: FloatArray) -> FloatArray:
        found = margin(outputs, self.of.y, self.of.task, decision=self.of.target.decision)
        return np.asarray(np.where(np.isnan(found), np.inf, found))


def proved(of: Stressed, found: Found, place: NDArray[np.intp]) -> BoolArray | None:
    """Which rows at these places are certified, (m,); None where the network has no certificate.

    Broken rows are not looked at but for the first few, which must not be certified.

    Raises:
        HoldfastError: a row is certified and broken.
    """
    right = of.right(found.outputs)[place]
    tried = right | (np.cumsum(~right) <= _BROKEN_TRIED)
    effort = of.plan.certify_effort
    sure = certified(of.target, of.rows[place], of.y[place], found.threat, undecided=tried, effort=effort)
    if sure is None:
        return None
    sure = np.where(of.attacked[place], sure, right)
    if bool((sure & ~right).any()):
        raise HoldfastError("a row was both certified and broken: the certificate or the attack is wrong, report it")
    return np.asarray(sure)


def _put(whole: Attack, part: Attack, place: NDArray[np.intp]) -> Attack:
    """The result on some rows put into one on all, where it is worse."""
    rows, margin = whole.rows.copy(), whole.margin.copy()
    worse = part.margin < margin[place]
    rows[place[worse]], margin[place[worse]] = part.rows[worse], part.margin[worse]
    return replace(
        whole, rows=rows, margin=margin,
        gradient_rows=whole.gradient_rows + part.gradient_rows, queries=whole.queries + part.queries,
    )  # fmt: skip


def _to_remember(found: Attack) -> dict[str, FloatArray]:
    cost = [found.gradient_rows, found.queries, found.zero_gradients, found.nan_gradients]
    return {"rows": found.rows, "margin": found.margin, "cost": np.array(cost, dtype=np.float64)}


def _remembered(known: dict[str, FloatArray]) -> Attack:
    gradient_rows, queries, zero, nan = known["cost"].tolist()
    return Attack(
        rows=known["rows"], margin=known["margin"], gradient_rows=int(gradient_rows), queries=int(queries),
        zero_gradients=zero, nan_gradients=nan,
    )  # fmt: skip
