"""The way from raw rows to the network's inputs, as one module that is fitted once and saved with the weights.

Training, attack, stress test and serving share it, in raw units: nothing can differ between them. Every statistic is a
quantile, so a few wild rows move it little.
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from monitor.errors import BadInput
from monitor.robustness.scale import robust_scale
from monitor.schema import FloatArray, Schema

MAX_ONE_HOT = 32  # the schema lists levels by frequency; the rest share one column
RARE_SHARE = 0.001
HEAVY_TAIL = 5.0  # robust σ between the median and the 1 % or 99 % quantile
RARE, UNSEEN, MISSING = range(3)  # the columns after a category's own levels


class Preprocess(nn.Module):
    """Raw rows (n, d) as `schema.encode` gives → network inputs (n, width), float32.

    Numbers: missing → median, winsorised at .1 and 99.9 %, (x − median)/robust σ, asinh of that on heavy tails, and a
    missing indicator each. Categories: one-hot, with rare, unseen and missing levels in columns of their own. Gradients
    flow to the raw numbers. Shapes follow from the schema alone; the fitted statistics are buffers.
    """

    is_monotone = True  # in every number: intervals pass through exactly (robustness/certify.py)

    numeric: Tensor
    categorical: Tensor
    median: Tensor
    lower: Tensor
    upper: Tensor
    scale: Tensor
    heavy: Tensor
    columns: Tensor
    level_count: Tensor
    seen: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        is_categorical = np.array([feature.is_categorical for feature in schema.features])
        levels = [len(feature.levels) for feature in schema.features if feature.is_categorical]
        n_numeric = int((~is_categorical).sum())
        self.slots = [min(count, MAX_ONE_HOT) for count in levels]
        self.width = 2 * n_numeric + sum(self.slots) + 3 * len(levels)
        self.register_buffer("numeric", torch.from_numpy(np.flatnonzero(~is_categorical)))
        self.register_buffer("categorical", torch.from_numpy(np.flatnonzero(is_categorical)))
        for name, value in [("median", 0.0), ("lower", 0.0), ("upper", 0.0), ("scale", 1.0)]:
            self.register_buffer(name, torch.full((n_numeric,), value, dtype=torch.float64))
        self.register_buffer("heavy", torch.zeros(n_numeric, dtype=torch.bool))
        self.register_buffer("level_count", torch.tensor(levels, dtype=torch.float64))
        self.register_buffer("columns", torch.zeros((len(levels), max(levels, default=0) + 2), dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(self.width, dtype=torch.bool))

    def fit(self, rows: FloatArray) -> Self:
        """Learn the statistics from training rows (n, d); `seen` then says which inputs were ever non-zero."""
        if len(rows) == 0:
            raise BadInput("expected rows to fit the preprocessing on, got none")
        for k, j in enumerate(self.numeric.tolist()):
            self._fit_number(k, rows[:, j])
        offset = 2 * len(self.numeric)
        for k, j in enumerate(self.categorical.tolist()):
            self.columns[k] = self._columns_of(k, rows[:, j]) + offset
            offset += self.slots[k] + 3
        with torch.inference_mode():
            self.seen.copy_((self(torch.as_tensor(rows, dtype=torch.float64)) != 0).any(dim=0))
        return self

    def forward(self, rows: Tensor) -> Tensor:
        """Network inputs (n, width) for raw rows (n, d)."""
        return torch.cat([*self._numbers(rows[:, self.numeric]), self._one_hot(rows[:, self.categorical])], dim=1)

    def raw_slope(self, rows: Tensor, slope: Tensor) -> Tensor:
        """Signs of a slope by raw rows (n, d), from the slope by the inputs (n, width) that these rows give.

        Every number grows with its raw value where it is neither missing nor winsorised, so that the sign is the same
        and nothing has to flow back through the scaling. Categories have none.
        """
        values = rows[:, self.numeric]
        inside = (values >= self.lower) & (values <= self.upper)
        found = torch.zeros_like(rows)
        found[:, self.numeric] = (slope[:, : len(self.numeric)].sign() * inside).to(rows.dtype)
        return found

    def _numbers(self, values: Tensor) -> tuple[Tensor, Tensor]:
        missing = torch.isnan(values)
        filled = torch.where(missing, self.median, values.double())
        clipped = torch.minimum(torch.maximum(filled, self.lower), self.upper)
        scaled = (clipped - self.median) / self.scale
        return torch.where(self.heavy, torch.asinh(scaled), scaled).float(), missing.float()

    def _one_hot(self, codes: Tensor) -> Tensor:
        width = self.width - 2 * len(self.numeric)
        known = (codes >= 0) & (codes <= self.level_count)
        position = torch.where(known, codes.double(), self.level_count)
        position = torch.where(torch.isnan(codes), self.level_count + 1, position).long()
        column = self.columns[torch.arange(len(self.categorical), device=codes.device), position]
        empty = torch.zeros((len(codes), width), device=codes.device)
        return empty.scatter(1, column - 2 * len(self.numeric), 1.0)

    def _fit_number(self, k: int, column: FloatArray) -> None:
        present = column[np.isfinite(column)]
        if present.size == 0:
            return
        low, q01, median, q99, high = np.quantile(present, [0.001, 0.01, 0.5, 0.99, 0.999])
        scale = robust_scale(column) or 1.0
        self.median[k], self.lower[k], self.upper[k], self.scale[k] = median, low, high, scale
        self.heavy[k] = bool(max(q99 - median, median - q01) / scale > HEAVY_TAIL)

    def _columns_of(self, k: int, codes: FloatArray) -> Tensor:
        """Level code → one-hot column of this category: its own, or the shared one of rare levels."""
        count, own = int(self.level_count[k]), self.slots[k]
        times = np.bincount(codes[np.isfinite(codes)].astype(int), minlength=count)[:count]
        column = np.full(self.columns.shape[1], own + UNSEEN)
        frequent = (np.arange(count) < own) & (times >= max(RARE_SHARE * len(codes), 2))
        column[:count] = np.where(frequent, np.arange(count), own + RARE)
        column[count + 1] = own + MISSING
        return torch.from_numpy(column)
