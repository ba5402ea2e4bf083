import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import matthews_corrcoef, precision_score, recall_score, roc_auc_score
from torch import nn

from monitor.errors import BadInput, NotEnoughData
from monitor.robustness import Plan, ThreatModel, feasible, run_campaign, scoring
from monitor.robustness.gradient import Search
from monitor.robustness.plan import PLANS
from monitor.schema import Schema


def table(n: int = 1_000, seed: int = 0) -> tuple[Schema, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"amount": rng.normal(0, 50, n), "age": rng.normal(0, 10, n), "count": rng.integers(0, 60, n)})
    frame["channel"] = rng.choice(["app", "web"], n)
    y = frame["amount"] / 50 + frame["age"] / 10 + rng.normal(0, 0.5, n) > 0
    schema = Schema.infer(frame, mutable=["amount", "count"])
    return schema, schema.encode(frame), y.to_numpy(float)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([1 / 50, 1 / 10, 0.0, 0.0], dtype=torch.float64))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.nan_to_num(rows) @ self.weights


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run():
    schema, X, y = table()
    threat = ThreatModel.from_schema(schema, X)
    return X, y, threat, run_campaign(Linear().eval(), X, y, threat, schema=schema, plan=Plan(rows=1_000))


def test_attacked_accuracy_of_a_linear_model_is_the_closed_form(run):
    X, y, threat, report = run
    margins = (2 * y - 1) * (X[:, 0] / 50 + X[:, 1] / 10)
    for level in report.levels:
        low, high = threat.at(level.level).box(X)
        worst = margins - np.where(y > 0, X[:, 0] - low[:, 0], high[:, 0] - X[:, 0]) / 50
        assert level.attacked == pytest.approx((worst > 0).mean(), abs=1e-12)


def test_the_scores_agree_with_scikit_learn(run):
    X, y, _, report = run
    clean = X[:, 0] / 50 + X[:, 1] / 10
    level = report.levels[1]
    worst = report.adversarial[1][:, 0] / 50 + report.adversarial[1][:, 1] / 10
    assert report.worst_outputs[1] == pytest.approx(worst)
    assert report.clean_auc == pytest.approx(roc_auc_score(y, clean))
    assert report.matthews == pytest.approx(matthews_corrcoef(y, clean > 0))
    assert level.robust_auc == pytest.approx(roc_auc_score(y, worst))
    assert level.worst_recall == pytest.approx(recall_score(y, worst > report.threshold))
    assert level.worst_precision == pytest.approx(precision_score(y, worst > report.threshold))
    assert level.interval == pytest.approx(wilson(level.attacked, 1_000))


def wilson(share: float, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def test_levels_fall_and_the_rows_that_broke_the_model_are_feasible(run):
    X, _, threat, report = run
    attacked = [level.attacked for level in report.levels]
    assert [level.level for level in report.levels] == ["S1", "S2", "S3"]
    assert report.clean > attacked[0] > attacked[1] > attacked[2]
    for level, rows in zip(report.levels, report.adversarial, strict=True):
        assert feasible(X, rows, threat.at(level.level)).all()


def test_the_operating_threshold_alerts_at_the_base_rate(run):
    X, y, _, report = run
    assert ((X[:, 0] / 50 + X[:, 1] / 10) > report.threshold).mean() == pytest.approx(y.mean(), abs=0.002)


def test_the_document_is_plain_json_with_budgets_in_raw_units(run):
    report = run[3]
    document = json.loads(json.dumps(report.to_document(), allow_nan=False))
    budgets = {budget["feature"]: budget for budget in document["levels"][1]["raw_budget"]}
    assert budgets["amount"]["up"] == pytest.approx(0.1 * 50, rel=0.15)
    assert budgets["count"]["text"] == "count ± 2"
    assert document["noise"][0].keys() >= {"family", "severity", "quality", "auc", "flip_rate"}
    assert document["task"] == "binary"


def test_an_honest_model_raises_no_flag(run):
    assert run[3].audit == ()
    assert run[3].white_box
    assert run[3].cost.gradient_rows > 0


def test_the_noise_grid_reports_mean_corrupted_auc(run):
    report = run[3]
    assert report.mean_corrupted_auc == pytest.approx(np.mean([cell.auc for cell in report.noise]))
    assert report.pooled_auc_loss == pytest.approx(report.clean_auc - report.mean_corrupted_auc)
    swaps = [cell for cell in report.noise if cell.family == "category_swap"]
    assert [cell.flip_rate for cell in swaps] == [0.0, 0.0]


def test_the_same_seed_gives_the_same_report():
    schema, X, y = table()
    threat = ThreatModel.from_schema(schema, X)
    documents = [run_campaign(Linear(), X, y, threat, schema=schema, seed=4).to_document() for _ in range(2)]
    assert documents[0] == documents[1]


def test_a_tick_uses_512_rows_and_tells_its_progress_and_seconds():
    schema, X, y = table()
    heard, ticks = [], itertools.count()
    report = run_campaign(
        Linear(),
        X,
        y,
        ThreatModel.from_schema(schema, X),
        schema=schema,
        clock=lambda: float(next(ticks)),
        progress=lambda share, sentence: heard.append(share),
    )
    assert report.n_rows == len(report.rows) == 512
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert report.cost.seconds > 1.0


def flags(model, **kwargs) -> set[str]:
    schema, X, y = table()
    kwargs.setdefault("threat", ThreatModel.from_schema(schema, X))
    return {flag.name for flag in run_campaign(model, X, y, plan=Plan(rows=300, levels=("S3", "S5")), **kwargs).audit}


class Wrapped(Linear):
    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.change(super().forward(rows))


def test_probabilities_in_place_of_logits_are_flagged():
    assert "probabilities" in flags(Wrapped(torch.sigmoid).eval())


def test_rounded_outputs_are_flagged_as_blind():
    assert "zero_gradients" in flags(Wrapped(lambda z: torch.round(2 * z)).eval())


def test_random_outputs_are_flagged():
    assert "random_outputs" in flags(Wrapped(lambda z: z + torch.randn_like(z)).eval())


def test_nan_gradients_are_flagged():
    assert "nan_gradients" in flags(Wrapped(lambda z: z + torch.where(z > 1e9, torch.sqrt(z - 1e9), 0)).eval())


def test_nan_answers_to_missing_values_are_flagged_and_rank_nothing():
    schema, X, y = table()

    class Fragile(Linear):
        def forward(self, rows):
            return rows @ self.weights

    report = run_campaign(Fragile().eval(), X, y, ThreatModel.from_schema(schema, X), schema=schema)
    lost = [cell for cell in report.noise if cell.family == "missing"]
    assert "nan_under_noise" in {flag.name for flag in report.audit}
    assert all(cell.auc is None and cell.unanswered > 0 for cell in lost)
    assert report.mean_corrupted_auc == pytest.approx(np.mean([cell.auc or 0.5 for cell in report.noise]))


def test_a_constant_predictor_is_flagged_as_degenerate():
    assert "degenerate" in flags(Wrapped(lambda z: 1 + 0 * z).eval())


def test_train_mode_is_flagged():
    assert "train_mode" in flags(Linear().train())


def test_nothing_to_move_is_flagged_and_leaves_clean_accuracy():
    schema, X, y = table()
    threat = ThreatModel.from_schema(schema.with_mutable([]), X)
    report = run_campaign(Linear().eval(), X, y, threat)
    assert "nothing_movable" in {flag.name for flag in report.audit}
    assert {level.attacked for level in report.levels} == {report.clean}


def test_a_black_box_is_searched_without_gradients():
    schema, X, y = table()
    forest = RandomForestClassifier(20, max_depth=6, random_state=0).fit(X[:500], y[:500])
    report = run_campaign(forest, X[500:], y[500:], ThreatModel.from_schema(schema, X), schema=schema)
    assert not report.white_box
    assert report.cost.gradient_rows == 0
    assert report.levels[0].certified is None
    assert report.levels[2].attacked < report.clean - 0.05


def test_a_model_without_a_certificate_of_its_own_gets_one_for_its_smoothed_self():
    schema, X, y = table(400)
    forest = RandomForestClassifier(10, max_depth=4, random_state=0).fit(X, y)
    plan = Plan(rows=60, levels=("S1", "S3"), smoothing_samples=200, families=())
    report = run_campaign(forest, X, y, ThreatModel.from_schema(schema, X), plan=plan)
    first, last = report.levels
    assert first.certified is None
    assert report.smoothed_accuracy >= first.smoothed > last.smoothed >= 0


def test_a_nightly_plan_finds_no_less_than_a_tick_and_tells_more():
    schema, X, y = table(120)
    threat = ThreatModel.from_schema(schema, X)
    night = replace(PLANS["nightly"], search=Search(steps=20, restarts=1), survivor_queries=100, evolve_queries=200)
    tick, nightly = (run_campaign(Linear().eval(), X, y, threat, schema=schema, plan=p) for p in ("tick", night))
    assert [level.attacked for level in nightly.levels[:3]] <= [level.attacked for level in tick.levels]
    assert {attack.name for attack in nightly.levels[0].attacks} >= {"gradient", "one step", "evolution"}
    assert nightly.minimum.median is None or 0 < nightly.minimum.q05 <= nightly.minimum.median
    assert nightly.half_broken is None or 0.05 < nightly.half_broken <= 1.0
    assert 0 < nightly.area < nightly.clean
    assert set(nightly.snr_at_loss) == {"1%", "5%", "10%"}
    assert nightly.fragile_features[0].feature == "amount"


def test_what_broke_the_previous_model_is_tried_on_this_one():
    schema, X, y = table()
    blind = Wrapped(lambda z: torch.round(4 * z) / 4).eval()
    given = (X, y, ThreatModel.from_schema(schema, X))
    alone, helped = (run_campaign(blind, *given, plan=Plan(audit_queries=0), previous=p) for p in (None, Linear()))
    assert helped.levels[2].attacked < alone.levels[2].attacked
    assert "transfer" in {attack.name for attack in helped.levels[2].attacks}


class Shelf:
    """A bank that remembers, and that dies after a number of puts."""

    def __init__(self) -> None:
        self.kept, self.lives = {}, 3

    def get(self, key):
        return self.kept.get(key)

    def put(self, key, arrays):
        self.kept[key] = arrays
        self.lives -= 1
        if self.lives == 0:
            raise KeyboardInterrupt


def test_a_campaign_that_was_cut_off_goes_on_and_ends_as_it_would_have():
    schema, X, y = table(300)
    given = (Linear().eval(), X, y, ThreatModel.from_schema(schema, X))
    shelf = Shelf()
    with pytest.raises(KeyboardInterrupt):
        run_campaign(*given, bank=shelf)
    resumed, whole = run_campaign(*given, bank=shelf), run_campaign(*given)
    assert resumed.cost.gradient_rows < whole.cost.gradient_rows
    assert resumed.to_document()["levels"] == whole.to_document()["levels"]


def test_images_are_attacked_in_their_own_shape():
    rng = np.random.default_rng(0)
    images = rng.random((60, 1, 4, 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)).double()
    y = model(torch.tensor(images)).argmax(1).numpy()
    report = run_campaign(model.eval(), images, y, ThreatModel.linf(epsilon=0.2, lower=0.0, upper=1.0))
    worst = report.adversarial[0]
    assert worst.shape == images.shape
    assert report.levels[0].attacked < 0.9
    assert np.abs(worst - images).max() <= 0.2 + 1e-9
    assert ((worst >= 0) & (worst <= 1)).all()


def test_multiclass_models_are_stressed_by_margin():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    X = np.column_stack([y * 2.0 + rng.normal(size=400), rng.normal(size=400)])
    model = nn.Linear(2, 3).double()
    weight = torch.tensor([[0.0, 0], [2, 0], [4, 0]]).double()
    model.load_state_dict({"weight": weight, "bias": torch.tensor([0.0, -2, -8]).double()})
    report = run_campaign(model.eval(), X, y, ThreatModel.linf(epsilon=0.5))
    assert report.task == "multiclass"
    assert report.levels[0].certified <= report.levels[0].attacked < report.clean
    assert report.levels[0].robust_auc is None


def test_regression_reports_the_worst_case_error():
    _, X, _ = table()
    truth = X[:, 0] / 50 + X[:, 1] / 10 + 0.1
    report = run_campaign(Linear().eval(), X, truth, ThreatModel.linf(epsilon=1.0), task="regression")
    assert report.metric == "mean absolute error"
    assert report.clean == pytest.approx(0.1)
    assert report.levels[0].attacked == pytest.approx(0.1 + 1 / 50 + 1 / 10)


def test_the_certified_error_of_a_linear_regression_is_the_attacked_one():
    rng = np.random.default_rng(0)
    X, linear = rng.normal(size=(300, 4)), nn.Linear(4, 1).double()
    y = X @ linear.weight.detach().numpy()[0] + rng.normal(size=300)
    level = run_campaign(linear.eval(), X, y, ThreatModel.linf(epsilon=0.2), task="regression").levels[0]
    assert level.certified == pytest.approx(level.attacked, rel=1e-6)
    assert level.attacked > level.clean + 0.05


def test_levels_beyond_reality_are_marked():
    schema, X, y = table()
    threat = ThreatModel.from_schema(schema, X, reality_cap=0.15)
    report = run_campaign(Linear().eval(), X, y, threat)
    assert [level.beyond_reality for level in report.levels] == [False, False, True]


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (lambda X, y: (X, y[:-1]), BadInput, r"rows \(n, d\) and targets \(n,\)"),
        (lambda X, y: (X[:1], y[:1]), NotEnoughData, "at least 2 labelled rows"),
        (lambda X, y: (X, np.where(np.arange(len(y)) == 3, np.nan, y)), BadInput, "a target for every row"),
    ],
)
def test_unusable_rows_are_refused_in_a_sentence(spoil, error, sentence):
    schema, X, y = table(200)
    with pytest.raises(error, match=sentence):
        run_campaign(Linear(), *spoil(X, y), ThreatModel.from_schema(schema, X))


def test_a_model_that_answers_nan_is_refused():
    schema, X, y = table(200)
    with pytest.raises(BadInput, match="finite model outputs"):
        run_campaign(Wrapped(lambda z: z * math.nan), X, y, ThreatModel.from_schema(schema, X))


def test_an_unknown_plan_names_the_plans():
    schema, X, y = table(200)
    with pytest.raises(BadInput, match="tick, nightly"):
        run_campaign(Linear(), X, y, ThreatModel.from_schema(schema, X), plan="weekly")


def test_auc_counts_ties_half_and_is_none_with_one_class():
    rng = np.random.default_rng(0)
    scores, y = rng.integers(0, 5, 200).astype(float), rng.integers(0, 2, 200).astype(float)
    assert scoring.auc(scores, y) == pytest.approx(roc_auc_score(y, scores))
    assert scoring.auc(scores, np.ones(200)) is None


def test_restarts_can_be_planned():
    _, X, y = table(200)
    plan = Plan(rows=200, search=Search(steps=5, restarts=2), audit_queries=0, probes=False)
    report = run_campaign(Linear().eval(), X, y, ThreatModel.linf(epsilon=1.0), plan=plan)
    assert report.cost.gradient_rows == 200 * (3 * 5 + 1)


def test_a_plan_names_the_attacks_that_run_beside_the_first():
    schema, X, y = table(200)
    plan = Plan(rows=200, levels=("S3",), attacks=("gradient",))
    report = run_campaign(Linear().eval(), X, y, ThreatModel.from_schema(schema, X), plan=plan, previous=Linear())
    assert [attack.name for attack in report.levels[0].attacks] == ["gradient"]


@pytest.mark.parametrize("wrong", [{"attacks": ("pgd",)}, {"rows": 1}, {"levels": ()}])
def test_a_plan_that_cannot_run_is_refused(wrong):
    with pytest.raises(BadInput, match="expected attacks among gradient, one step"):
        Plan(**wrong)


def test_when_only_positives_attack_negatives_stay_as_they_are_and_less_is_lost():
    schema, X, y = table()
    linear = nn.Linear(4, 1).double()
    linear.load_state_dict({"weight": Linear().weights[None], "bias": torch.zeros(1).double()})
    given = (linear.eval(), X, y, ThreatModel.from_schema(schema, X))
    both, positives = (run_campaign(*given, plan=Plan(rows=1_000, attackers=who)) for who in ("both", "positives"))
    still = y[list(positives.rows)] == 0
    assert np.array_equal(positives.adversarial[2][still], X[list(positives.rows)][still])
    assert positives.clean_auc > positives.levels[2].robust_auc > both.levels[2].robust_auc
    assert positives.levels[2].worst_recall == both.levels[2].worst_recall
    assert positives.levels[2].certified <= positives.levels[2].attacked
    with pytest.raises(BadInput, match="two classes to attack the positives"):
        run_campaign(*given, plan=Plan(attackers="positives"), task="regression")


def test_rows_that_are_proved_are_not_searched_any_further():
    schema, X, y = table(300)
    linear = nn.Linear(4, 1).double()
    linear.load_state_dict({"weight": Linear().weights[None], "bias": torch.zeros(1).double()})
    numbers = ThreatModel.from_schema(schema.with_mutable(["amount"]), X)
    plan = Plan(rows=300, evolve_queries=200, survivor_queries=100)
    report = run_campaign(linear.eval(), X, y, numbers, plan=plan)
    assert all(level.certified == level.attacked for level in report.levels)
    assert not {"evolution", "survivors at random"} & {a.name for level in report.levels for a in level.attacks}
