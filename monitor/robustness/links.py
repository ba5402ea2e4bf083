"""What holds between features: derived ones that follow their formula, and relations that must not break.

A row that the data themselves got wrong is not held against the attack: a derived cell keeps the difference that it had
(rounding, say), and a relation may be as far from true as it was. Where a part is missing, neither applies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monitor.formula import Formula, Relation
from monitor.robustness.scale import robust_scale
from monitor.schema import FloatArray, Schema

HOLDS_WITHIN = 1e-9  # robust σ: a relation that is closer to true than this holds


@dataclass(frozen=True, kw_only=True)
class Derived:
    """Column `index` equals `formula`, and lies between its own bounds."""

    index: int
    formula: Formula
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Links:
    """The derived features and relations of a schema over columns `names`.

    `scales` (one a relation, then one a derived feature) turn an excess into robust σ of its own residual; `reads` are
    the columns that formulas and relations name.
    """

    names: tuple[str, ...]
    derived: tuple[Derived, ...]
    relations: tuple[Relation, ...]
    scales: FloatArray
    reads: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, schema: Schema, reference: FloatArray) -> "Links | None":
        """Compile what the schema declares; None when it declares nothing."""
        derived = tuple(
            Derived(
                index=j,
                formula=Formula.parse(feature.formula, schema.names),
                lower=-np.inf if feature.lower is None else feature.lower,
                upper=np.inf if feature.upper is None else feature.upper,
            )
            for j, feature in enumerate(schema.features)
            if feature.formula is not None
        )
        relations = tuple(Relation.parse(text, schema.names) for text in schema.relations)
        if not derived and not relations:
            return None
        columns = dict(zip(schema.names, reference.T, strict=True))
        with np.errstate(all="ignore"):
            residuals = [np.asarray(relation.excess(columns, np)) for relation in relations]
        residuals += [reference[:, one.index] for one in derived]
        scales = np.array([robust_scale(residual) or 1.0 for residual in residuals])
        parts = [one.formula.names for one in derived] + [relation.names for relation in relations]
        read = {name for names in parts for name in names}
        reads = tuple((name, j) for j, name in enumerate(schema.names) if name in read)
        return cls(names=schema.names, derived=derived, relations=relations, scales=scales, reads=reads)

    def broken_share(self, rows: FloatArray) -> dict[str, float]:
        """By relation, the share of rows (n, d) in which it does not hold."""
        columns = self._columns(rows)
        with np.errstate(all="ignore"):
            return {r.text: float((np.asarray(r.excess(columns, np)) > HOLDS_WITHIN).mean()) for r in self.relations}

    def bound_to(self, clean: Tensor) -> "BoundLinks":
        """The same for given clean rows (n, d)."""
        columns = self._columns(clean)
        values = [(clean[:, d.index], d.formula.evaluate(columns, torch)) for d in self.derived]
        offsets = [torch.nan_to_num(cell - value, posinf=0.0, neginf=0.0) for cell, value in values]
        kept = [~torch.isfinite(cell) | ~torch.isfinite(value) for cell, value in values]
        allowed = [torch.nan_to_num(excess, nan=torch.inf).clamp(min=0) for excess in self._excess(clean, torch)]
        return BoundLinks(links=self, clean=clean, offsets=tuple(offsets), kept=tuple(kept), allowed=tuple(allowed))

    def _columns(self, rows: Any) -> Mapping[str, Any]:
        return {name: rows[:, j] for name, j in self.reads}

    def _excess(self, rows: Any, library: ModuleType) -> list[Any]:
        """How far each relation, then each bound of a derived feature, is from true, each (n,)."""
        columns = self._columns(rows)
        found = [relation.excess(columns, library) for relation in self.relations]
        found += [
            library.maximum(rows[:, one.index] - one.upper, one.lower - rows[:, one.index]) for one in self.derived
        ]
        return found


@dataclass(frozen=True, kw_only=True)
class BoundLinks:
    """Links around clean rows (n, d): `offsets` of derived cells, which are `kept`, and `allowed` excess, each (n,)."""

    links: Links
    clean: Tensor
    offsets: tuple[Tensor, ...]
    kept: tuple[Tensor, ...]
    allowed: tuple[Tensor, ...]

    def complete(self, rows: Tensor) -> Tensor:
        """Rows with their derived cells computed inside the graph; where a part is missing the cell stays."""
        if not self.links.derived:
            return rows
        columns = self.links._columns(rows)
        cells = list(rows.unbind(1))
        for one, offset, kept in zip(self.links.derived, self.offsets, self.kept, strict=True):
            parts = _cut_off(columns, kept) if rows.requires_grad else columns
            value = one.formula.evaluate(parts, torch) + offset
            cells[one.index] = torch.where(kept, self.clean[:, one.index], value)
        return torch.stack(cells, dim=1)

    def violation(self, rows: Tensor) -> Tensor:
        """How far completed rows break relations beyond what their clean rows did, (n,) in robust σ; else 0."""
        total = torch.zeros(len(rows), dtype=rows.dtype, device=rows.device)
        found = self.links._excess(rows, torch)
        for excess, allowed, scale in zip(found, self.allowed, self.links.scales.tolist(), strict=True):
            beyond = (excess - allowed) / scale
            missing = torch.isinf(allowed)
            beyond = torch.where(missing, torch.zeros_like(beyond), torch.nan_to_num(beyond, nan=1e6))
            total = total + beyond.clamp(min=0)
        return total

    def select(self, keep: Tensor) -> "BoundLinks":
        """The same for some of the rows."""
        return BoundLinks(
            links=self.links,
            clean=self.clean[keep],
            offsets=tuple(offset[keep] for offset in self.offsets),
            kept=tuple(kept[keep] for kept in self.kept),
            allowed=tuple(allowed[keep] for allowed in self.allowed),
        )


def _cut_off(columns: Mapping[str, Tensor], kept: Tensor) -> Mapping[str, Tensor]:
    """Without slopes where the derived cell is kept: a NaN of one part must not reach the slopes of the others."""
    return {name: torch.where(kept, cell.detach(), cell) for name, cell in columns.items()}
