"""How soon a model that became more fragile is found, and how often one that did not is accused.

python -m benchmarks.robust_stream [--quick]

Ticks have 512 rows, the registration 4,096. Robust accuracy falls by five points while clean accuracy stays: first .8 →
.75 on simulated rows that are lost or not, with a registration drawn anew each time, so that its own error counts; then
on real campaigns, each on new rows. A false alarm is an alarm that begins in a world without change.
"""

import argparse
from statistics import mean, median
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from benchmarks.output import Goal, report
from monitor.robustness import Plan, ThreatModel, run_campaign
from monitor.robustness.lost import lost_rows
from monitor.robustness.stream import BUDGET_TICKS, RobustStream, Shares
from monitor.schema import FloatArray, Schema

TICK_ROWS, REGISTERED_ROWS, LEVEL = 512, 4_096, "S3"
WATCHED = 60  # ticks after the change, beyond which it counts as missed
NULL_TICKS = 1_000
FIRST_SEED = 1_000
WORLDS = {"clean .9": {"right": 0.9}, "clean 1": {"right": 1.0}}
POSITIVE = 0.3
ROBUST, FALL = 0.8, 0.05


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for name, world in WORLDS.items():
        figures |= _simulated(name, world["right"], changes=100 if quick else 1_000, nulls=20 if quick else 300)
    figures |= _real(changes=5 if quick else 100, nulls=40 if quick else 3_000)
    report("robust_stream", figures, goals=_goals(figures))


def _goals(figures: dict[str, Any]) -> list[Goal]:
    found = [(name, value) for name, value in figures.items() if name.endswith("median ticks until found")]
    false = [(name, value) for name, value in figures.items() if name.endswith("false alarms in 1,000 ticks")]
    return [
        *(Goal(name=name, target="≤ 3", value=value, met=value <= 3) for name, value in found),
        *(Goal(name=name, target="≤ 1", value=value, met=value <= 1) for name, value in false),
    ]


def _simulated(name: str, right: float, *, changes: int, nulls: int) -> dict[str, Any]:
    rng = np.random.default_rng(FIRST_SEED)
    before, after = right - ROBUST, right - ROBUST + FALL
    delays = [_delay(rng, before, after) for _ in range(changes)]
    alarms = [_false_alarms(rng, before) for _ in range(nulls)]
    return {
        f"{name}: median ticks until found": float(median(delays)),
        f"{name}: mean ticks until found": mean(delays),
        f"{name}: share found in 3 ticks": float(np.mean(np.array(delays) <= 3)),
        f"{name}: false alarms in 1,000 ticks": mean(alarms) * 1_000 / NULL_TICKS,
        f"{name}: share of registrations with more than one": float(np.mean(np.array(alarms) > 1)),
    }


def _drawn(rng: np.random.Generator, n: int, share: float) -> Shares:
    """Positives are lost twice as often as negatives, and `share` of all rows."""
    positives = int(n * POSITIVE)
    rows = {"0": n - positives, "1": positives}
    negative = share / (1 + POSITIVE)
    lost = {"0": int(rng.binomial(rows["0"], negative)), "1": int(rng.binomial(rows["1"], 2 * negative))}
    return Shares(rows=rows, lost=lost)


def _delay(rng: np.random.Generator, before: float, after: float) -> int:
    registered, stream = _drawn(rng, REGISTERED_ROWS, before), RobustStream()
    for _ in range(5):  # quiet ticks come first
        stream = stream.update(registered, _drawn(rng, TICK_ROWS, before))
    for tick in range(1, WATCHED + 1):
        stream = stream.update(registered, _drawn(rng, TICK_ROWS, after))
        if stream.alarm:
            return tick
    return WATCHED


def _false_alarms(rng: np.random.Generator, share: float) -> int:
    registered, stream, begun = _drawn(rng, REGISTERED_ROWS, share), RobustStream(), 0
    for _ in range(NULL_TICKS):
        was = stream.alarm
        stream = stream.update(registered, _drawn(rng, TICK_ROWS, share))
        begun += stream.alarm and not was
    return begun


class _Linear(nn.Module):
    """logit = amount / 50 + age / 10."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([1 / 50, 1 / 10], dtype=torch.float64))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self.weights


def _rows(rng: np.random.Generator, n: int, spread: float) -> tuple[pd.DataFrame, FloatArray]:
    """Rows whose decision is right in 90 %; the smaller the spread, the more lie near the decision."""
    frame = pd.DataFrame({"amount": rng.normal(0, 50 * spread, n), "age": rng.normal(0, 10 * spread, n)})
    above = frame["amount"] / 50 + frame["age"] / 10 > 0
    wrong = rng.random(n) < 0.1
    return frame, (above ^ wrong).to_numpy(np.float64)


def _real(*, changes: int, nulls: int) -> dict[str, Any]:
    """The same on campaigns: a narrower spread puts more rows within reach, and the decision is as right as before."""
    rng = np.random.default_rng(FIRST_SEED)
    frame, y = _rows(rng, 20_000, 1.0)
    schema = Schema.infer(frame, mutable=["amount"])
    threat = ThreatModel.from_schema(schema, schema.encode(frame), level=LEVEL)
    before, spread = _shares(schema, frame, y, threat, seed=0), _narrower(schema, rng, threat)
    registered = _tick(schema, rng, threat, REGISTERED_ROWS, 1.0)
    stream, begun = RobustStream(), 0
    for _ in range(nulls):
        was = stream.alarm
        stream = stream.update(registered, _tick(schema, rng, threat, TICK_ROWS, 1.0))
        begun += stream.alarm and not was
    delays = [_real_delay(schema, rng, threat, spread) for _ in range(changes)]
    return {
        "campaigns: lost rows before": before.share,
        "campaigns: lost rows after": _tick(schema, rng, threat, 20_000, spread).share,
        "campaigns: median ticks until found": float(median(delays)),
        "campaigns: share found in 3 ticks": float(np.mean(np.array(delays) <= 3)),
        "campaigns: null ticks": nulls,
        "campaigns: false alarms in 1,000 ticks": begun * 1_000 / nulls,
    }


def _real_delay(schema: Schema, rng: np.random.Generator, threat: ThreatModel, spread: float) -> int:
    registered, stream = _tick(schema, rng, threat, REGISTERED_ROWS, 1.0), RobustStream()
    for number in range(1, WATCHED + 1):
        stream = stream.update(registered, _tick(schema, rng, threat, TICK_ROWS, spread))
        if stream.alarm:
            return number
    return WATCHED


def _narrower(schema: Schema, rng: np.random.Generator, threat: ThreatModel) -> float:
    """The spread at which five points more of the rows are lost."""
    wide, narrow = 1.0, 0.01
    goal = _tick(schema, rng, threat, 20_000, 1.0).share + FALL
    for _ in range(12):
        middle = (wide + narrow) / 2
        lost = _tick(schema, rng, threat, 20_000, middle).share
        wide, narrow = (middle, narrow) if lost < goal else (wide, middle)
    return (wide + narrow) / 2


def _tick(schema: Schema, rng: np.random.Generator, threat: ThreatModel, n: int, spread: float) -> Shares:
    frame, y = _rows(rng, n, spread)
    return _shares(schema, frame, y, threat, seed=int(rng.integers(2**31)))


def _shares(schema: Schema, frame: pd.DataFrame, y: FloatArray, threat: ThreatModel, *, seed: int) -> Shares:
    plan = Plan(rows=len(frame), levels=("S1", "S2", LEVEL), families=(), audit_queries=0, certified_rows=2)
    found = run_campaign(
        _Linear().eval(), schema.encode(frame), y, threat, plan=plan, seed=seed, schema=schema, threshold=0.0
    )
    return Shares.of(lost_rows(found, LEVEL), y, classes=True)


if __name__ == "__main__":
    assert BUDGET_TICKS == NULL_TICKS
    main()
