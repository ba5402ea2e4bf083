from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from monitor.batch import keys_of
from monitor.drift.profile import Binning, Profile
from monitor.errors import BadInput
from monitor.intake.sampling import LEAST, LOOKED_BACK, SamplingPlan, keep, probabilities, surprising
from monitor.schema import Feature, Kind, Schema
from tests.batches import batch_of

IDS = keys_of(f"payment-{i}" for i in range(20_000))
DAY = timedelta(days=1)
START = datetime(2026, 3, 2, tzinfo=UTC)


def frame(n: int, *, rare: float = 0.02, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "trace_id": [f"{seed}-{i}" for i in range(n)],
            "event_time": pd.date_range(START, periods=n, freq="1s", tz="UTC"),
            "amount": rng.normal(50, 9, n),
            "channel": rng.choice(["app", "fax"], n, p=[1 - rare, rare]),
            "score": rng.random(n),
        }
    )


FRAME = frame(10_000)
SCHEMA = Schema(
    (
        Feature(name="amount", kind=Kind.NUMERIC, lower=0.0, upper=80.0),
        Feature(name="channel", kind=Kind.CATEGORICAL, levels=("app", "fax")),
    )
)
BINNING = Binning.fit(FRAME[["amount", "channel"]], SCHEMA)
WEEK = Profile.of(pd.concat([FRAME] * LOOKED_BACK), BINNING)


def chances(sent: pd.DataFrame, before: Profile | None = WEEK, **plan: object) -> np.ndarray:
    return probabilities(
        batch_of(sent, SCHEMA), SamplingPlan(**plan), SCHEMA, width=DAY, usual=lambda start: before  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_same_rows_are_kept_in_any_order_and_batch():
    rate = np.full(len(IDS), 0.3)
    mask, _ = keep(IDS, rate)
    again, _ = keep(IDS[::-1], rate)
    np.testing.assert_array_equal(mask, again[::-1])
    assert keep(IDS[77:78], rate[:1])[0][0] == mask[77]


def test_the_share_kept_is_the_rate_and_weights_add_up_to_all_rows():
    mask, weight = keep(IDS, np.full(len(IDS), 0.3))
    assert binomtest(int(mask.sum()), len(IDS), 0.3).pvalue > 1e-3
    assert weight[mask].sum() == pytest.approx(len(IDS), rel=0.03)


def test_a_higher_rate_keeps_what_a_lower_one_does():
    low, high = (keep(IDS, np.full(len(IDS), rate))[0] for rate in (0.1, 0.5))
    assert not (low & ~high).any()


def test_everything_is_kept_at_rate_one():
    mask, weight = keep(keys_of(["a", "é", ""]), np.ones(3))
    assert mask.all()
    assert weight.tolist() == [1.0, 1.0, 1.0]


def test_a_number_of_rows_a_window_is_reached_from_what_the_windows_before_held():
    p = chances(FRAME, rows=500)
    assert set(p) == {0.05}
    assert keep(keys_of(FRAME["trace_id"]), p)[0].sum() == pytest.approx(500, abs=80)
    assert set(chances(FRAME[:100], None, rows=500)) == {1.0}  # nothing is known yet: everything is kept


def test_each_level_gets_an_equal_share():
    p = chances(FRAME, rows=300, by="channel")
    mask, weight = keep(keys_of(FRAME["trace_id"]), p)
    kept = FRAME[mask]["channel"].value_counts()
    assert kept["fax"] == pytest.approx(150, abs=40)
    assert kept["app"] == pytest.approx(150, abs=40)
    assert weight[mask & (FRAME["channel"] == "app")].sum() == pytest.approx((FRAME["channel"] == "app").sum(), rel=0.3)


def test_the_weighted_mean_of_what_is_kept_is_the_mean_of_all():
    """Over many samples: Horvitz–Thompson is unbiased however unevenly rows are kept."""
    errors = []
    for seed in range(200):
        rows = frame(2_000, rare=0.1, seed=seed).assign(score=lambda f: (f["channel"] == "fax") * 1.0)
        p = np.where(rows["channel"] == "fax", 0.9, 0.05)
        mask, weight = keep(keys_of(rows["trace_id"]), p)
        truth = rows["score"].sum()
        errors.append(float((rows["score"][mask] * weight[mask]).sum() - truth))
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(len(errors))


def test_rows_that_say_more_are_kept_more():
    rows = FRAME[:6].assign(score=[0.49, 0.1, 0.1, 0.1, 0.1, 0.9], channel=["app", "sms", "app", "app", None, "app"])
    rows["amount"] = pd.Series([1.0, 1.0, -5.0, "many", 1.0, 1.0], dtype=object)
    batch = batch_of(rows, SCHEMA)
    assert surprising(batch, SCHEMA, 0.5).tolist() == [True, True, True, True, False, False]
    p = probabilities(batch, SamplingPlan(rate=0.1, surprise=0.8), SCHEMA, width=DAY, usual=lambda start: None)
    assert p.tolist() == [0.8, 0.8, 0.8, 0.8, 0.1, 0.1]


def test_no_row_is_kept_so_seldom_that_its_weight_outweighs_a_window():
    assert chances(FRAME, rate=1e-9).min() == LEAST


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ({"rate": 0.0}, "above 0 and at most 1"),
        ({"rate": 1.01}, "above 0 and at most 1"),
        ({"rate": float("nan")}, "above 0 and at most 1"),
        ({"rows": 0}, "at least one row"),
        ({"by": "channel"}, "a number of rows a window to share"),
        ({"surprise": 2.0}, "between 0 and 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan, sentence):
    with pytest.raises(BadInput, match=sentence):
        SamplingPlan(**plan)
