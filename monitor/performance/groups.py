"""Rows by what a feature says of them: its levels, or quarters of its values."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.schema import Feature, Schema

QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The rows, a mask of shape (n,), in which a feature has one level or lies in one quarter of its values."""

    feature: str
    name: str
    rows: NDArray[np.bool_]

    @property
    def n(self) -> int:
        return int(self.rows.sum())

    def __str__(self) -> str:
        return f"{self.feature} {self.name}"


def groups_of(frame: pd.DataFrame, schema: Schema, feature: str) -> tuple[Group, ...]:
    """The groups of one feature: levels (missing is one), or quarters of the finite values and missing.

    >>> frame = pd.DataFrame({"channel": ["app", "web", None, "app"]})
    >>> [(str(group), group.n) for group in groups_of(frame, Schema.infer(frame), "channel")]
    [('channel = app', 2), ('channel = web', 1), ('channel is missing', 1)]
    """
    declared = schema[feature]
    found = _levels(frame, declared) if declared.is_categorical else _quarters(frame, schema, declared)
    return tuple(Group(feature=feature, name=name, rows=rows) for name, rows in found if rows.any())


def _levels(frame: pd.DataFrame, feature: Feature) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    column = frame[feature.name].astype(object)
    known = column.notna().to_numpy(np.bool_)
    texts = column.map(str).to_numpy(object)
    for level in sorted(set(texts[known])):
        yield f"= {level}", known & (texts == level)
    yield "is missing", ~known


def _quarters(frame: pd.DataFrame, schema: Schema, feature: Feature) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    values = schema.encode_column(frame, feature.name)
    known = np.isfinite(values)
    edges = np.unique(np.quantile(values[known], QUARTERS)) if known.any() else np.zeros(0)
    place = np.searchsorted(edges, values, side="left")
    for number in range(edges.size + 1):
        yield _between(edges, number), known & (place == number)
    yield "is missing", ~known


def _between(edges: NDArray[np.float64], number: int) -> str:
    if not edges.size:
        return "is known"
    if number == 0:
        return f"up to {edges[0]:.4g}"
    if number == edges.size:
        return f"above {edges[-1]:.4g}"
    return f"above {edges[number - 1]:.4g} up to {edges[number]:.4g}"
