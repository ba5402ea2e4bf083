import numpy as np
import pytest

from monitor.errors import BadInput
from monitor.robustness.scoring import calibration_error, snr_at_loss


def test_calibrated_probabilities_have_an_error_near_zero_and_shifted_ones_their_shift():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.2, 0.8, 50_000)
    y = (rng.random(50_000) < truth).astype(float)
    assert calibration_error(truth, y) < 0.01
    assert calibration_error(truth + 0.15, y) == pytest.approx(0.15, abs=0.01)


def test_the_calibration_error_of_a_constant_is_its_distance_to_the_base_rate():
    y = (np.arange(1_000) % 4 == 0).astype(float)
    assert calibration_error(np.full(1_000, 0.6), y) == pytest.approx(0.35)


def test_bins_hold_equally_many_rows():
    scores = np.linspace(0, 1, 1_500) ** 3
    y = np.random.default_rng(0).integers(0, 2, 1_500).astype(float)
    by_hand = [abs(scores[i : i + 100].mean() - y[i : i + 100].mean()) for i in range(0, 1_500, 100)]
    assert calibration_error(scores, y) == pytest.approx(np.mean(by_hand), abs=2e-3)


@pytest.mark.parametrize("scores", [np.array([]), np.array([-2.0, 3.0]), np.array([np.nan])])
def test_what_is_not_a_probability_has_no_calibration(scores):
    with pytest.raises(BadInput, match="sigmoid"):
        calibration_error(scores, np.zeros(len(scores)))


@pytest.mark.parametrize(
    ("aucs", "loss", "expected"),
    [
        ([0.90, 0.90, 0.81, 0.60], 0.05, 15.0),  # half-way from 0 to 10 % between 20 and 10 dB
        ([0.90, 0.88, 0.86, 0.84], 0.10, None),
        ([0.70, 0.60, 0.60, 0.60], 0.01, 40.0),  # passed at the highest ratio already
        ([0.90, 0.72, 0.90, 0.60], 0.10, 30.0),  # the first time counts
    ],
)
def test_the_ratio_at_a_loss_is_read_off_straight_lines(aucs, loss, expected):
    found = snr_at_loss([40.0, 20.0, 10.0, 0.0], aucs, 0.9, loss)
    assert found == (None if expected is None else pytest.approx(expected))
    assert snr_at_loss([0.0, 10.0, 20.0, 40.0], aucs[::-1], 0.9, loss) == found
