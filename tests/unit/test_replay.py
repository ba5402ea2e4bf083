from dataclasses import replace

import numpy as np
import pandas as pd

from monitor.artifacts.load import LoadedModel
from monitor.jobs.replay import as_sent, with_replay
from monitor.robustness import Plan, Task, ThreatModel, run_campaign
from monitor.schema import Schema


def world() -> tuple[Schema, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"amount": rng.normal(size=300), "channel": rng.choice(["app", "web"], 300)})
    schema = Schema.infer(frame, mutable=["amount", "channel"])
    rows = schema.encode(frame)
    rows[:9, 1] = 2.0  # a level that nobody declared
    return schema, rows, (rows[:, 0] + 0.2 * rows[:, 1] > 0.1).astype(float)


def probability(rows: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-5 * (rows[:, 0] + 0.2 * np.nan_to_num(rows[:, 1], nan=9.0) - 0.1)))


def loaded(score) -> LoadedModel:
    class Manifest:
        task = Task.BINARY
        classes = ()

    return LoadedModel(manifest=Manifest(), schema=world()[0], module=None, score=score)


def test_rows_travel_as_raw_features_and_come_back_as_they_were():
    schema, rows, _ = world()
    rows[20:30, 1] = np.nan
    assert np.array_equal(schema.encode(as_sent(schema, rows)), rows, equal_nan=True)


def test_a_model_that_serves_what_was_attacked_raises_no_flag_and_another_does():
    schema, rows, y = world()
    model = loaded(probability)
    report = run_campaign(model, rows, y, ThreatModel.from_schema(schema, rows, level="S4"), plan=Plan(rows=300))
    assert report.levels[2].flip_rate > 0.02
    assert with_replay(model, report, 2).audit == report.audit
    other = replace(model, score=lambda rows: probability(rows + np.array([0.5, 0.0])))
    told = with_replay(other, report, 2).audit[-1]
    assert told.name == "not_replayed"
    assert "do not break it when they are sent as raw features" in told.sentence
