"""`holdfast model attach`: a file becomes the artefact of a monitored version, and is stress-tested at once."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy.orm import Session

from monitor.acts.registry import attach, declare_mutable
from monitor.acts.tabular import require_tabular
from monitor.artifacts import Flavour, LoadedModel, Manifest, attach_converted, attach_file, convert_sklearn, load_model
from monitor.db.engine import database_now, transaction
from monitor.db.registry import (
    Model,
    ModelSettings,
    Version,
    champion,
    feature_schema,
    model_named,
    reference_for,
    schema_of,
)
from monitor.db.traces import read_traces, span
from monitor.errors import BadInput, HoldfastError, NotEnoughData, SchemaMismatch
from monitor.governance.roles import Actor
from monitor.jobs.context import Tools
from monitor.jobs.stress import baseline_for
from monitor.jobs.stress_child import Headline
from monitor.performance import Labels
from monitor.robustness.target import Task
from monitor.schema import FloatArray, Schema
from monitor.training.networks import TABULAR
from monitor.windows import Window

SAMPLE_ROWS = 2_000
_OF_THREATS = ("stress", "stress_stream")  # of a baseline: it is worth nothing once other things may change
CLOSE = 1e-3  # of a probability, or of the spread of values: a log is rounded, and float32 is not float64


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the person gave: a file, and how it is to be read."""

    path: Path
    convert: bool = False
    factory: str | None = None
    mutable: tuple[str, ...] | None = None  # None: as declared before


def attach_artefact(tools: Tools, name: str, request: Request, *, by: Actor) -> list[str]:
    """Keep the file, load it as a service would, attach it to the champion and stress-test it; sentences about it.

    Raises:
        BadInput: the file is unreadable or does not fit the model's task or schema.
        UnsafeArtefact: it could run code.
        NotEnoughData: the version has no traces to try the file on.
        StaleDecision: the champion has an artefact already.
    """
    with transaction(tools.engine) as session:
        model = model_named(session, name)
        require_tabular(session, model)
        version, now = champion(session, model), database_now(session)
        schema = schema_of(feature_schema(session, model))
        if request.mutable is not None:
            schema = declare_mutable(session, model, request.mutable, by=by, now=now)
        rows = known_rows(session, model, version)
        labels = ModelSettings.of(model).labels(model.task)
        manifest = _manifest(tools, rows, schema, labels, request)
        loaded = load_model(manifest, tools.store, tools.factories)
        scores = _scores(loaded, schema, rows.head(SAMPLE_ROWS), request.path)
        attach(session, version, manifest, by=by, now=now)
        told = [f"{name} {version.name} has a {manifest.flavour} artefact, sha256 {manifest.sha256[:12]}…"]
        told.append(_agreement(rows.head(SAMPLE_ROWS), scores, labels))
        measured = _stressed(loaded, rows, schema, model)
        version.baseline = version.baseline | measured
        return [*told, *_tested(measured, schema)]


def registered_anew(session: Session, tools: Tools, model: Model, schema: Schema) -> list[str]:
    """Stress the champion on its reference as rows may change now, so that later ticks are held against the like."""
    version = champion(session, model)
    if version.flavour == "none":
        return [f"{model.name} {version.name} has no artefact to stress: holdfast model attach {model.name} FILE"]
    rows = known_rows(session, model, version)
    loaded = load_model(Manifest.from_document(version.manifest), tools.store, tools.factories).under(schema)
    measured = _stressed(loaded, rows, loaded.schema, model)
    version.baseline = {name: value for name, value in version.baseline.items() if name not in _OF_THREATS} | measured
    return _tested(measured, schema)


def _stressed(loaded: LoadedModel, rows: pd.DataFrame, schema: Schema, model: Model) -> dict[str, Any]:
    """The stress test at registration; what a model's own library raises on faulty rows is told in a sentence."""
    try:
        return baseline_for(loaded, rows, schema, ModelSettings.of(model), task=model.task)
    except HoldfastError:
        raise
    except Exception as error:  # whatever the model's own library raises
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(
            f"expected a model that answers rows with faults, such as missing values, this one fails on them: {first} "
            "Put an imputer before it"
        ) from error


def _manifest(tools: Tools, rows: pd.DataFrame, schema: Schema, labels: Labels, request: Request) -> Manifest:
    if request.convert:
        converted = convert_sklearn(request.path, schema.conform(rows).head(SAMPLE_ROWS))
        if converted.task is not Task(labels.task):
            wanted = f"{labels.task} of {', '.join(labels.classes)}" if labels.classes else str(labels.task)
            raise BadInput(f"expected a model for {wanted}, {request.path.name} holds one for {converted.task}")
        return attach_converted(converted, tools.store, schema=schema, classes=labels.classes)
    if request.factory is not None and request.factory not in tools.factories:
        raise BadInput(
            f"expected a factory that the settings allow ({', '.join(sorted(tools.factories))}), "
            f'got {request.factory}: add factories = ["{request.factory}"] to holdfast.toml'
        )
    kept = attach_file(
        request.path, tools.store, schema=schema, task=labels.task, factory=request.factory or TABULAR,
        classes=labels.classes,
    )  # fmt: skip
    if (kept.flavour is Flavour.TORCH) != (request.factory is not None):
        raise BadInput(
            f"expected safetensors together with the factory that builds their network, got {kept.flavour} "
            f"{'without one' if request.factory is None else 'with one'}: "
            "holdfast model attach MODEL --factory net:build --weights w.safetensors"
        )
    return kept


def known_rows(session: Session, model: Model, version: Version) -> pd.DataFrame:
    """Kept traces of the reference, or all there are while normal is still being learned."""
    reference = reference_for(session, version)
    if reference is not None:
        window = Window(reference.starts, reference.ends)
    elif (extent := span(session, model)) is not None:
        window = Window(extent[0], extent[1] + timedelta(microseconds=1))
    else:
        raise NotEnoughData(f"{model.name} has no traces yet to try a model on: send some first")
    rows = read_traces(session, model, window, version=version.name, limit=20_000)
    if rows.empty:
        raise NotEnoughData(
            f"expected kept traces of {version.name} from {window.start:%-d %b %Y} to {window.end:%-d %b %Y} to try "
            "the model on, there are none: send traces that name this version first"
        )
    return rows


def _scores(model: LoadedModel, schema: Schema, rows: pd.DataFrame, path: Path) -> FloatArray:
    """What the model says of the rows; one that cannot score them is not the model of this schema."""
    try:
        scores = model.predict_score(schema.encode(rows))
    except HoldfastError:
        raise
    except Exception as error:  # whatever the model's own library raises
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SchemaMismatch(
            f"expected a model that scores rows of {', '.join(schema.names)}, {path.name} fails on them: {first}"
        ) from error
    fits = len(scores) == len(rows) and scores.ndim == (2 if model.task is Task.MULTICLASS else 1)
    if not fits or not np.isfinite(scores).all():
        raise SchemaMismatch(
            f"expected a finite score for each of {len(rows):,} rows, got shape {scores.shape} with "
            f"{int(np.isfinite(scores).sum()):,} finite values from {path.name}"
        )
    return scores


def _agreement(rows: pd.DataFrame, scores: FloatArray, labels: Labels) -> str:
    """Whether the file is the model that wrote the log."""
    if scores.ndim == 2:
        return _same_classes(labels.numbers(rows["prediction"]), scores)
    classifies = Task(labels.task) is not Task.REGRESSION
    logged = pd.to_numeric(rows["score"], errors="coerce").to_numpy(np.float64)
    if not classifies and not np.isfinite(logged).any():
        logged = pd.to_numeric(rows["prediction"], errors="coerce").to_numpy(np.float64)
    known = np.isfinite(logged)
    if not known.any():
        return "the log holds no scores to compare with its own"
    apart = np.abs(scores - logged)[known]
    close = CLOSE * (1.0 if classifies else float(np.std(logged[known])) or 1.0)
    if float(np.mean(apart <= close)) > 0.99:
        return f"it scores {known.sum():,} logged rows as the log says"
    return (
        f"CAUTION: its scores differ from the log's, by {np.median(apart):.3g} in the median of {known.sum():,} rows: "
        "is it the version that serves?"
    )


def _same_classes(logged: FloatArray, scores: FloatArray) -> str:
    """Of several classes the log says which one was predicted."""
    known = np.isfinite(logged)
    if not known.any():
        return "the log holds no predicted classes to compare with its own"
    same = float(np.mean(scores[known].argmax(axis=1) == logged[known]))
    if same > 0.99:
        return f"it predicts the class that the log says on {same:.1%} of {known.sum():,} logged rows"
    return (
        f"CAUTION: it predicts the class that the log says on {same:.1%} of {known.sum():,} rows alone: "
        "is it the version that serves, and are its outputs in the order of the classes?"
    )


def _tested(measured: dict[str, object], schema: Schema) -> list[str]:
    stress = measured.get("stress")
    if not isinstance(stress, dict):
        return ["not stress-tested yet: too few of its traces have labels"]
    found = Headline.from_document(stress)
    moved = f" when {', '.join(found.budget[:3])}" if found.budget else ""
    figure = f"{found.words} {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] at {found.level}{moved}"
    told = [f"stress-tested: {figure}; {found.clean:.3f} without an attack"]
    if not any(feature.mutable for feature in schema.features):
        told.append(
            "CAUTION: no feature is declared mutable, so that nothing was attacked and only noise was tried: "
            "say --mutable A,B where you register or attach a model"
        )
    return told
