"""Where the inputs of a network may lie: a box, and a few swaps out of a list."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import BadInput
from monitor.schema import FloatArray

_TINY = 1e-9


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
    """Swap options laid out by row: `delta` (n, p, width) at a `cost` (n, p), which within a row add to `budget` (n,).

    The places of a feature stand together: those of the f-th end before `ends[f]`. Empty places change nothing and cost
    infinity. At most `most` (n,) = ⌊budget / smallest cost⌋ can be taken at once.
    """

    delta: Tensor
    cost: Tensor
    ends: tuple[int, ...]
    budget: Tensor
    most: Tensor

    @classmethod
    def of(cls, options: SwapOptions, device: torch.device) -> "Swaps | None":
        """Lay the list out by row; None when no row can take any."""
        n, order = len(options.budget), np.lexsort((options.feature, options.row))
        row, (features, feature) = options.row[order], np.unique(options.feature[order], return_inverse=True)
        place, ends = _places(row, feature, n, len(features))
        delta = np.zeros((n, ends[-1] if ends else 0, options.delta.shape[1]))
        cost = np.full(delta.shape[:2], np.inf)
        delta[row, place], cost[row, place] = options.delta[order], options.cost[order]
        return cls.within(*(torch.as_tensor(a, device=device) for a in (delta, cost, options.budget)), ends=ends)

    @classmethod
    def within(cls, delta: Tensor, cost: Tensor, budget: Tensor, *, ends: tuple[int, ...]) -> "Swaps | None":
        """The options that each row's budget allows; None when there is none."""
        able = cost <= budget[:, None] + _TINY
        if not bool(able.any()):
            return None
        cost = torch.where(able, cost, torch.inf)
        most = torch.floor(budget / cost.amin(dim=1) + _TINY).clamp(max=len(ends)).long()
        return cls(delta=torch.where(able[:, :, None], delta, 0.0), cost=cost, ends=ends, budget=budget, most=most)

    @property
    def options(self) -> Tensor:
        """Which places hold an option, (n, p)."""
        return torch.isfinite(self.cost)

    def gain(self, image: Tensor) -> Tensor:
        """The most that swaps add to each of s linear forms, (n, s), given what each option adds, (n, p, s).

        Per feature its best option or none; of these the best `most`. Exact for equal costs, else an upper bound.
        """
        at_once = int(self.most.max()) if len(self.most) else 0
        if at_once == 0:
            return torch.zeros((len(image), image.shape[2]), dtype=image.dtype, device=image.device)
        if at_once == 1:
            return image.amax(dim=1).clamp(min=0) * self.most[:, None]
        best = torch.stack([image[:, a:b].amax(dim=1).clamp(min=0) for a, b in pairwise((0, *self.ends))], dim=1)
        ordered = best.topk(at_once, dim=1).values
        allowed = torch.arange(at_once, device=image.device)[None] < self.most[:, None]
        return (ordered * allowed[:, :, None]).sum(dim=1)

    def after(self, f: int, rows: Tensor, places: Tensor) -> "Swaps | None":
        """What rows may still take of later features once they took an option of the f-th; None for nothing."""
        end = self.ends[f]
        return Swaps.within(
            self.delta[rows, end:],
            self.cost[rows, end:],
            self.budget[rows] - self.cost[rows, places],
            ends=tuple(later - end for later in self.ends[f + 1 :]),
        )

    def select(self, rows: Tensor) -> "Swaps":
        """The same for some of the rows."""
        return Swaps(
            delta=self.delta[rows],
            cost=self.cost[rows],
            ends=self.ends,
            budget=self.budget[rows],
            most=self.most[rows],
        )


def _places(
    row: NDArray[np.int_], feature: NDArray[np.int_], n: int, features: int
) -> tuple[NDArray[np.int_], tuple[int, ...]]:
    """Where each option stands, given in the order of rows and features, and where each feature's places end."""
    group = row * max(features, 1) + feature
    within = np.arange(len(group)) - np.searchsorted(group, group)
    longest = np.zeros(features, dtype=int)
    np.maximum.at(longest, feature, within + 1)
    ends = np.cumsum(longest)
    return (ends - longest)[feature] + within, tuple(int(end) for end in ends)


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
        if self.swaps is None:
            return size
        return size + self.swaps.most[:, None] * self.swaps.delta.abs().amax(dim=1)

    def lowest(self, forms: Tensor) -> Tensor:
        """The least value of s linear forms, (n, s), over the region; forms (n, s, width)."""
        box = (forms @ self.centre[:, :, None] - forms.abs() @ self.radius[:, :, None])[:, :, 0]
        if self.swaps is None:
            return box
        return box - self.swaps.gain(-self.swaps.delta @ forms.transpose(1, 2))

    def corner(self, form: Tensor) -> Tensor:
        """A point (n, width) where one linear form a row, (n, width), is low: the box's lowest, and its best swap."""
        corner = self.centre - self.radius * torch.sign(form)
        if self.swaps is None:
            return corner
        change = (self.swaps.delta @ form[:, :, None])[:, :, 0]
        best = self.swaps.delta[torch.arange(len(form), device=form.device), change.argmin(dim=1)]
        return torch.where((change.amin(dim=1) < 0)[:, None], corner + best, corner)

    def after_each_swap(self, start: Tensor) -> Iterator[tuple[Tensor, Tensor, "Region"]]:
        """For the options of each feature: whose they are (m,), `start` (m, width) after each, and the region there.

        An option leads to what may still be taken of later features, so that every set of swaps is met once.
        """
        if self.swaps is None:
            return
        for f, (begin, end) in enumerate(pairwise((0, *self.swaps.ends))):
            owner, place = torch.nonzero(self.swaps.options[:, begin:end], as_tuple=True)
            if len(owner):
                delta = self.swaps.delta[owner, begin + place]
                swaps = self.swaps.after(f, owner, begin + place)
                part = Region(centre=self.centre[owner] + delta, radius=self.radius[owner], swaps=swaps)
                yield owner, start[owner] + delta, part

    def halves(self, cell: Tensor) -> "Region":
        """The lower halves of a box and then the upper ones, cut in the middle of one cell a row, (n,)."""
        half = self.radius.scatter(1, cell[:, None], self.radius.gather(1, cell[:, None]) / 2)
        shift = self.radius - half
        return Region(centre=torch.cat([self.centre - shift, self.centre + shift]), radius=half.repeat(2, 1))

    def select(self, rows: Tensor) -> "Region":
        return Region(
            centre=self.centre[rows],
            radius=self.radius[rows],
            swaps=None if self.swaps is None else self.swaps.select(rows),
        )
