import numpy as np
import pytest
from scipy.stats import binomtest

from monitor.db.ledger import keys_of
from monitor.errors import BadInput
from monitor.intake.sampling import keep

IDS = keys_of(f"payment-{i}" for i in range(20_000))


def test_the_same_rows_are_kept_in_any_order_and_batch():
    mask, _ = keep(IDS, 0.3)
    again, _ = keep(IDS[::-1], 0.3)
    np.testing.assert_array_equal(mask, again[::-1])
    assert keep(IDS[77:78], 0.3)[0][0] == mask[77]


def test_the_share_kept_is_the_rate():
    mask, weight = keep(IDS, 0.3)
    assert binomtest(int(mask.sum()), len(IDS), 0.3).pvalue > 1e-3
    assert weight[mask].sum() == pytest.approx(len(IDS), rel=0.03)


def test_a_higher_rate_keeps_what_a_lower_one_does():
    low, high = keep(IDS, 0.1)[0], keep(IDS, 0.5)[0]
    assert not (low & ~high).any()


def test_everything_is_kept_at_rate_one():
    mask, weight = keep(keys_of(["a", "é", ""]), 1.0)
    assert mask.all()
    assert weight.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.01, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate):
    with pytest.raises(BadInput, match="expected a sampling rate above 0 and at most 1"):
        keep(keys_of(["a"]), rate)
