"""Profiles: exact counts that add up, whatever the values are like."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift import Binning, Profile
from monitor.drift.bins import BinKind, FeatureBins
from monitor.drift.fit_bins import QUANTILES, SAMPLE
from monitor.errors import BadInput, SchemaMismatch
from monitor.schema import Feature, Kind, Schema


def _frame(rows: int = 2_000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    amount = rng.normal(size=rows)
    amount[rng.random(rows) < 0.02] = np.nan
    levels = rng.choice([f"l{i:02d}" for i in range(40)], rows, p=np.arange(1, 41) / 820)
    return pd.DataFrame({"amount": amount, "level": levels, "stars": rng.integers(1, 6, rows)})


def test_every_row_falls_into_exactly_one_bin_of_each_feature():
    frame = _frame()
    profile = Profile.of(frame, Binning.fit(frame))
    assert [int(profile.counts_of(name).sum()) for name in frame.columns] == [2_000] * 3
    assert profile.missing_share("amount") == frame.amount.isna().mean()


def test_ranges_are_open_on_the_left_and_closed_on_the_right():
    frame = _frame()
    bins = Binning.fit(frame)["amount"]
    edge = bins.edges[4]
    assert bins.place(np.array([edge, np.nextafter(edge, np.inf), np.nan, np.inf, -np.inf])).tolist() == [
        4,
        5,
        bins.missing,
        bins.value_bins - 1,
        0,
    ]


def test_a_value_that_repeats_among_the_quantiles_has_a_bin_of_its_own():
    frame = pd.DataFrame({"x": np.concatenate([np.zeros(600), np.random.default_rng(0).exponential(size=400)])})
    binning = Binning.fit(frame)
    near = np.array([[-1e-300], [0.0], [1e-300]])
    at, zero, above = (Profile.of(row[None, :], binning).counts.argmax() for row in near)
    assert at < zero < above
    assert Profile.of(frame, binning).counts[zero] == 600


def test_rare_and_unseen_levels_are_counted_apart():
    binning = Binning.fit(_frame())
    profile = Profile.of(pd.DataFrame({"level": ["l39", "l00", "new", None], "stars": [1, 9, 2, 3]}), binning)
    labels = binning["level"].labels
    assert {labels[b]: int(c) for b, c in enumerate(profile.counts_of("level")) if c} == {
        "l39": 1,
        "other": 1,
        "unseen": 1,
        "missing": 1,
    }
    assert (profile.unseen_share("level"), profile.unseen_share("stars"), profile.is_absent("amount")) == (
        0.25,
        0.25,
        True,
    )


def test_values_near_the_largest_float_add_up_to_no_mean_and_no_warning():
    binning = Binning.fit(pd.DataFrame({"x": np.linspace(0, 1, 200)}))
    high, low = (Profile.of(pd.DataFrame({"x": [v] * 4}), binning) for v in (1.7e308, -1.7e308))
    for profile in (high, high + low, Profile.of(pd.DataFrame({"x": [1e308, -1e308] * 500}), binning)):
        assert (profile.mean("x"), profile.std("x")) == (None, None)
        assert profile.counts_of("x").sum() == profile.rows
    assert Profile.from_bytes((high + low).to_bytes(), binning).mean("x") is None


def test_infinities_and_unparseable_values_are_counted_as_faults():
    frame = _frame()
    dirty = frame.astype({"amount": object})
    dirty.loc[0, "amount"], dirty.loc[1, "amount"], dirty.loc[2, "amount"] = "abc", np.inf, -np.inf
    profile = Profile.of(dirty, Binning.fit(frame))
    assert [profile.fault("amount", fault) for fault in ("unparsed", "positive_infinity", "negative_infinity")] == [
        1,
        1,
        1,
    ]
    assert np.isfinite(profile.mean("amount"))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2_000))
def test_halves_add_up_to_the_whole(cut):
    frame = _frame()
    binning = Binning.fit(frame)
    whole, merged = (
        Profile.of(frame, binning),
        Profile.of(frame[cut:], binning) + Profile.of(frame[:cut], binning),
    )
    assert (whole.rows, whole.counts.tolist(), whole.faults.tolist()) == (
        merged.rows,
        merged.counts.tolist(),
        merged.faults.tolist(),
    )
    np.testing.assert_allclose(merged.moments, whole.moments, rtol=1e-12, atol=1e-9)


def test_moments_and_quantiles_agree_with_numpy():
    frame = _frame(20_000)
    profile = Profile.of(frame, Binning.fit(frame))
    present = frame.amount.dropna()
    assert profile.mean("amount") == pytest.approx(present.mean())
    assert profile.std("amount") == pytest.approx(present.std(ddof=0))
    found = [profile.quantile("amount", q) for q in (0.02, 0.25, 0.5, 0.9)]
    np.testing.assert_allclose(found, present.quantile([0.02, 0.25, 0.5, 0.9]), atol=0.05)
    assert (profile.quantile("stars", 0.5), profile.quantile("level", 0.5)) == (frame.stars.median(), None)


def test_encoded_rows_and_the_frame_they_come_from_give_the_same_counts():
    frame = _frame()
    binning = Binning.fit(frame)
    encoded = Profile.of(binning.schema.encode(frame), binning)
    assert encoded.to_bytes() == Profile.of(frame, binning).to_bytes()


def test_bytes_come_back_exactly_and_only_with_their_own_binning():
    frame = _frame()
    binning = Binning.fit(frame)
    profile = Profile.of(frame, binning)
    again = Profile.from_bytes(profile.to_bytes(), Binning.from_document(binning.to_document()))
    assert again.to_bytes() == profile.to_bytes()
    with pytest.raises(BadInput, match="profile both with the same reference"):
        Profile.from_bytes(profile.to_bytes(), Binning.fit(_frame(seed=1)))
    with pytest.raises(BadInput, match="got something else"):
        Profile.from_bytes(b"nonsense", binning)


def test_profiles_of_two_binnings_do_not_add():
    a, b = _frame(seed=0), _frame(seed=1)
    with pytest.raises(BadInput):
        Profile.of(a, Binning.fit(a)) + Profile.of(b, Binning.fit(b))


def test_a_column_of_too_many_levels_is_only_present_or_missing():
    frame = pd.DataFrame({"text": [f"note {i}" for i in range(1_500)]})
    binning = Binning.fit(frame)
    profile = Profile.of(pd.DataFrame({"text": ["anything", None]}), binning)
    assert binning["text"].kind is BinKind.TEXT
    assert profile.counts.tolist() == [1, 0, 1]


def test_an_all_null_column_has_one_bin_for_values_and_one_for_their_lack():
    binning = Binning.fit(pd.DataFrame({"x": [np.nan] * 5}))
    assert Profile.of(pd.DataFrame({"x": [None, 2.0]}), binning).counts.tolist() == [1, 1]


def test_categories_declared_without_levels_take_them_from_the_reference():
    bare = Schema.from_document({"features": [{"name": "c", "kind": "categorical"}]})
    assert Binning.fit(pd.DataFrame({"c": ["b", "a", "b"]}), bare)["c"].shown == ("b", "a")


def test_encoded_rows_of_another_width_are_refused():
    with pytest.raises(SchemaMismatch, match="3 features"):
        Profile.of(np.zeros((5, 2)), Binning.fit(_frame()))


NUMBERS = (
    st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, 2.5, 7.0, -1e300, 5e-324, np.inf, -np.inf, np.nan]) | st.floats()
)


def _bin_of(bins: FeatureBins, value: float) -> int:
    """The definition, a value at a time."""
    if np.isnan(value):
        return bins.missing
    if bins.kind is BinKind.RANGES:
        return sum(edge < value for edge in bins.edges)
    if bins.kind is BinKind.VALUES:
        return bins.edges.index(value) if value in bins.edges else bins.value_bins
    return bins.bin_of_code[int(np.clip(value, 0, len(bins.bin_of_code) - 1))]


@st.composite
def _binnings(draw):
    """Features of every kind, with any number of edges, also none."""
    features = []
    for j, kind in enumerate(draw(st.lists(st.sampled_from(list(BinKind)), min_size=1, max_size=6))):
        edges = tuple(sorted(set(draw(st.lists(NUMBERS.filter(np.isfinite), max_size=30)))))
        table = tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=5)))
        is_number = kind in (BinKind.RANGES, BinKind.VALUES)
        more = {"edges": edges} if is_number else {"shown": ("a", "b"), "bin_of_code": table}
        features.append(FeatureBins(name=f"x{j}", kind=kind, **more))
    kinds = {bins.name: Kind.NUMERIC if bins.is_numeric else Kind.CATEGORICAL for bins in features}
    return Binning(Schema(tuple(Feature(name=n, kind=k) for n, k in kinds.items())), tuple(features))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_value_is_counted_where_the_definition_puts_it(data):
    binning = data.draw(_binnings())
    edges = [edge for bins in binning.features for edge in bins.edges]
    value = NUMBERS | st.sampled_from(edges) if edges else NUMBERS
    columns = [
        data.draw(
            st.lists(value if bins.is_numeric else st.sampled_from([0.0, 1, 2, 9, np.nan]), min_size=7, max_size=7)
        )
        for bins in binning.features
    ]
    profile = Profile.of(np.array(columns).T, binning)
    for bins, column in zip(binning.features, columns, strict=True):
        expected = [_bin_of(bins, value) for value in column]
        assert profile.counts_of(bins.name).tolist() == np.bincount(expected, minlength=bins.size).tolist()
        assert bins.place(np.array(column)).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS.filter(lambda value: not np.isfinite(value) or abs(value) < 1e150), min_size=1, max_size=50))
def test_moments_are_those_of_the_finite_values(values):
    binning = Binning.fit(pd.DataFrame({"x": [1.0, 2.0]}))
    profile = Profile.of(np.array(values)[:, None], binning)
    finite = [value for value in values if np.isfinite(value)]
    n, total, squares, low, high = profile.moments[0]
    scale = math.fsum(map(abs, finite))
    assert (n, low, high) == (len(finite), min(finite, default=np.inf), max(finite, default=-np.inf))
    assert total == pytest.approx(math.fsum(finite), rel=1e-12, abs=1e-12 * scale)
    assert squares == pytest.approx(math.fsum(value**2 for value in finite), rel=1e-12)
    faults = profile.fault("x", "positive_infinity"), profile.fault("x", "negative_infinity")
    assert faults == (values.count(np.inf), values.count(-np.inf))


@pytest.mark.parametrize("rows", [1, 1_023, 1_024, 20_000, 150_001])
def test_counts_do_not_depend_on_how_the_rows_are_cut_into_blocks(rows):
    rng = np.random.default_rng(rows)
    values = rng.normal(size=(rows, 3))
    values[rng.random((rows, 3)) < 0.02] = np.nan
    binning = Binning.fit(pd.DataFrame(rng.normal(size=(500, 3)), columns=["a", "b", "c"]))
    expected = [np.bincount(bins.place(values[:, j]), minlength=bins.size) for j, bins in enumerate(binning.features)]
    frame = pd.DataFrame(values, columns=["a", "b", "c"])
    assert Profile.of(values, binning).counts.tolist() == np.concatenate(expected).tolist()
    assert Profile.of(frame, binning).to_bytes() == Profile.of(np.asfortranarray(values), binning).to_bytes()


def test_a_feature_with_more_edges_than_a_byte_can_count_is_still_exact():
    binning = _one_feature(BinKind.RANGES, tuple(range(1_000)))
    assert Profile.of(np.array([[998.5], [1e9]]), binning).counts[[999, 1_000]].tolist() == [1, 1]


def test_a_frame_keeps_its_values_when_it_is_profiled():
    frame = _frame()
    before = frame.copy(deep=True)
    Profile.of(frame, Binning.fit(frame))
    pd.testing.assert_frame_equal(frame, before)


def test_ranges_of_a_large_reference_come_from_a_sample_and_hold_the_shares_they_are_meant_to():
    values = np.random.default_rng(0).normal(size=400_000)
    binning = Binning.fit(pd.DataFrame({"x": values}))
    below = np.searchsorted(np.sort(values), binning["x"].edges, side="right") / values.size
    np.testing.assert_allclose(below, QUANTILES, atol=5 * 0.5 / np.sqrt(SAMPLE))


@given(st.integers(51, 3_000))
def test_edges_are_the_quantiles_that_numpy_finds(rows):
    values = np.random.default_rng(rows).permutation(rows).astype(float)
    expected = np.quantile(values, QUANTILES, method="inverted_cdf")
    assert set(expected) <= set(Binning.fit(pd.DataFrame({"x": values}))["x"].edges)


@pytest.mark.parametrize("distinct", [50, 51])
def test_rare_values_of_a_large_reference_are_not_lost_to_the_sample(distinct):
    values = np.zeros(300_000)
    values[::6_000] = np.arange(50)
    values[7] = distinct - 1
    bins = Binning.fit(pd.DataFrame({"x": values}))["x"]
    assert bins.kind is (BinKind.VALUES if distinct == 50 else BinKind.RANGES)


def test_novelty_counts_the_rows_whose_value_only_their_own_window_has():
    rng = np.random.default_rng(0)
    values, windows = rng.integers(0, 40, 300), np.sort(rng.integers(0, 12, 300))
    homes = {value: set(windows[values == value]) for value in set(values)}
    alone = np.array([len(homes[value]) == 1 for value in values])
    shares = [alone[windows == window].mean() for window in range(12)]
    for frame in (pd.DataFrame({"x": values}), pd.DataFrame({"x": values.astype(str)})):
        bins = Binning.fit(frame, windows=windows)["x"]
        assert (bins.novelty, bins.novelty_sd) == pytest.approx((alone.mean(), np.std(shares, ddof=1)))


def _one_feature(kind: BinKind, edges: tuple[float, ...]) -> Binning:
    feature = FeatureBins(name="x", kind=kind, edges=edges)
    return Binning(Schema((Feature(name="x", kind=Kind.NUMERIC),)), (feature,))


def test_the_levels_of_a_date_column_are_the_texts_that_its_rows_are_encoded_with():
    frame = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=3)})
    assert Schema.infer(frame).encode(frame)[:, 0].tolist() == [0.0, 1.0, 2.0]


def test_equal_values_with_different_texts_are_different_levels():
    frame = pd.DataFrame({"c": pd.Series([1, True, 1.0, "1", None], dtype=object)})
    schema = Schema((Feature(name="c", kind=Kind.CATEGORICAL, levels=("1", "True", "1.0")),))
    np.testing.assert_array_equal(schema.encode(frame)[:, 0], [0, 1, 2, 0, np.nan])
