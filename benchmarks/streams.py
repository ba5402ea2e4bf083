"""Generated streams of the detection benchmark: stationary worlds to be silent on, and drifts to be found.

Every world has 20 features and daily windows. A day effect is AR(1) with spread τ (in σ) and autocorrelation ρ in each
feature; the season is s·sin(2πt/7 + 1) on the first five. Drift starts 14 windows after the reference.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from monitor.windows import Window

FEATURES = 20
SEASONAL = 5
MISSING = 0.01
CALM = 14  # monitored windows before a drift starts
START = datetime(2026, 1, 5, tzinfo=UTC)
MIXED_TAUS = (0.0, 0.03, 0.1, 0.2)
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class World:
    """What is normal.

    Attributes:
        tau, rho, season: of the day effects; `mixed` draws each feature's τ from `MIXED_TAUS`.
        common: share of the day effect's variance that all features have in common.
        weekend: factor of the rows on Saturdays and Sundays.
        marginal: normal, lognormal, student3, zeros, levels9, levels33 or table (16 normal, 4 of six levels).
        correlation: of the first and second feature, and of the third and fourth.
    """

    name: str
    tau: float = 0.0
    rho: float = 0.0
    season: float = 0.0
    mixed: bool = False
    common: float = 0.0
    weekend: float = 1.0
    marginal: str = "table"
    rows: int = 1_000
    reference_windows: int = 56
    correlation: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What changes, in the first `features` features that it applies to, from window `CALM` of monitoring on.

    `kind` is mean, scale, shape, tails, mix, missing, correlation, subgroup, gradual or recurring; `size` is in σ, or
    the share that moves, or the new correlation of the first two features.
    """

    kind: str
    size: float
    features: int = 1

    @property
    def name(self) -> str:
        return f"{self.kind} {self.size:g} × {self.features}"


@dataclass(frozen=True, kw_only=True)
class Made:
    """One year (or less) of a world: raw rows a window, with the windows' times."""

    world: World
    drift: Drift | None
    windows: tuple[Window, ...]
    frames: tuple[pd.DataFrame, ...]
    moved: tuple[str, ...]

    @property
    def reference(self) -> list[tuple[Window, pd.DataFrame]]:
        return list(zip(self.windows, self.frames, strict=True))[: self.world.reference_windows]

    @property
    def monitored(self) -> list[tuple[Window, pd.DataFrame]]:
        return list(zip(self.windows, self.frames, strict=True))[self.world.reference_windows :]


DAY_SEASON = World(name="day + season", tau=0.05, rho=0.5, season=0.2)
NULLS = (
    World(name="iid"),
    World(name="day", tau=0.05, rho=0.5),
    DAY_SEASON,
    World(name="heavy", tau=0.1, rho=0.7, season=0.2),
    World(name="mixed", rho=0.5, season=0.2, mixed=True),
    replace(DAY_SEASON, name="common factor", common=0.7),
    replace(DAY_SEASON, name="weekend × .4", weekend=0.4),
    World(name="iid, 100 rows", rows=100),
    replace(DAY_SEASON, name="day + season, 100 rows", rows=100),
    replace(DAY_SEASON, name="day + season, 28 windows", reference_windows=28),
    replace(DAY_SEASON, name="lognormal", marginal="lognormal"),
    replace(DAY_SEASON, name="student 3", marginal="student3"),
    replace(DAY_SEASON, name="60 % zeros", marginal="zeros"),
    replace(DAY_SEASON, name="9 levels", marginal="levels9"),
    replace(DAY_SEASON, name="33 levels", marginal="levels33"),
)  # fmt: skip
DRIFTS = tuple(
    Drift(kind=kind, size=size, features=features)
    for kind, size, features in (
        *(("mean", size, features) for size in (0.1, 0.25, 0.5) for features in (1, 5, FEATURES)),
        ("scale", 0.2, 1), ("scale", 0.2, 5), ("shape", 0.5, 1), ("tails", 0.02, 1), ("mix", 0.05, 1),
        ("missing", 0.02, 1), ("subgroup", 0.05, 1), ("gradual", 0.5, 1), ("recurring", 0.5, 1),
    )
)  # fmt: skip
CORRELATED = World(name="correlated", correlation=0.44)
DECORRELATION = Drift(kind="correlation", size=0.26, features=2)


def make(world: World, seed: int, *, monitored: int = 365, drift: Drift | None = None) -> Made:
    """Draw the rows of a world, the same for the same seed."""
    rng = np.random.default_rng([seed, 77])
    windows = tuple(
        Window(START + timedelta(days=i), START + timedelta(days=i + 1))
        for i in range(world.reference_windows + monitored)
    )
    effects = _day_effects(world, len(windows), rng)
    marginals = _marginals(world)
    frames, moved = [], _moved(drift, marginals)
    for t, effect in enumerate(effects):
        rows = round(world.rows * (world.weekend if windows[t].start.weekday() >= 5 else 1.0))
        frames.append(_window(world, marginals, effect, rows, drift, t - world.reference_windows - CALM, rng))
    return Made(world=world, drift=drift, windows=windows, frames=tuple(frames), moved=moved)


def names(world: World) -> tuple[list[str], list[str]]:
    """The numeric and the categorical features."""
    labels = [_label(j, kind) for j, kind in enumerate(_marginals(world))]
    return [name for name in labels if name.startswith("x")], [name for name in labels if name.startswith("c")]


def _label(j: int, kind: str) -> str:
    return f"{'c' if kind.startswith('levels') else 'x'}{j:02d}"


def _marginals(world: World) -> tuple[str, ...]:
    """Of each feature; the tables' categoricals stand last, so that a drift of one feature is a numeric one."""
    if world.marginal == "table":
        return ("normal",) * 16 + ("levels6",) * 4
    return (world.marginal,) * FEATURES


def _moved(drift: Drift | None, marginals: tuple[str, ...]) -> tuple[str, ...]:
    if drift is None:
        return ()
    labels = [_label(j, kind) for j, kind in enumerate(marginals)]
    return tuple(labels[j] for j in _touched(drift))


def _touched(drift: Drift) -> list[int]:
    """Features that move: the eighth and its followers (the first five have a season); a mix is of the last."""
    if drift.kind == "correlation":
        return list(range(drift.features))
    first = 17 if drift.kind == "mix" else 7
    return [(first + k) % FEATURES for k in range(drift.features)]


def _day_effects(world: World, count: int, rng: np.random.Generator) -> FloatArray:
    noise = rng.normal(size=(count, FEATURES))
    if world.common:
        noise = np.sqrt(world.common) * rng.normal(size=(count, 1)) + np.sqrt(1 - world.common) * noise
    effects = noise.copy()
    for t in range(1, count):
        effects[t] = world.rho * effects[t - 1] + np.sqrt(1 - world.rho**2) * noise[t]
    tau = rng.choice(MIXED_TAUS, FEATURES) if world.mixed else np.full(FEATURES, world.tau)
    effects *= tau
    effects[:, :SEASONAL] += world.season * np.sin(2 * np.pi * np.arange(count) / 7 + 1)[:, None]
    return effects


def _window(
    world: World, marginals: tuple[str, ...], effect: FloatArray, rows: int, drift: Drift | None, since: int,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    on = drift is not None and _is_on(drift, since)
    latent = rng.normal(size=(rows, FEATURES))
    lost = on and drift is not None and drift.kind == "correlation"
    _bind(latent, (0, drift.size if lost and drift is not None else world.correlation), (2, world.correlation))
    touched = set(_touched(drift)) if on and drift is not None else set()
    columns: dict[str, Any] = {}
    for j, kind in enumerate(marginals):
        share = MISSING
        z, shift = latent[:, j], float(effect[j])
        if j in touched and drift is not None:
            z, shift, share = _drifted(drift, z, shift, since, rng)
        values = _REALISE[kind](z, shift, rng)
        gone = rng.random(rows) < share
        if kind.startswith("levels"):
            columns[_label(j, kind)] = pd.Categorical.from_codes(np.where(gone, -1, values), _LEVELS[kind])
        else:
            columns[_label(j, kind)] = np.where(gone, np.nan, values)
    return pd.DataFrame(columns)


def _is_on(drift: Drift, since: int) -> bool:
    if since < 0:
        return False
    return (since // 14) % 2 == 0 if drift.kind == "recurring" else True


def _bind(latent: FloatArray, *pairs: tuple[int, float]) -> None:
    """Correlate a column with its right neighbour."""
    for a, correlation in pairs:
        latent[:, a + 1] = correlation * latent[:, a] + np.sqrt(1 - correlation**2) * latent[:, a + 1]


def _drifted(
    drift: Drift, z: FloatArray, shift: float, since: int, rng: np.random.Generator
) -> tuple[FloatArray, float, float]:
    """The latent values, the shift and the missing share of a feature that moves."""
    if drift.kind in ("mean", "recurring", "mix"):
        return z, shift + (drift.size * 5 if drift.kind == "mix" else drift.size), MISSING
    if drift.kind == "gradual":
        return z, shift + drift.size * min((since + 1) / 30, 1.0), MISSING
    if drift.kind == "scale":
        return z * (1 + drift.size), shift, MISSING
    if drift.kind == "shape":  # skewed, mean and scale kept
        skewed = (np.exp(drift.size * z) - np.exp(drift.size**2 / 2)) / np.sqrt(
            (np.exp(drift.size**2) - 1) * np.exp(drift.size**2)
        )
        return skewed, shift, MISSING
    if drift.kind == "tails":
        return np.where(rng.random(z.size) < drift.size, np.sign(z) * (np.abs(z) + 3), z), shift, MISSING
    if drift.kind == "subgroup":
        return np.where(rng.random(z.size) < drift.size, z + 2, z), shift, MISSING
    if drift.kind == "missing":
        return z, shift, MISSING + drift.size
    return z, shift, MISSING


def _student3(z: FloatArray, shift: float, _rng: np.random.Generator) -> FloatArray:
    values: FloatArray = np.asarray(stdtrit(3, np.clip(ndtr(z), 1e-12, 1 - 1e-12)) + shift * np.sqrt(3.0))
    return values


def _zeros(z: FloatArray, shift: float, _rng: np.random.Generator) -> FloatArray:
    """Sixty percent zeros, the rest exponential: more or fewer of them and larger ones as the latent moves."""
    share = ndtr(z + shift)
    return np.where(share <= 0.6, 0.0, -np.log(np.maximum(1 - share, 1e-15) / 0.4))


def _levels(count: int) -> Callable[[FloatArray, float, np.random.Generator], NDArray[np.int64]]:
    shares = 1.0 / np.arange(1, count + 1)
    cuts = ndtri(np.cumsum(shares / shares.sum())[:-1])
    return lambda z, shift, _rng: np.searchsorted(cuts, z + shift)


_LOGNORMAL_SD = float(np.sqrt((np.e - 1) * np.e))
_REALISE: dict[str, Callable[[FloatArray, float, np.random.Generator], Any]] = {
    "normal": lambda z, shift, _rng: z + shift,
    "lognormal": lambda z, shift, _rng: np.exp(z) + shift * _LOGNORMAL_SD,
    "student3": _student3,
    "zeros": _zeros,
    "levels6": _levels(6),
    "levels9": _levels(9),
    "levels33": _levels(33),
}
_LEVELS = {f"levels{count}": [f"L{k:02d}" for k in range(count)] for count in (6, 9, 33)}
