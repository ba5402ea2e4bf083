from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from monitor.errors import BadInput
from monitor.robustness import Task, ThreatModel
from monitor.robustness.smoothing import ABSTAINED, Smoothing, certify_smoothed
from monitor.robustness.target import Target
from monitor.schema import Feature, Kind, Schema

WEIGHTS = np.array([2.0, -1.0, 0.5])
ROWS = np.random.default_rng(0).normal(size=(400, 3))


class Plane:
    """A black box: positive on one side of a plane."""

    def predict_proba(self, rows):
        positive = (rows @ WEIGHTS > 0).astype(float)
        return np.column_stack([1 - positive, positive])


class Coin:
    """A model that answers by chance."""

    def __init__(self):
        self.rng = np.random.default_rng(1)

    def predict_proba(self, rows):
        return self.rng.random((len(rows), 2))


TARGET, Y = Target(Plane(), Task.BINARY), (ROWS @ WEIGHTS > 0).astype(float)
DISTANCE = np.abs(ROWS @ WEIGHTS) / np.linalg.norm(WEIGHTS)
LINF = [ThreatModel.linf(epsilon=0.1)]


def test_the_radius_of_a_linear_model_is_the_distance_to_its_plane_from_below():
    found = certify_smoothed(TARGET, ROWS, Y, LINF, Smoothing(sigma=0.5, samples=4_000))
    inside = (DISTANCE > 0.1) & (DISTANCE < 1.0)
    assert (found.radius <= DISTANCE).mean() > 0.995
    assert (found.radius / DISTANCE)[inside].mean() > 0.85
    assert found.radius.max() == pytest.approx(0.5 * 2.924, abs=0.002)  # Φ⁻¹(.001^(1/4000))


def test_false_certificates_are_no_more_frequent_than_alpha():
    near = ROWS * (0.2 / DISTANCE)[:, None]
    smoothing = Smoothing(sigma=0.5, samples=200, alpha=0.05)
    wrong = [(certify_smoothed(TARGET, near, Y, LINF, smoothing, seed=s).radius > 0.2).mean() for s in range(5)]
    assert 0.02 < np.mean(wrong) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2_000)


def test_a_level_is_certified_within_the_farthest_corner_of_the_box():
    found = certify_smoothed(TARGET, ROWS, Y, LINF, Smoothing(sigma=0.5))
    assert found.certified["linf 0.1"] == ((found.radius > 0.1 * np.sqrt(3)) & (found.classes == Y)).mean()


def test_clipped_cells_count_only_as_far_as_they_reach():
    inside, threat = np.clip(ROWS, -1, 1), ThreatModel.linf(epsilon=0.4, lower=-1.0, upper=1.0)
    low, high = np.maximum(inside - 0.4, -1), np.minimum(inside + 0.4, 1)
    corners = [np.where(c, high, low) for c in np.ndindex(2, 2, 2)]
    farthest = np.max([np.linalg.norm(corner - inside, axis=1) for corner in corners], axis=0)
    found = certify_smoothed(TARGET, inside, Y, [threat], Smoothing(sigma=0.5))
    assert found.certified[threat.level] == ((found.radius > farthest) & (found.classes == Y)).mean() > 0


def test_a_model_that_answers_by_chance_abstains():
    found = certify_smoothed(Target(Coin(), Task.BINARY), ROWS, Y, LINF)
    assert found.abstained > 0.98
    assert set(found.classes[found.radius == 0]) == {ABSTAINED}
    assert found.accuracy < 0.02


def test_classes_of_a_network_are_voted_on_and_all_wrong_labels_certify_nothing():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        target = Target(nn.Linear(3, 4), Task.MULTICLASS)
    y = target.outputs(ROWS).argmax(axis=1)
    right, wrong = (certify_smoothed(target, ROWS, labels, LINF) for labels in (y, (y + 1) % 4))
    assert right.accuracy > 0.8
    assert wrong.certified["linf 0.1"] == 0
    assert right.accuracy + right.abstained <= 1


def test_only_what_can_move_is_disturbed_and_whole_numbers_stay_whole():
    schema = Schema(
        (
            Feature(name="amount", kind=Kind.NUMERIC, mutable=True, lower=0.0),
            Feature(name="count", kind=Kind.INTEGER, mutable=True),
            Feature(name="age", kind=Kind.NUMERIC),
        )
    )
    rows = np.abs(ROWS * [10, 50, 1])
    rows[:, 1] = np.round(rows[:, 1])
    rows[0, 0] = np.nan
    seen = []

    class Watched(Plane):
        def predict_proba(self, asked):
            seen.append(asked)
            return super().predict_proba(np.nan_to_num(asked))

    threats = [ThreatModel.from_schema(schema, rows, level=level) for level in ("S1", "S3")]
    found = certify_smoothed(Target(Watched(), Task.BINARY), rows, Y, threats, Smoothing(selection=5, samples=20))
    assert all(share is not None for share in found.certified.values())
    asked = np.concatenate(seen).reshape(-1, *rows.shape)
    assert np.array_equal(asked[:, :, 2], np.broadcast_to(rows[:, 2], asked.shape[:2]))
    assert np.array_equal(asked[:, :, 1], np.round(asked[:, :, 1]))
    assert np.isnan(asked[:, 0, 0]).all()
    assert np.nanmin(asked[:, :, 0]) == 0
    assert (asked[:, 1:, 0] != rows[1:, 0]).mean() > 0.9


def test_a_level_at_which_categories_may_change_has_no_certificate_of_smoothing():
    kinds = {"amount": Kind.NUMERIC, "age": Kind.NUMERIC, "channel": Kind.CATEGORICAL}
    features = [Feature(name=n, kind=k, mutable=True) for n, k in kinds.items()]
    schema = Schema((*features[:2], replace(features[2], levels=("app", "web"))))
    rows = np.column_stack([ROWS[:, :2], ROWS[:, 2] > 0]).astype(float)
    swapped, boxed = (ThreatModel.from_schema(schema, rows, level="S1", swaps=swaps) for swaps in (1.0, 0.0))
    for threat, known in ((swapped, False), (boxed, True)):
        found = certify_smoothed(TARGET, rows, Y, [threat], Smoothing(selection=5, samples=20))
        assert (found.certified["S1"] is not None) == known


def test_regression_and_impossible_settings_are_refused():
    with pytest.raises(BadInput, match="expected a classifier"):
        certify_smoothed(Target(nn.Linear(3, 1), Task.REGRESSION), ROWS, Y, LINF)
    with pytest.raises(BadInput, match="sigma > 0"):
        Smoothing(sigma=0)
