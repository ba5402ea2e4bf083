"""The reference: what it stores, and what it takes for normal."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitor.drift import Binning, FalseAlarmBudget, Profile, Reference
from monitor.drift.bins import BinKind, FeatureBins
from monitor.drift.directions import Movement, directions
from monitor.drift.dispersion import fit_dispersion
from monitor.drift.season import Cycle, cycle_of
from monitor.drift.tails import ScaleTail, indicator_deviate
from monitor.errors import BadInput, NotEnoughData
from monitor.schema import Schema
from monitor.windows import Window

START = datetime(2026, 1, 5, tzinfo=UTC)
RANGES = FeatureBins(name="x", kind=BinKind.RANGES, edges=tuple(np.linspace(-2, 2, 20)))


def _days(count: int, *, width: timedelta = timedelta(days=1)) -> list[Window]:
    return [Window(START + i * width, START + (i + 1) * width) for i in range(count)]


def _frame(seed: int, rows: int = 200, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(shift, 1, rows), "c": rng.choice(["a", "b", "d"], rows, p=[0.5, 0.3, 0.2])})


def _entries(count: int, *, rows: int = 200, season: float = 0.0) -> list[tuple[Window, pd.DataFrame]]:
    weekend = [season * (window.start.weekday() >= 5) for window in _days(count)]
    return [(w, _frame(i, rows, weekend[i])) for i, w in enumerate(_days(count))]


def _fit(count: int, **options) -> Reference:
    entries = _entries(count, **options)
    return Reference.fit(entries, schema=Schema.infer(entries[0][1]))


def test_directions_have_mean_zero_and_variance_one_under_the_reference():
    counts = np.random.default_rng(0).integers(20, 400, RANGES.size)
    found = directions(RANGES, counts)
    np.testing.assert_allclose(found.proportions @ found.matrix, 0, atol=1e-12)
    np.testing.assert_allclose(found.proportions @ found.matrix**2, 1, atol=1e-12)
    polynomials = found.matrix[:, :4]
    np.testing.assert_allclose((found.proportions[:, None] * polynomials).T @ polynomials, np.eye(4), atol=1e-9)


def test_a_shift_of_a_quarter_sigma_reads_as_a_location_of_a_quarter():
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=100_000)})
    binning = Binning.fit(frame)
    found = directions(binning["x"], Profile.of(frame, binning).counts)
    shifted = Profile.of(frame + 0.25, binning).counts / len(frame)
    assert shifted @ found.matrix[:, found.find(Movement.LOCATION)] == pytest.approx(0.25, abs=0.01)


def test_the_weights_of_a_lane_sum_to_one_whatever_was_dropped():
    for bins, counts in (
        (RANGES, np.full(RANGES.size, 50)),
        (FeatureBins(name="x", kind=BinKind.RANGES, edges=(0.0,)), np.array([30, 70, 0])),
        (FeatureBins(name="b", kind=BinKind.VALUES, edges=(0.0, 1.0)), np.array([30, 70, 0, 0])),
    ):
        found = directions(bins, counts)
        assert (found.weights.sum(), found.window_weights.sum()) == (pytest.approx(1), pytest.approx(1))


def test_a_level_that_complements_the_others_is_dropped():
    bins = FeatureBins(name="b", kind=BinKind.VALUES, edges=(0.0, 1.0))
    found = directions(bins, np.array([30, 70, 0, 0]))
    assert found.bins_of == ((3,), (2,), (1,))  # missing, unseen, and one of the two values


@pytest.mark.parametrize(
    ("width", "count", "cycle"),
    [
        (timedelta(days=1), 27, Cycle.NONE),
        (timedelta(days=1), 28, Cycle.DAY_OF_WEEK),
        (timedelta(days=7), 60, Cycle.NONE),
        (timedelta(hours=1), 24 * 56, Cycle.HOUR_OF_WEEK),
        (timedelta(hours=4), 6 * 30, Cycle.DAY_PART),
    ],
)
def test_the_cycle_follows_the_width_and_the_span(width, count, cycle):
    assert cycle_of(_days(count, width=width)) is cycle


def test_a_weekend_effect_is_found_and_its_absence_too():
    normal = _fit(56, season=0.5).normal
    location = int(normal.spans[0]) + normal.directions[0].find(Movement.LOCATION)
    offsets = normal.usual.season.offsets[:, location]
    np.testing.assert_allclose(offsets, [-1 / 7] * 5 + [2.5 / 7] * 2, atol=0.08)
    assert not _fit(56).normal.usual.season.is_on.any()


def test_the_day_effect_and_its_autocorrelation_are_recovered():
    rng = np.random.default_rng(0)
    days, width, tau, rho = 400, 60, 0.1, 0.6
    effect = np.zeros((days, width))
    for t in range(1, days):
        effect[t] = rho * effect[t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=width)
    means = tau * effect + rng.normal(size=(days, width)) / np.sqrt(1_000)
    fitted = fit_dispersion(
        means - means.mean(axis=0),
        np.full(days, 1_000.0),
        groups=np.zeros(width, np.int64),
        pooling=np.ones(width),
        season_on=np.zeros(width, np.bool_),
        buckets=np.zeros(days, np.int64),
    )
    assert fitted.rho == pytest.approx(rho, abs=0.051)
    assert fitted.tau2.mean() == pytest.approx(tau**2, rel=0.1)
    assert fitted.beyond_rows(4).mean() > fitted.beyond_rows(16).mean() > 0


def test_pure_sampling_has_no_day_effect():
    dispersion = _fit(56).normal.usual.dispersion
    assert dispersion.rho == 0.0
    assert dispersion.v.mean() == pytest.approx(1 / 200, rel=0.15)


def test_the_tail_of_a_rare_share_is_that_of_the_negative_binomial():
    q, n, variance = 0.01, 500.0, 0.004
    size, hits = q**2 / (q * (1 - q) * (variance - 1 / n)), 14
    tail = stats.nbinom.sf(hits - 1, size, size / (size + n * q))
    sd = np.sqrt(q * (1 - q))
    z = indicator_deviate(*(np.array([v]) for v in ((hits / n - q) / sd, q, sd, variance, n)))
    assert stats.norm.sf(z[0]) == pytest.approx(tail, rel=1e-6)


def test_the_tail_of_a_common_share_is_close_to_the_binomial_one():
    q, n, hits = 0.3, 400.0, 160
    sd = np.sqrt(q * (1 - q))
    z = indicator_deviate(*(np.array([v]) for v in ((hits / n - q) / sd, q, sd, 1 / n, n)))
    assert stats.norm.sf(z[0]) == pytest.approx(stats.binom.sf(hits - 1, n, q), rel=0.5)


def test_the_saddle_point_tail_of_a_scale_agrees_with_simulation():
    rng = np.random.default_rng(0)
    found = directions(RANGES, np.full(RANGES.size, 100))
    a = found.matrix[:, found.find(Movement.SCALE)]
    n, x = 50, 0.35
    means = rng.multinomial(n, found.proportions, 200_000) @ a / n
    z = ScaleTail(a, found.proportions).deviate(x, 1 / n, n)
    assert stats.norm.sf(z) == pytest.approx(np.mean(means >= x), rel=0.15)


def test_it_can_be_fitted_from_profiles_alone():
    entries = _entries(20)
    schema = Schema.infer(entries[0][1])
    whole = Reference.fit(entries, schema=schema)
    again = Reference.from_profiles(
        list(zip(whole.windows, whole.profiles, strict=True)), schema=schema, binning=whole.binning
    )
    assert again.reference_id == whole.reference_id
    np.testing.assert_array_equal(again.normal.usual.mean, whole.normal.usual.mean)


def test_its_document_is_json_and_comes_back_exactly():
    reference = _fit(20)
    again = Reference.from_document(json.loads(json.dumps(reference.to_document())))
    assert again.reference_id == reference.reference_id
    np.testing.assert_array_equal(again.normal.usual.dispersion.v, reference.normal.usual.dispersion.v)
    with pytest.raises(BadInput, match="expected a reference document"):
        Reference.from_document({"windows": []})


def test_windows_of_too_few_rows_are_merged_into_the_next():
    entries = _entries(20, rows=30)
    reference = Reference.fit(entries, schema=Schema.infer(entries[0][1]))
    assert (len(reference.windows), reference.rows) == (10, 600)
    assert reference.windows[0].width == timedelta(days=2)


def test_it_says_how_many_windows_are_missing():
    assert (_fit(10).windows_missing, _fit(14, rows=60).windows_missing, _fit(14).is_sufficient) == (4, 3, True)


def test_a_reference_without_rows_is_refused():
    with pytest.raises(NotEnoughData, match="send good rows first"):
        Reference.fit([], schema=Schema.infer(_frame(0)))


def test_profiles_of_other_features_are_refused():
    reference = _fit(14)
    with pytest.raises(BadInput, match="expected a binning of x, got one of x, c"):
        Reference.from_profiles([], schema=Schema.infer(_frame(0)[["x"]]), binning=reference.binning)


def test_a_budget_is_turned_into_windows_and_never_below_thirty():
    assert FalseAlarmBudget(incidents=2, per_days=365).ticks(timedelta(days=1)) == 182.5
    assert FalseAlarmBudget(incidents=1, per_days=90).ticks(timedelta(days=7)) == 30
    assert FalseAlarmBudget.for_fleet(incidents_per_week=1, models=50).ticks(timedelta(hours=1)) == 50 * 168
    with pytest.raises(BadInput):
        FalseAlarmBudget(incidents=0)
