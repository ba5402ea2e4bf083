"""Is the model more fragile on today's data? A stress tick on recent labelled traces, held against registration."""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy.orm import Session

from monitor.artifacts.load import LoadedModel
from monitor.artifacts.manifest import Manifest
from monitor.db.checks import Campaign, CheckRun
from monitor.db.jobs import Claimed
from monitor.db.registry import ModelSettings
from monitor.db.traces import read_traces
from monitor.errors import BadInput
from monitor.jobs.child import run_in_child
from monitor.jobs.context import Tools
from monitor.jobs.due import Due
from monitor.jobs.robust_stream import Step, state_of, step
from monitor.jobs.samples import judged, reference_sample
from monitor.jobs.stream import Check, Measurement, Outcome, Subject, advance
from monitor.jobs.stress_child import WORK, Found, Headline, read_found, registered_stream, stress_test, write_work
from monitor.jobs.stress_rows import MOST_READ, chosen_rows
from monitor.robustness import Task, reality_cap
from monitor.robustness.wording import budget_of, repairing_features
from monitor.schema import FloatArray, Schema

TICK_ROWS = 512
REGISTRATION_ROWS = 4_096  # the error of the registration is what limits how soon a fall is found


def run(tools: Tools, job: Claimed) -> None:
    """Stress one version on each whole period of windows."""
    advance(tools, job, "stress", partial(_prepare, tools))


def baseline_for(
    model: LoadedModel, judged_rows: pd.DataFrame, schema: Schema, settings: ModelSettings, *, task: str, seed: int = 0
) -> dict[str, Any]:
    """What a stress test on reference rows says, as parts of `Version.baseline` that later ticks are held against.

    They are stress, corrupted_auc and operating_threshold; none when the labelled rows (`label` as text) are too few or
    of one class.
    """
    labels = settings.labels(task)
    y = labels.numbers(judged_rows["label"])
    known = labels.usable(y)
    rows, targets = schema.encode(judged_rows[known]), y[known]
    if len(rows) < 2 or not labels.tells_apart(targets):
        return {}
    threshold = _operating_threshold(model, rows, targets) if model.task is Task.BINARY else None
    cap = None if model.task is Task.REGRESSION else reality_cap(schema, rows, targets)
    chosen = chosen_rows(targets, REGISTRATION_ROWS, task, seed)
    report, headline = stress_test(
        model, rows[chosen], targets[chosen], reference=rows, level=settings.stress_level,
        threshold=threshold, cap=cap, seed=seed, most=REGISTRATION_ROWS, clock=time.perf_counter,
    )  # fmt: skip
    return {
        "stress": headline.to_document() | {"reality_cap": cap},
        "stress_stream": registered_stream(report, headline.level, targets[chosen]),
        "corrupted_auc": headline.corrupted_auc,
        "operating_threshold": threshold,
    }


def _operating_threshold(model: LoadedModel, rows: FloatArray, y: FloatArray) -> float:
    """The score above which as many rows lie as there are positives."""
    return float(np.quantile(model.predict_score(rows), 1 - (y > 0).mean()))


def _prepare(tools: Tools, session: Session, subject: Subject, due: list[Due]) -> Check:
    manifest = Manifest.from_document(subject.version.manifest)
    reference = reference_sample(session, subject)
    known = manifest.schema_of_features.encode(reference) if len(reference) else None
    return lambda session, one: _check(tools, session, subject, manifest, known, one)


def _check(
    tools: Tools, session: Session, subject: Subject, manifest: Manifest, reference: FloatArray | None, due: Due
) -> Outcome:
    frame = read_traces(
        session, subject.model, due.window, version=subject.version.name, labelled=True, limit=MOST_READ
    )
    labels, rows = subject.settings.labels(subject.model.task), judged(frame, subject.model.task, subject.settings)
    usable = labels.usable(rows.y)
    encoded, y = manifest.schema_of_features.encode(rows.frame[usable]), rows.y[usable]
    if len(y) < 2 or not labels.tells_apart(y):
        sentence = f"{len(y)} labelled rows of the period, and two classes or more are needed to stress the model"
        return Outcome(status="insufficient", sentence=sentence, rows=len(y))
    seed = subject.version.id * 1_000_003 + int(due.window.start.timestamp()) // 60
    chosen = chosen_rows(y, TICK_ROWS, subject.model.task, seed)
    known = encoded if reference is None else reference
    try:
        found = _in_child(tools, subject, manifest, encoded[chosen], y[chosen], known, seed)
    except BadInput as error:
        return Outcome(status="error", sentence=str(error), rows=len(chosen))
    stream = step(session, subject, due.window.start, found.lost, y[chosen])
    return _outcome(found, _registered(subject), stream, seed, rows=len(chosen))


def _outcome(found: Found, registered: Headline | None, stream: Step | None, seed: int, *, rows: int) -> Outcome:
    """Two rules, either of which fires: the headline fell below its interval, or more rows are lost than were."""
    fell = registered is not None and found.headline.fell_below(registered)
    alarm = stream is not None and stream.alarm
    fragile = [vars(one) for one in repairing_features(found.report)]
    return Outcome(
        rows=rows,
        sentence=_sentence(found.headline, registered, fell) + (f"; {stream.sentence}" if stream and alarm else ""),
        document={
            "headline": found.headline.to_document(), "below_registration": fell or alarm, "fragile": fragile,
            "budget": _budget(found), "stream": stream.to_document() if stream else None,
        },
        measurements=(_measurement(found.headline, registered, fell), *_lost(stream), *_corrupted(found.headline)),
        detector_state=state_of(stream) if stream else None,
        after=partial(_store, found.report, seed),
    )  # fmt: skip


def _budget(found: Found) -> str:
    """What the attack was allowed, the features first that it leans on."""
    level = next(one for one in found.report["levels"] if one["level"] == found.headline.level)
    return budget_of(level, [one.feature for one in repairing_features(found.report)])


def _lost(stream: Step | None) -> tuple[Measurement, ...]:
    if stream is None:
        return ()
    facts = stream.to_document()
    found = Measurement(
        subject="lost_to_attack", metric="lost_to_attack", statistic=facts["lost"], e_value=facts["evidence"],
        threshold=facts["needed"], effect=facts["lost"] - facts["registered"], fired=stream.alarm,
        sentence=stream.sentence if stream.alarm else "", detail={"level": stream.registered.level},
    )  # fmt: skip
    return (found,)


def _registered(subject: Subject) -> Headline | None:
    document: dict[str, Any] = subject.version.baseline.get("stress") or {}
    same_level = document.get("level") == subject.settings.stress_level
    return Headline.from_document(document) if same_level and "value" in document else None


def _in_child(
    tools: Tools,
    subject: Subject,
    manifest: Manifest,
    rows: FloatArray,
    y: FloatArray,
    reference: FloatArray,
    seed: int,
) -> Found:
    with tempfile.TemporaryDirectory(prefix="holdfast-stress-") as name:
        folder = Path(name)
        write_work(
            folder, rows, y, reference, manifest=manifest, declared=subject.schema, store=tools.store,
            factories=tools.factories, baseline=subject.version.baseline,
            level=subject.settings.stress_level, seed=seed,
        )  # fmt: skip
        run_in_child(WORK, folder, tools=tools)
        return read_found(folder)


def _sentence(headline: Headline, registered: Headline | None, below: bool) -> str:
    now = f"{headline.words} at {headline.level} is {headline.value:.3f} [{headline.low:.3f}, {headline.high:.3f}]"
    moved = f" when {', '.join(headline.budget[:3])}" if headline.budget else ""
    if registered is None:
        return f"{now}{moved}"
    before = f"{registered.value:.3f} [{registered.low:.3f}, {registered.high:.3f}] at registration"
    return f"{now}{moved}, {'below' if below else 'against'} {before}"


def _measurement(headline: Headline, registered: Headline | None, below: bool) -> Measurement:
    return Measurement(
        subject=headline.metric, metric=headline.metric, statistic=headline.value, low=headline.low, high=headline.high,
        threshold=registered.low if registered else None, fired=below, detail={"level": headline.level},
        effect=headline.value - registered.value if registered else None,
    )  # fmt: skip


def _corrupted(headline: Headline) -> tuple[Measurement, ...]:
    if headline.corrupted_auc is None:
        return ()
    return (Measurement(subject="corrupted_auc", metric="corrupted_auc", statistic=headline.corrupted_auc),)


def _store(report: dict[str, Any], seed: int, session: Session, run: CheckRun) -> None:
    session.add(
        Campaign(
            model_id=run.model_id, version_id=run.version_id, check_run_id=run.id, purpose="tick", plan="tick",
            starts=run.starts, ends=run.ends, seed=seed, report=report,
        )
    )  # fmt: skip
