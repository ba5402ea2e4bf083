"""The confidence sequence keeps its promise at every moment at once; an interval made for one look does not."""

import math

import numpy as np
import pytest

from monitor.errors import BadInput
from monitor.performance.confidence_sequence import ConfidenceSequence

STREAMS, ROWS = 1_200, 1_500


def _streams(kind: str) -> tuple[np.ndarray, float]:
    """Differences of two losses in [−1, 1], shape (STREAMS, ROWS), and their true mean."""
    rng = np.random.default_rng(7)
    if kind == "no difference":
        return rng.choice([-1.0, 0.0, 1.0], (STREAMS, ROWS), p=[0.05, 0.9, 0.05]), 0.0
    if kind == "rare and large":
        return rng.choice([0.0, 1.0], (STREAMS, ROWS), p=[0.98, 0.02]), 0.02
    return np.clip(rng.normal(0.1, 0.2, (STREAMS, ROWS)), -1, 1), 0.1


def _naive(stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of one look, made after each row from the thirtieth on."""
    n = np.arange(1, len(stream) + 1)
    mean = np.cumsum(stream) / n
    spread = np.sqrt(np.maximum(np.cumsum(stream**2) / n - mean**2, 0))
    half = 1.96 * spread / np.sqrt(n)
    return (mean - half)[29:], (mean + half)[29:]


@pytest.mark.parametrize("kind", ["no difference", "rare and large", "small and dense"])
def test_whoever_stops_when_it_suits_them_is_wrong_in_at_most_one_of_twenty(kind: str):
    streams, mean = _streams(kind)
    begun = ConfidenceSequence(lower=-1, upper=1)
    missed = sum(bool((low > mean).any() or (high < mean).any()) for low, high in map(begun.path, streams))
    assert missed <= STREAMS * 0.05
    naive = sum(bool((low > mean).any() or (high < mean).any()) for low, high in map(_naive, streams))
    assert naive > STREAMS * 0.2


def test_it_closes_in_on_the_mean():
    values = np.random.default_rng(1).choice([0.0, 1.0], 100_000, p=[0.9, 0.1]) - 0.0
    low, high = ConfidenceSequence().update(values).interval
    assert low < 0.1 < high
    assert high - low < 0.012


def test_it_is_the_published_formula():
    values = np.random.default_rng(2).uniform(size=40)
    alpha, total, squares, bets, won, slack = 0.05, 0.0, 0.0, 0.0, 0.0, 0.0
    mean = 0.5
    for i, x in enumerate(values, start=1):
        bet = min(0.5, math.sqrt(2 * math.log(2 / alpha) / ((0.25 + squares) / i * i * math.log(1 + i))))
        bets, won = bets + bet, won + bet * x
        slack += 4 * (x - mean) ** 2 * (-math.log(1 - bet) - bet) / 4
        total += x
        mean = (0.5 + total) / (i + 1)
        squares += (x - mean) ** 2
    half = (math.log(2 / alpha) + slack) / bets
    by_hand = (max(0.0, won / bets - half), min(1.0, won / bets + half))
    assert ConfidenceSequence().update(values).interval == pytest.approx(by_hand)


def test_going_on_is_the_same_as_beginning_anew():
    values = np.random.default_rng(3).uniform(-1, 1, 500)
    begun = ConfidenceSequence(lower=-1, upper=1)
    parts = begun
    for part in np.split(values, [1, 7, 200]):
        parts = ConfidenceSequence.from_document(parts.update(part).to_document())
    whole = begun.update(values)
    assert parts.interval == pytest.approx(whole.interval)
    assert parts.mean == pytest.approx(values.mean())
    low, high = begun.path(values)
    assert (low[-1], high[-1]) == pytest.approx(whole.interval)


def test_before_the_first_value_everything_is_possible_and_others_are_refused():
    begun = ConfidenceSequence(lower=-1, upper=1)
    assert begun.update([]).interval == (-1.0, 1.0)
    for wrong in ([1.01], [np.nan], [[0.0]]):
        with pytest.raises(BadInput):
            begun.update(wrong)
