"""Right alarms, early, and few: false incidents a model-year on stationary worlds, and windows until a drift is found.

python -m benchmarks.detection [--quick] [--peers] [--years N] [--drifts N]

Out of the box: every method with its defaults. Matched: a peer's threshold is set by an oracle, on null years of the
same world, to one false incident a model-year; Holdfast is never tuned to a world. Incidents are counted by the same
rule for all: alarms within seven windows of each other are one. Seeds of reports are 1000 and up.
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.detection_goals import goals_of
from benchmarks.detection_peers import (
    MODULES,
    PeerTrace,
    PeerUnavailable,
    incidents,
    matched_threshold,
    poisson_interval,
    run_peer,
)
from benchmarks.output import report
from benchmarks.streams import (
    CALM,
    CORRELATED,
    DAY_SEASON,
    DECORRELATION,
    DRIFTS,
    NULLS,
    Drift,
    Made,
    World,
    make,
    names,
)
from monitor.drift import Detector, DriftReport, FalseAlarmBudget, Profile, Reference, State
from monitor.schema import Schema

FIRST_SEED = 1000
CALIBRATION_SEED = 500  # of the oracle that tunes the peers
WATCHED = 30  # windows after the onset, beyond which a drift counts as missed
HUNDRED_ROWS = World(name="iid, 100 rows", rows=100)
IID = World(name="iid")
QUICK_NULLS = (IID, DAY_SEASON)
QUICK_DRIFTS = ((DAY_SEASON, Drift(kind="mean", size=0.25)), (CORRELATED, DECORRELATION))
PEER_NULLS = (IID, DAY_SEASON)
PEER_DRIFTS = (
    (DAY_SEASON, Drift(kind="mean", size=0.25)),
    (CORRELATED, DECORRELATION),
    (DAY_SEASON, Drift(kind="missing", size=0.02)),
)
PEER_SCALE = {"quick": (1, 30, 1), "full": (2, 120, 6)}  # null streams, windows of one, streams of a drift
# One method a family: what all of them do is in `benchmarks/peer_detection`.
PEER_METHODS = {
    "evidently": ("any column",),
    "nannyml": ("jensen_shannon", "PCA reconstruction"),
    "river": ("ADWIN",),
    "frouros": ("KS p<.001 any",),
    "alibi-detect": ("TabularDrift",),
    "scipy-loop": ("KS p<.05 any", "KS Bonferroni", "3 sigma chart"),
}


@dataclass(frozen=True, kw_only=True)
class NullYear:
    """One stationary stream: windows watched, incidents, windows with an open incident."""

    world: str
    windows: int
    incidents: int
    open_windows: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """One stream with a drift.

    Attributes:
        delay: windows from the onset to the first alarm that names what moved, the onset's own being 1; None: missed.
        first: whether the first culprit then is one that moved.
        named, right: features named when the watch ended, and those of them that moved.
        openings: incidents that opened from the onset on.
        messages: openings, and windows that told of a new culprit or a doubled effect.
    """

    world: str
    drift: str
    delay: int | None
    first: bool
    named: int
    right: int
    moved: int
    openings: int
    messages: int


def watched(made: Made, **options: Any) -> list[DriftReport]:
    """What Holdfast says of each monitored window, with defaults."""
    frames = [frame for _, frame in made.reference]
    reference = Reference.fit(made.reference, schema=Schema.infer(pd.concat(frames)))
    detector = Detector(reference, **options)
    return [detector.update(window, frame) for window, frame in made.monitored]


def null_year(job: tuple[World, int, int]) -> NullYear:
    world, seed, windows = job
    reports = watched(make(world, seed, monitored=windows))
    return NullYear(
        world=world.name,
        windows=len(reports),
        incidents=sum(report.alarm for report in reports),
        open_windows=sum(report.state is State.OPEN for report in reports),
    )


def found_drift(job: tuple[World, Drift, int]) -> Found:
    world, drift, seed = job
    made = make(world, seed, monitored=CALM + WATCHED, drift=drift)
    reports = watched(made)[CALM:]
    moved = set(made.moved)
    at = next((i for i, one in enumerate(reports) if moved & set(one.new_culprits)), None)
    last = next((one for one in reversed(reports) if one.state is State.OPEN), None)
    named = set(last.culprits) if last else set()
    return Found(
        world=world.name,
        drift=drift.name,
        delay=None if at is None else at + 1,
        first=at is not None and reports[at].culprits[0] in moved,
        named=len(named),
        right=len(named & moved),
        moved=len(moved),
        openings=sum(one.alarm for one in reports),
        messages=sum(one.alarm or bool(one.new_culprits) or bool(one.worsened) for one in reports),
    )


def null_table(years: Sequence[NullYear]) -> dict[str, dict[str, float]]:
    """False incidents a model-year of each world, with their exact Poisson interval."""
    table = {}
    for world in dict.fromkeys(year.world for year in years):
        of_world = [year for year in years if year.world == world]
        exposure = sum(year.windows for year in of_world) / 365
        count = sum(year.incidents for year in of_world)
        low, high = poisson_interval(count, exposure)
        table[world] = {
            "per_year": count / exposure,
            "low": low,
            "high": high,
            "years": exposure,
            "open_share": sum(year.open_windows for year in of_world) / (365 * exposure),
        }
    return table


def drift_table(found: Sequence[Found]) -> dict[str, dict[str, float]]:
    """Delays, and what was named, of each world and drift."""
    table = {}
    for world, drift in dict.fromkeys((one.world, one.drift) for one in found):
        of_both = [one for one in found if (one.world, one.drift) == (world, drift)]
        table[f"{world}: {drift}"] = _delays([one.delay for one in of_both]) | _naming(of_both)
    return table


def _delays(delays: Sequence[int | None]) -> dict[str, float]:
    counted = [WATCHED + 1 if delay is None else delay for delay in delays]
    return {
        "median": float(median(counted)),
        "p90": float(np.quantile(counted, 0.9)),
        "missed": float(np.mean([delay is None for delay in delays])),
        "streams": float(len(delays)),
    }


def _naming(found: Sequence[Found]) -> dict[str, float]:
    seen = [one for one in found if one.delay is not None]
    named, right = sum(one.named for one in seen), sum(one.right for one in seen)
    return {
        "top1": float(np.mean([one.first for one in seen])) if seen else np.nan,
        "false_culprits": 1 - right / named if named else 0.0,
        "recall": right / max(sum(one.moved for one in seen), 1),
        "openings": float(np.mean([one.openings for one in seen])) if seen else np.nan,
        "messages": float(np.mean([one.messages for one in seen])) if seen else np.nan,
    }


def run_lengths(ticks: float, *, streams: int, seed: int) -> dict[str, float]:
    """Average windows to an alarm on exact nulls at a budget of one in `ticks`; streams last up to 3·ticks."""
    world = replace(IID, rows=200)
    budget = FalseAlarmBudget(incidents=1, per_days=ticks)
    windows, alarms = 0, 0
    for number in range(streams):
        reports = watched(make(world, seed + number, monitored=int(3 * ticks)), budget=budget)
        first = next((i for i, one in enumerate(reports) if one.alarm), None)
        windows += len(reports) if first is None else first + 1
        alarms += first is not None
    low, high = poisson_interval(alarms, windows / ticks)
    return {"arl": windows / max(alarms, 1), "rate_times_c": alarms * ticks / windows, "low": low, "high": high}


def cost() -> dict[str, float]:
    """Microseconds of a tick of the detector over stored profiles, on one thread."""
    made = make(DAY_SEASON, FIRST_SEED, monitored=120)
    frames = [frame for _, frame in made.reference]
    reference = Reference.fit(made.reference, schema=Schema.infer(pd.concat(frames)))
    detector = Detector(reference)
    profiles = [(window, Profile.of(frame, reference.binning)) for window, frame in made.monitored]
    taken = []
    for window, profile in profiles:
        started = time.perf_counter()
        detector.update(window, profile)
        taken.append(time.perf_counter() - started)
    return {"tick_us": 1e6 * median(taken[20:]), "features": 20.0}


def peer_null(job: tuple[str, World, int, int]) -> dict[str, PeerTrace]:
    peer, world, seed, windows = job
    return _run(peer, make(world, seed, monitored=windows))


def _run(peer: str, made: Made) -> dict[str, PeerTrace]:
    numeric, categorical = names(made.world)
    first, last = made.world.reference_windows, len(made.frames)
    try:
        return run_peer(
            peer, _stacked(made, range(first)), _stacked(made, range(first, last)),
            numeric=numeric, categorical=categorical, methods=PEER_METHODS[peer],
        )  # fmt: skip
    except PeerUnavailable as error:
        print(f"{peer}: {error}")
        return {}


def _stacked(made: Made, chosen: Iterable[int]) -> pd.DataFrame:
    parts = [made.frames[t].assign(window=t) for t in chosen]
    together = pd.concat(parts, ignore_index=True)
    return together.astype({name: object for name in together if str(together[name].dtype) == "category"})


def peer_tables(scale: tuple[int, int, int], pool: ProcessPoolExecutor) -> dict[str, Any]:
    """Every peer out of the box and matched at one false incident a model-year.

    Args:
        scale: null streams of each world, windows of one, and streams of each drift.
        pool: runs them.
    """
    years, windows, streams = scale
    nulls = list(product(MODULES, PEER_NULLS, range(CALIBRATION_SEED, CALIBRATION_SEED + years), [windows]))
    drifts = [
        (peer, world, drift, FIRST_SEED + i) for peer in MODULES for world, drift in PEER_DRIFTS for i in range(streams)
    ]
    quiet = dict(zip(nulls, pool.map(peer_null, nulls), strict=True))
    moved = dict(zip(drifts, pool.map(_peer_drift, drifts), strict=True))
    table: dict[str, Any] = {}
    for peer, methods in PEER_METHODS.items():
        for method in methods:
            table[f"{peer}: {method}"] = _peer_row(
                {world.name: [t[method] for k, t in quiet.items() if k[0] == peer and k[1] == world and method in t]
                 for world in PEER_NULLS},
                {f"{world.name}: {drift.name}": (world.name, [
                    t[method] for k, t in moved.items() if k[:3] == (peer, world, drift) and method in t])
                 for world, drift in PEER_DRIFTS},
            )  # fmt: skip
    return table


def _peer_drift(job: tuple[str, World, Drift, int]) -> dict[str, PeerTrace]:
    peer, world, drift, seed = job
    return _run(peer, make(world, seed, monitored=CALM + WATCHED, drift=drift))


def _peer_row(
    quiet: dict[str, list[PeerTrace]], moved: dict[str, tuple[str, list[PeerTrace]]]
) -> dict[str, dict[str, float]]:
    row: dict[str, dict[str, float]] = {}
    thresholds = {}
    for world, traces in quiet.items():
        if not traces:
            continue
        exposure = sum(len(trace.score) for trace in traces) / 365
        count = sum(len(incidents(trace.default_alarm)) for trace in traces)
        low, high = poisson_interval(count, exposure)
        alarmed = float(np.mean([alarm for trace in traces for alarm in trace.default_alarm]))
        seconds = float(np.mean([trace.seconds / len(trace.score) for trace in traces]))
        row[f"null {world}"] = {
            "per_year": count / exposure, "low": low, "high": high, "alarmed_share": alarmed, "seconds": seconds,
        }  # fmt: skip
        thresholds[world] = matched_threshold([list(trace.score) for trace in traces], 1.0)
    for name, (world, traces) in moved.items():
        limit = thresholds.get(world, thresholds.get("iid", np.inf))  # the correlated world is an iid one
        for rule, alarms in (
            ("default", [trace.default_alarm for trace in traces]),
            ("matched", [tuple(score > limit for score in trace.score) for trace in traces]),
        ):
            if alarms:
                row[f"{rule} {name}"] = _delays([_delay(alarm) for alarm in alarms])
    return row


def _delay(alarms: Sequence[bool]) -> int | None:
    """Windows from the onset to the first alarm at or after it."""
    after = [i for i, alarm in enumerate(alarms[CALM:]) if alarm]
    return after[0] + 1 if after else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a reduced grid within 60 s")
    parser.add_argument(
        "--peers", action="store_true", help="the peers too, each in its own environment (`make peers`)"
    )
    parser.add_argument("--years", type=int, default=20, help="model-years a null world")
    parser.add_argument("--drifts", type=int, default=40, help="streams a drift")
    options = parser.parse_args()
    years, streams = (2, 6) if options.quick else (options.years, options.drifts)
    worlds = QUICK_NULLS if options.quick else NULLS
    drifts = QUICK_DRIFTS if options.quick else _all_drifts()
    with ProcessPoolExecutor() as pool:
        quiet = list(pool.map(null_year, product(worlds, range(FIRST_SEED, FIRST_SEED + years), [365])))
        jobs = [(world, drift, FIRST_SEED + i) for world, drift in drifts for i in range(streams)]
        found = list(pool.map(found_drift, jobs))
        theirs = peer_tables(PEER_SCALE["quick" if options.quick else "full"], pool) if options.peers else {}
    figures: dict[str, Any] = {
        "nulls": null_table(quiet),
        "drifts": drift_table(found),
        "arl_30": run_lengths(30, streams=4 if options.quick else 60, seed=FIRST_SEED),
        "cost": cost(),
    }  # fmt: skip
    _print(figures, theirs)
    report("detection", figures, goals=goals_of(figures), peers=theirs)


def _all_drifts() -> tuple[tuple[World, Drift], ...]:
    quarter = Drift(kind="mean", size=0.25)
    special = ((IID, Drift(kind="subgroup", size=0.05)), (HUNDRED_ROWS, quarter), (CORRELATED, DECORRELATION))
    return (*((DAY_SEASON, drift) for drift in DRIFTS), *special)


def _print(figures: dict[str, Any], theirs: dict[str, Any]) -> None:
    print("False incidents a model-year on stationary worlds, out of the box")
    for world, row in figures["nulls"].items():
        print(
            f"  {world:<28} {row['per_year']:5.2f}  [{row['low']:.2f}, {row['high']:.2f}] in {row['years']:.0f} years, "
            f"open on {100 * row['open_share']:.1f} % of days"
        )
    print("Windows until a drift is found (median, 90 %), missed in 30, top culprit right")
    for name, row in figures["drifts"].items():
        print(
            f"  {name:<44} {row['median']:4.1f} {row['p90']:5.1f}  {100 * row['missed']:3.0f} %  "
            f"{100 * row['top1']:3.0f} %  messages {row['messages']:.2f}"
        )
    for peer, rows in theirs.items():
        print(peer)
        for name, row in rows.items():
            if name.startswith("null"):
                print(
                    f"  {name:<44} {row['per_year']:5.1f}  [{row['low']:.1f}, {row['high']:.1f}] a year, in alarm on "
                    f"{100 * row['alarmed_share']:.0f} % of days, {row['seconds']:.2f} s a window"
                )
            else:
                print(f"  {name:<44} {row['median']:4.1f} {row['p90']:5.1f}  {100 * row['missed']:3.0f} % missed")


if __name__ == "__main__":
    main()
