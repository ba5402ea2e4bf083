"""`holdfast model attach`: a file becomes the artefact of a monitored version, and is stress-tested at once."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sqlalchemy.orm import Session

from monitor.acts.registry import attach
from monitor.artifacts import Manifest, attach_converted, attach_file, convert_sklearn, load_model
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
from monitor.db.traces import read_traces
from monitor.errors import BadInput, NotEnoughData
from monitor.governance.roles import Actor
from monitor.jobs.context import Tools
from monitor.jobs.stress import baseline_for
from monitor.schema import Schema
from monitor.windows import Window

SAMPLE_ROWS = 2_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the person gave: a file, and how it is to be read."""

    path: Path
    convert: bool = False
    factory: str | None = None


def attach_artefact(tools: Tools, name: str, request: Request, *, by: Actor) -> str:
    """Keep the file, load it as a service would, attach it to the champion; returns a sentence.

    Raises:
        BadInput: the file is unreadable or does not fit the model's schema.
        UnsafeArtefact: it could run code.
        StaleDecision: the champion has an artefact already.
    """
    with transaction(tools.engine) as session:
        model = model_named(session, name)
        version = champion(session, model)
        schema = schema_of(feature_schema(session, model))
        manifest = _manifest(tools, session, model, version, schema, request)
        loaded = load_model(manifest, tools.store, tools.factories)
        attach(session, version, manifest, by=by, now=database_now(session))
        rows = _reference_rows(session, model, version)
        measured = baseline_for(loaded, rows, schema, ModelSettings.of(model), task=model.task)
        version.baseline = version.baseline | measured
        tested = "stress-tested on its reference" if measured else "not stress-tested: its reference has no labels"
        return f"{name} {version.name} has a {manifest.flavour} artefact, sha256 {manifest.sha256[:12]}…; {tested}"


def _manifest(
    tools: Tools, session: Session, model: Model, version: Version, schema: Schema, request: Request
) -> Manifest:
    if request.convert:
        rows = _reference_rows(session, model, version)
        if rows.empty:
            raise BadInput("expected kept traces to check equal predictions on, there are none: send traces first")
        converted = convert_sklearn(request.path, schema.conform(rows).head(SAMPLE_ROWS))
        return attach_converted(converted, tools.store, schema=schema)
    if request.factory is None:
        return attach_file(request.path, tools.store, schema=schema, task=model.task)
    if request.factory not in tools.factories:
        raise BadInput(
            f"expected a factory that the settings allow ({', '.join(sorted(tools.factories))}), "
            f"got {request.factory}: "
            f'add factories = ["{request.factory}"] to holdfast.toml'
        )
    return attach_file(request.path, tools.store, schema=schema, task=model.task, factory=request.factory)


def _reference_rows(session: Session, model: Model, version: Version) -> pd.DataFrame:
    reference = reference_for(session, version)
    if reference is None:
        raise NotEnoughData(f"{model.name} is still learning what is normal: attach once it has a reference")
    return read_traces(session, model, Window(reference.starts, reference.ends), labelled=True, limit=20_000)
