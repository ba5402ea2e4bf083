"""`holdfast backtest`: what Holdfast would have said about a history, by the real loop in a scratch database."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from monitor.artifacts import Store
from monitor.cli.actor import COMMAND_LINE
from monitor.cli.enroll import Artefact, Enrolment, enroll, later_half
from monitor.cli.history import History
from monitor.cli.processes import make_tools
from monitor.db import embedded
from monitor.db.alerts import Route
from monitor.db.engine import database_now, transaction
from monitor.db.read_outcomes import (
    AlertOutcome,
    MessageOutcome,
    WindowOutcome,
    alert_outcomes,
    conventional_alerts,
    messages_after,
    odd_features,
    window_outcomes,
)
from monitor.db.registry import ModelSettings, model_named
from monitor.db.scratch import scratch_database
from monitor.intake.ingest import advance_watermark, ingest
from monitor.intake.labels import ingest_labels
from monitor.jobs.context import Tools
from monitor.jobs.worker import drain
from monitor.performance import Task
from monitor.schema import FloatArray
from monitor.settings import Settings
from monitor.windows import Window

MODEL = "history"
# What a history is judged by; nothing is sent, and a report in a scratch database would have no reader.
CHECKS = ("check_quality", "check_drift", "check_performance", "stress", "fit_reference")
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """What the loop said, window by window; `messages` with the end of the window in whose replay each was due."""

    history: History
    reference_rows: int
    reference_metric: dict[str, Any]
    windows: list[WindowOutcome]
    alerts: list[AlertOutcome]
    messages: list[tuple[datetime, MessageOutcome]]
    conventional: int
    odd_features: dict[str, dict[str, str]]
    seconds: float

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        reference = self.history.reference
        return {
            "rows": len(self.history.rows),
            "task": self.history.task,
            "reference": {
                "from": reference.start.isoformat(),
                "to": reference.end.isoformat(),
                "rows": self.reference_rows,
                "metric": self.reference_metric or None,
            },
            "windows": [window.to_document() for window in self.windows],
            "alerts": [alert.to_document() for alert in self.alerts],
            "messages": [{"at": at.isoformat()} | message.to_document() for at, message in self.messages],
            "conventional_alerts": self.conventional,
            "features": self.odd_features,
            "ignored": self.history.ignored,
            "leaks": self.history.leaks,
            "notes": list(self.history.notes),
            "seconds": round(self.seconds, 2),
        }


def backtest(history: History, settings: Settings, *, seed: int, say: Say) -> Backtest:
    """Replay a history through intake, checks, verdicts and alerts, window by window as it happened."""
    started = time.monotonic()
    server = settings.database_url or embedded.start(settings.home)
    with scratch_database(server) as url, tempfile.TemporaryDirectory(prefix="holdfast-backtest-") as folder:
        tools = make_tools(settings.model_copy(update={"home": Path(folder)}), url, children=False)
        try:
            return _replay(history, tools, seed=seed, say=say, started=started)
        finally:
            tools.engine.dispose()


def _replay(history: History, tools: Tools, *, seed: int, say: Say, started: float) -> Backtest:
    prepared, judged, artefact = _with_scores(history, tools.store, seed=seed, say=say)
    enrolment = Enrolment(
        name=MODEL,
        owner="backtest",
        task=history.task,
        schema=history.schema,
        settings=model_settings(prepared, policy=False),
        windows=[(tick, prepared.within(tick)) for tick in prepared.reference_ticks],
        judged=judged,
        artefact=artefact,
    )
    with transaction(tools.engine) as session:
        _, version = enroll(session, enrolment, by=COMMAND_LINE, now=database_now(session), seed=seed)
        metric = dict(version.baseline.get("metric", {}))
        session.add(Route(name="nobody", url="console:"))  # so that messages are written; none is delivered
    messages: list[tuple[datetime, MessageOutcome]] = []
    windows = [*prepared.reference_windows, *prepared.monitored_windows]
    for number, window in enumerate(windows):
        _replay_window(prepared, window, tools)
        if number >= len(prepared.reference_windows):
            drain(tools, kinds=CHECKS)
            messages += _new_messages(tools, window.end, messages)
        say(f"{window.start:%Y-%m-%d}  {number + 1} of {len(windows)} windows")
    with transaction(tools.engine) as session:
        _close(session, windows[-1].end)
    drain(tools, kinds=CHECKS)
    messages += _new_messages(tools, windows[-1].end, messages)
    with transaction(tools.engine) as session:
        model = model_named(session, MODEL)
        return Backtest(
            history=history,
            reference_rows=len(prepared.within(prepared.reference)),
            reference_metric=metric,
            windows=window_outcomes(session, model),
            alerts=[
                replace(alert, title=alert.title.removeprefix(f"{MODEL}: ")) for alert in alert_outcomes(session, model)
            ],
            messages=messages,
            conventional=conventional_alerts(session, model),
            odd_features=odd_features(session, model),
            seconds=time.monotonic() - started,
        )


def _new_messages(
    tools: Tools, at: datetime, known: list[tuple[datetime, MessageOutcome]]
) -> list[tuple[datetime, MessageOutcome]]:
    with transaction(tools.engine) as session:
        last = known[-1][1].number if known else 0
        return [(at, message) for message in messages_after(session, model_named(session, MODEL), last)]


def model_settings(history: History, *, policy: bool) -> ModelSettings:
    """What a history says of its model: window, classes, how late labels come."""
    delay = timedelta(0)
    if _is_delayed(history):
        lag = history.rows["label_time"] - history.rows["event_time"]
        delay = timedelta(seconds=float(lag.dt.total_seconds().quantile(0.95)))
    return ModelSettings(
        window_seconds=int(history.width.total_seconds()),
        tick_seconds=int(history.tick.total_seconds()),
        label_delay_seconds=int(delay.total_seconds()),
        positive=history.positive,
        classes=list(history.classes),
        policy=policy,
    )


def _is_delayed(history: History) -> bool:
    """Whether any label became known later than its row."""
    rows = history.rows
    return "label_time" in rows and bool((rows["label_time"] > rows["event_time"]).any())


def _replay_window(history: History, window: Window, tools: Tools) -> None:
    """The rows of a window, and the labels that became known in it."""
    rows = history.within(window)
    with transaction(tools.engine) as session:
        model = model_named(session, MODEL)
        traces = rows.drop(columns=["label", "label_time"], errors="ignore")
        ingest(session, model, traces, source="backtest", now=window.end)
        while model.watermark is None or model.watermark < window.end:  # a history may lie in the future of the clock
            advance_watermark(session, model, window.end)
        if "label" in history.rows:
            known = history.rows["label"].notna() & history.rows["label_time"].between(
                window.start, window.end, inclusive="left"
            )
            ingest_labels(session, model, history.rows.loc[known, ["trace_id", "event_time", "label", "label_time"]])
            if not _is_delayed(history):  # whoever has no label now never gets one
                model.label_watermark = window.end


def _close(session: Session, end: datetime) -> None:
    """The file is at its end: no more labels are awaited."""
    model = model_named(session, MODEL)
    model.label_watermark = end + timedelta(days=3_650)


def _with_scores(
    history: History, store: Store, *, seed: int, say: Say
) -> tuple[History, pd.DataFrame, Artefact | None]:
    """The history with what a model said of each row, the rows to judge it on, and the model if it was trained here."""
    rows = history.rows
    if "label" not in rows or "score" in rows or "prediction" in rows:
        return history, history.within(history.reference), None
    if history.schema.vectors:
        say("no prediction is given, and no model is trained on vectors: performance needs --prediction or --score")
        return history, history.within(history.reference), None
    from monitor.cli.default_model import train_default

    fit_on, judge_on = later_half(history.reference_windows)
    training = history.within(Window(fit_on[0].start, fit_on[-1].end))
    say(f"no prediction is given: training the default model on {len(training):,} rows until {fit_on[-1].end:%Y-%m-%d}")
    artefact = train_default(training, history, store, seed=seed)
    scored = rows.copy()
    later = (rows["event_time"] >= fit_on[-1].end).to_numpy()
    values = artefact.model.predict_score(history.schema.encode(rows[later]))
    for column, said in _as_logged(values, history).items():
        scored[column] = None if said.dtype == object else np.nan
        scored.loc[later, column] = said
    prepared = replace(history, rows=scored)
    return prepared, prepared.within(Window(judge_on[0].start, judge_on[-1].end)), artefact


def _as_logged(values: FloatArray, history: History) -> dict[str, NDArray[Any]]:
    """What a service would log of a model's answers: a score, a value as text, or a class with its probability."""
    match Task(history.task):
        case Task.CLASSIFICATION:
            return {"score": values}
        case Task.MULTICLASS:
            classes = np.array(history.classes, dtype=object)
            return {"prediction": classes[values.argmax(axis=1)], "score": values.max(axis=1)}
        case Task.REGRESSION:
            return {"prediction": np.array([repr(float(value)) for value in values], dtype=object)}
