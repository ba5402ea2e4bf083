"""A model's schema held against a file: what came, went, changed its type, or probably changed its name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from monitor.db.trace_tables import column_types
from monitor.schema import Schema

ALIKE = 0.1  # the largest distance of two distributions that are told to be alike
MAY_BE = 0.3  # the largest distance at which a like name still counts
LIKE_NAMES = 0.7
LEAST_VALUES = 50
_ROWS = 5_000


@dataclass(frozen=True, kw_only=True)
class Rename:
    """A feature that went and one that came, and why they may be the same."""

    old: str
    new: str
    why: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What lies between two schemas; a rename is also told as one that went and one that came."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    retyped: tuple[str, ...]
    renames: tuple[Rename, ...]


def difference(before: Schema, after: Schema, old: pd.DataFrame, new: pd.DataFrame) -> Difference:
    """Compare the declared features with those of a file, by name, and by value where rows of both are there."""
    was, now = _types(before), _types(after)
    added = tuple(name for name in now if name not in was)
    removed = tuple(name for name in was if name not in now)
    pairs = [_rename(gone, came, before, after, old, new) for gone in removed for came in added]
    return Difference(
        added=added, removed=removed,
        retyped=tuple(name for name, kind in was.items() if kind != now.get(name, kind)),
        renames=tuple(_best([pair for pair in pairs if pair is not None])),
    )  # fmt: skip


def _best(candidates: list[Rename]) -> Iterator[Rename]:
    """The best pairs first, each feature once."""
    taken: set[str] = set()
    for one in sorted(candidates, key=lambda one: (-one.score, one.old, one.new)):
        if not {one.old, f"→{one.new}"} & taken:
            taken |= {one.old, f"→{one.new}"}
            yield one


def _rename(gone: str, came: str, before: Schema, after: Schema, old: pd.DataFrame, new: pd.DataFrame) -> Rename | None:
    if _types(before)[gone] != _types(after)[came]:
        return None
    names = _likeness(gone, came)
    watched = zip(_watched(before, gone), _watched(after, came), strict=True)
    numeric = _types(before)[gone] != "text"
    distances = [_distance(old.get(one), new.get(other), numeric=numeric) for one, other in watched]
    apart = max((distance for distance in distances if distance is not None), default=None)
    like_names = names >= LIKE_NAMES
    if apart is None:
        return Rename(old=gone, new=came, why="their names are alike", score=names) if like_names else None
    if apart > (MAY_BE if like_names else ALIKE):
        return None
    values = f"their values lie {'alike' if apart <= ALIKE else 'near'} (distance {apart:.2f})"
    why = f"{values}, and so do their names" if like_names else values
    return Rename(old=gone, new=came, why=why, score=1 - apart + names)


def _types(schema: Schema) -> dict[str, str]:
    types = column_types(schema)
    return {name: types[name] for name in schema.fields}


def _watched(schema: Schema, name: str) -> tuple[str, ...]:
    """A feature, or the summaries of a vector."""
    return next((vector.summaries for vector in schema.vectors if vector.name == name), (name,))


def _likeness(one: str, other: str) -> float:
    """From 0 to 1, whatever the case and the signs between words; 1 where one holds all words of the other."""
    a, b = (set(re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())) for name in (one, other))
    if a and b and (a <= b or b <= a):
        return 1.0
    return SequenceMatcher(None, "_".join(sorted(a)), "_".join(sorted(b))).ratio()


def _distance(old: "pd.Series[float] | None", new: "pd.Series[float] | None", *, numeric: bool) -> float | None:
    """The largest difference of distribution functions, or of shares added up; None where too few values are there."""
    if old is None or new is None:
        return None
    one, other = old.dropna().iloc[:_ROWS], new.dropna().iloc[:_ROWS]
    if min(len(one), len(other)) < LEAST_VALUES:
        return None
    if numeric:
        a, b = (pd.to_numeric(values, errors="coerce").dropna().to_numpy(np.float64) for values in (one, other))
        return float(ks_2samp(a, b).statistic) if min(len(a), len(b)) >= LEAST_VALUES else None
    shares = pd.concat([side.astype(str).value_counts(normalize=True) for side in (one, other)], axis=1).fillna(0.0)
    return float((shares.iloc[:, 0] - shares.iloc[:, 1]).abs().sum() / 2)
