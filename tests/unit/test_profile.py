"""Profiles: exact counts that add up, whatever the values are like."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift import Binning, Profile
from monitor.drift.bins import BinKind
from monitor.errors import BadInput, SchemaMismatch
from monitor.schema import Schema


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
