"""Where the inputs of a network may lie: a box, and a few swaps out of a list."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import BadInput
from monitor.schema import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class SwapOptions:
    """Discrete moves beside the box, one an entry: at most one option per row and feature, costs within the budget.

    `row` and `feature` (m,) say whose option it is, `delta` (m, width) by how much it changes the network's inputs,
    `cost` (m,) > 0; `budget` (n,) is what the options taken in one row may cost together.
    """

    row: NDArray[np.int_]
    feature: NDArray[np.int_]
    delta: FloatArray
    cost: FloatArray
    budget: FloatArray

    def __post_init__(self) -> None:
        sizes = {len(part) for part in (self.row, self.feature, self.delta, self.cost)}
        if len(sizes) > 1 or np.ndim(self.delta) != 2 or not (self.cost > 0).all():
            raise BadInput(
                f"expected row, feature and cost (m,), delta (m, width) and costs above 0, got lengths {sorted(sizes)}"
            )

    def of_rows(self, chosen: NDArray[np.int_]) -> "SwapOptions":
        """The options of some rows, which are numbered anew in the order given."""
        place = np.full(len(self.budget), -1)
        place[chosen] = np.arange(len(chosen))
        kept = place[self.row] >= 0
        return SwapOptions(
            row=place[self.row[kept]],
            feature=self.feature[kept],
            delta=self.delta[kept],
            cost=self.cost[kept],
            budget=self.budget[chosen],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Swaps:
    """Swap options with one place per row and option: `delta` (n, p, width), `feature` (n, p), `most` (n,) at once.

    Empty places change nothing. `most` = ⌊budget / smallest cost⌋ allows at least what the budget allows.
    """

    delta: Tensor
    feature: Tensor
    most: Tensor

    @classmethod
    def of(cls, options: SwapOptions, device: torch.device) -> "Swaps":
        """Lay the list out by row; options that cost more than the budget are left out."""
        n, kept = len(options.budget), np.flatnonzero(options.cost <= options.budget[options.row] * (1 + 1e-9))
        kept = kept[np.argsort(options.row[kept], kind="stable")]
        row = options.row[kept]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        features, feature = np.unique(options.feature[kept], return_inverse=True)
        places = int(place.max(initial=-1)) + 1
        delta = np.zeros((n, places, options.delta.shape[1]))
        delta[row, place] = options.delta[kept]
        of_feature = np.zeros((n, places), dtype=np.int64)
        of_feature[row, place] = feature
        cheapest = np.full(n, np.inf)
        np.minimum.at(cheapest, row, options.cost[kept])
        most = np.minimum(np.floor(options.budget / cheapest + 1e-9), len(features)).astype(np.int64)
        return cls(
            delta=torch.as_tensor(delta, device=device),
            feature=torch.as_tensor(of_feature, device=device),
            most=torch.as_tensor(most, device=device),
        )

    def gain(self, image: Tensor) -> Tensor:
        """The most that swaps add to each of s linear forms, (n, s), given what each option adds, (n, p, s).

        Per feature its best option or none; of these the best `most`. Exact for equal costs, else an upper bound.
        """
        n, _, forms = image.shape
        features = int(self.feature.max()) + 1 if self.feature.numel() else 0
        best = torch.zeros((n, features, forms), dtype=image.dtype, device=image.device)
        where = self.feature[:, :, None].expand_as(image)
        best = best.scatter_reduce(1, where, image, reduce="amax", include_self=True)
        at_once = min(int(self.most.max()), features) if features else 0
        if at_once == 0:
            return torch.zeros((n, forms), dtype=image.dtype, device=image.device)
        ordered = best.topk(at_once, dim=1).values
        allowed = torch.arange(at_once, device=image.device)[None] < self.most[:, None]
        return (ordered * allowed[:, :, None]).sum(dim=1)

    def select(self, rows: Tensor) -> "Swaps":
        return Swaps(delta=self.delta[rows], feature=self.feature[rows], most=self.most[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """Network inputs centre ± radius, both (n, width), plus at most so many swaps."""

    centre: Tensor
    radius: Tensor
    swaps: Swaps | None = None

    def __len__(self) -> int:
        return len(self.centre)

    @property
    def size(self) -> Tensor:
        """The largest absolute value of every input, (n, width)."""
        size = self.centre.abs() + self.radius
        if self.swaps is None or self.swaps.delta.shape[1] == 0:
            return size
        return size + self.swaps.most[:, None] * self.swaps.delta.abs().amax(dim=1)

    def lowest(self, forms: Tensor) -> Tensor:
        """The least value of s linear forms, (n, s), over the region; forms (n, s, width)."""
        box = (forms @ self.centre[:, :, None] - forms.abs() @ self.radius[:, :, None])[:, :, 0]
        if self.swaps is None:
            return box
        return box - self.swaps.gain(-self.swaps.delta @ forms.transpose(1, 2))

    def halves(self, cell: Tensor) -> "Region":
        """The lower halves and then the upper halves, cut in the middle of one cell a row, (n,)."""
        half = self.radius.scatter(1, cell[:, None], self.radius.gather(1, cell[:, None]) / 2)
        shift = self.radius - half
        swaps = None if self.swaps is None else self.swaps.select(torch.arange(len(self)).repeat(2))
        return Region(
            centre=torch.cat([self.centre - shift, self.centre + shift]), radius=half.repeat(2, 1), swaps=swaps
        )

    def select(self, rows: Tensor) -> "Region":
        return Region(
            centre=self.centre[rows],
            radius=self.radius[rows],
            swaps=None if self.swaps is None else self.swaps.select(rows),
        )
