"""Adversarial rows once more, as the raw features that a service would be sent."""

from dataclasses import replace

import numpy as np
import pandas as pd

from monitor.artifacts.load import LoadedModel
from monitor.robustness import CampaignReport, Task
from monitor.robustness.report import Flag
from monitor.robustness.target import predicted
from monitor.schema import FloatArray, Schema

_UNSEEN = "\N{REPLACEMENT CHARACTER} a level nobody declared"
_MOST = 512
_APART = 0.01


def with_replay(model: LoadedModel, report: CampaignReport, place: int) -> CampaignReport:
    """The report with a flag when rows that broke the model at a level do not do so by way of raw features.

    Rows are decoded to a frame, encoded and scored as `predict_score` does for a service; class by class they must
    say what the attack was told, values within a hundredth of their spread.
    """
    worst, decision = report.worst_outputs[place], 0.5 if model.module is None else 0.0
    before, after = (predicted(outputs, model.task, decision=decision) for outputs in (report.outputs, worst))
    moved = np.flatnonzero(before != after)[:_MOST]
    if moved.size == 0:
        return report
    scores = model.predict_score(model.schema.encode(as_sent(model.schema, report.adversarial[place][moved])))
    if model.task is Task.REGRESSION:
        lost = int((np.abs(scores - worst[moved]) > _APART * np.std(report.outputs) + 1e-9).sum())
    else:
        lost = int((predicted(scores, model.task, decision=0.5) != after[moved]).sum())
    return report if lost == 0 else replace(report, audit=(*report.audit, _flag(lost, len(moved))))


def _flag(lost: int, of: int) -> Flag:
    return Flag(
        name="not_replayed",
        sentence=f"{lost} of {of} rows that broke the model do not break it when they are sent as raw features: what "
        "serves it differs from what was attacked.",
    )


def as_sent(schema: Schema, rows: FloatArray) -> pd.DataFrame:
    """Encoded rows (n, d) as raw features; a level that the schema does not know is some text it does not know."""
    frame = schema.decode(rows)
    for j, feature in enumerate(schema.features):
        if feature.is_categorical:
            unseen = rows[:, j] >= len(feature.levels)
            frame[feature.name] = frame[feature.name].astype(object).where(~unseen, _UNSEEN)
    return frame
