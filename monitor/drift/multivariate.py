"""Two-sample scores of all features together: maximum mean discrepancy, and a classifier of the two sides.

Both take encoded rows (n, d) as `schema.encode` gives, with missing values as NaN, and see what no single feature
shows, such as a correlation that went. As all conventional scores they take rows for independent, and so describe; the
detector's own multivariate stream keeps a false-alarm rate.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from monitor.drift.placing import BoolArray, FloatArray, IntArray
from monitor.drift.scores import Score, ScoreStatus
from monitor.errors import BadInput

MAX_ROWS = 2_000  # of each side that MMD looks at: its cost grows with the square
MAX_CLASSIFIED = 20_000  # of each side that the classifier learns from
PERMUTATIONS = 500
_BANDWIDTH_ROWS = 500
_FOLDS = 5
_BLOCK = 256  # rows of the kernel matrix held at once


def mmd(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    bandwidth: float | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    threshold: float | None = None,
) -> Score:
    """Maximum mean discrepancy MMD²_u, unbiased, with the kernel exp(−‖x − y‖²/2σ²); it may be slightly negative.

    Numbers are put into reference medians and interquartile ranges first, so that no unit dominates; a missing value
    is the median. At most 2,000 seeded rows of a side are used, and the kernel matrix is summed by blocks and never
    held. p is that of a permutation test, (1 + permutations at least as large) / (1 + permutations).

    Args:
        reference: encoded rows, shape (n, d).
        current: encoded rows, shape (m, d).
        bandwidth: σ; without it the median distance between rows of both sides.
        permutations: how many; 0 gives no p.
        seed: of the rows and the permutations.
        threshold: the customary one.

    Source: Gretton et al., "A kernel two-sample test", 2012, eq. 3 and section 8.

    >>> rng = np.random.default_rng(0)
    >>> score = mmd(rng.normal(size=(300, 3)), rng.normal(size=(300, 3)) + [1, 0, 0])
    >>> score.p_value < 0.01
    True
    """
    a, b = _rows(reference, current)
    if min(len(a), len(b)) < 2:
        return _unread("mmd", a, b, threshold, ScoreStatus.INSUFFICIENT)
    rng = np.random.default_rng(seed)
    chosen = _drawn(a, MAX_ROWS, rng), _drawn(b, MAX_ROWS, rng)
    pooled = _standardised(*chosen)
    sigma = _median_distance(pooled, rng) if bandwidth is None else bandwidth
    if sigma <= 0:
        return _unread("mmd", a, b, threshold, ScoreStatus.CONSTANT)
    first = np.arange(len(pooled)) < len(chosen[0])
    memberships = np.array([first, *(rng.permutation(first) for _ in range(permutations))])
    values = _mmd_of(pooled, memberships, sigma)
    p = float((1 + np.sum(values[1:] >= values[0])) / (1 + permutations)) if permutations else None
    return _score("mmd", float(values[0]), p, float(np.sqrt(max(values[0], 0.0))), a, b, threshold)


def domain_classifier(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    model: str = "boosting",
    seed: int = 0,
    threshold: float | None = None,
) -> Score:
    """AUC with which a classifier, five-fold cross-validated, tells the two sides apart; .5 is not at all.

    The effect is 2·AUC − 1. p is one-sided, of Mann–Whitney against AUC ≤ .5 on the held-out scores; as the five
    models share rows, it is approximate. At most 20,000 seeded rows of a side are used, equally many of both.

    Args:
        reference: encoded rows, shape (n, d).
        current: encoded rows, shape (m, d).
        model: `boosting` (histogram gradient boosting, sees interactions) or `logistic` (on standardised rows).
        seed: of rows, folds and model.
        threshold: the customary one.

    Source: Lopez-Paz & Oquab, "Revisiting classifier two-sample tests", 2017.

    >>> rng = np.random.default_rng(0)
    >>> score = domain_classifier(rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + [2, 0], model="logistic")
    >>> round(score.statistic, 1), score.p_value < 1e-9
    (0.9, True)
    """
    a, b = _rows(reference, current)
    if min(len(a), len(b)) < 2 * _FOLDS:
        return _unread("domain_classifier", a, b, threshold, ScoreStatus.INSUFFICIENT)
    rng = np.random.default_rng(seed)
    size = min(len(a), len(b), MAX_CLASSIFIED)
    sides = _drawn(a, size, rng), _drawn(b, size, rng)
    rows = _standardised(*sides) if model == "logistic" else np.concatenate(sides)
    held_out = _held_out_scores(rows, np.repeat([0, 1], size), model, seed)
    result = stats.mannwhitneyu(held_out[size:], held_out[:size], alternative="greater")
    auc = float(result.statistic) / size**2
    return _score("domain_classifier", auc, float(result.pvalue), 2 * auc - 1, a, b, threshold)


def _rows(reference: ArrayLike, current: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.shape[1] == 0:
        raise BadInput(f"expected rows of the same features on both sides, got shapes {a.shape} and {b.shape}")
    return a, b


def _drawn(rows: FloatArray, most: int, rng: np.random.Generator) -> FloatArray:
    return rows if len(rows) <= most else rows[np.sort(rng.choice(len(rows), most, replace=False))]


def _standardised(a: FloatArray, b: FloatArray) -> FloatArray:
    """Both sides in reference medians and interquartile ranges (standard deviations where these are 0)."""
    known = np.where(np.isfinite(a), a, np.nan)
    known[:, np.isnan(known).all(axis=0)] = 0.0
    low, middle, high = np.nanquantile(known, [0.25, 0.5, 0.75], axis=0)
    spread = np.where(high > low, (high - low) / 1.349, np.nanstd(known, axis=0))
    pooled = np.concatenate([a, b])
    scaled = (np.where(np.isfinite(pooled), pooled, middle) - middle) / np.where(spread > 0, spread, 1.0)
    return np.asarray(scaled, dtype=np.float64)


def _median_distance(rows: FloatArray, rng: np.random.Generator) -> float:
    few = _drawn(rows, _BANDWIDTH_ROWS, rng)
    above = np.triu_indices(len(few), 1)
    return float(np.median(np.sqrt(_squared_distances(few, few)[above])))


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    squares: FloatArray = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.maximum(squares, 0.0, out=squares)


def _kernel_blocks(rows: FloatArray, sigma: float) -> Iterator[tuple[slice, FloatArray]]:
    """The kernel matrix by blocks of rows, its diagonal set to 0."""
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(rows)))
        kernel = np.exp(_squared_distances(rows[block], rows) / (-2 * sigma**2))
        kernel[np.arange(len(kernel)), np.arange(block.start, block.stop)] = 0.0
        yield block, kernel


def _mmd_of(rows: FloatArray, memberships: BoolArray, sigma: float) -> FloatArray:
    """MMD²_u for each way to call some of the rows the first side, shape (ways,); every way takes equally many."""
    first = memberships.astype(np.float64)
    n, m = int(memberships[0].sum()), int((~memberships[0]).sum())
    within, edges = np.zeros(len(first)), np.zeros(len(rows))
    with threadpool_limits(1):
        for block, kernel in _kernel_blocks(rows, sigma):
            edges[block] = kernel.sum(axis=1)
            within += ((first[:, block] @ kernel) * first).sum(axis=1)
    total = float(edges.sum())
    touching = first @ edges  # Σ of the kernel over pairs with one end in the first side, both ends counted
    across = touching - within
    others = total - within - 2 * across
    return within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * across / (n * m)


def _held_out_scores(rows: FloatArray, side: IntArray, model: str, seed: int) -> FloatArray:
    # Imported here: scikit-learn costs half a second that no other score needs.
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    if model == "boosting":
        chosen = HistGradientBoostingClassifier(max_iter=50, random_state=seed)
    elif model == "logistic":
        chosen = LogisticRegression(max_iter=1_000)
    else:
        raise BadInput(f"expected a model of boosting or logistic, got {model!r}")
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):  # the threads of BLAS and OpenMP spin, which costs tenfold on a busy machine
        scores = cross_val_predict(chosen, rows, side, cv=folds, method="decision_function")
    return np.asarray(scores, dtype=np.float64)


def _score(
    method: str, statistic: float, p: float | None, effect: float, a: FloatArray, b: FloatArray, threshold: float | None
) -> Score:
    return Score(
        statistic=statistic,
        p_value=p,
        effect=effect,
        threshold=threshold,
        n_reference=len(a),
        n_current=len(b),
        method=method,
    )


def _unread(method: str, a: FloatArray, b: FloatArray, threshold: float | None, status: ScoreStatus) -> Score:
    return Score(
        statistic=0.0,
        p_value=None,
        effect=0.0,
        threshold=threshold,
        n_reference=len(a),
        n_current=len(b),
        method=method,
        status=status,
    )
