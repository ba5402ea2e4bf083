"""Every window is checked once, in order, with the detector's memory carried from job to job."""

from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine

from monitor.artifacts import Manifest, attach_trained, load_model
from monitor.db.checks import Campaign, CheckRun
from monitor.db.engine import transaction
from monitor.db.registry import ModelSettings, Version, model_named, reference_for, version_named
from monitor.jobs.context import Tools
from monitor.jobs.stress import baseline_for
from monitor.training import train
from tests.streams import (
    REFERENCE_DAYS,
    World,
    drain_checks,
    fresh_engine,
    label_days,
    register,
    rows_of,
    runs_of,
    schema,
    serve,
    serve_days,
    tools_for,
    window,
)


def _trained(world: World, tools: Tools) -> tuple[Manifest, dict[str, object]]:
    """A linear model of days before the reference, and what its registration measured."""
    rows = pd.concat([world.day(number) for number in range(-8, 0)], ignore_index=True)
    half = len(rows) // 2
    target = (rows["label"] == "1").to_numpy(float)
    encoded = schema().encode(rows)
    trained = train(
        encoded[:half], target[:half], schema(), task="binary", recipe="standard", network={"network": "linear"}
    )
    manifest = attach_trained(trained, tools.store, schema=schema())
    model = load_model(manifest, tools.store)
    judged = rows.iloc[half:]
    settings = ModelSettings(positive="1")
    return manifest, baseline_for(model, judged, schema(), settings, task="classification")


def _stored(engine: Engine) -> list[tuple[object, ...]]:
    kept = ("kind", "starts", "revision", "status", "sentence", "rows", "detector_state", "document")
    runs = sorted(rows_of(engine, CheckRun), key=lambda run: (run.kind, run.starts, run.revision))
    return [tuple(getattr(run, name) for name in kept) for run in runs]


def test_each_window_is_checked_once_by_each_monitor(engine: Engine, tmp_path: Path):
    register(engine, World())
    serve_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 4)
    drain_checks(tools_for(engine, tmp_path))
    days = [window(n).start for n in range(REFERENCE_DAYS, REFERENCE_DAYS + 4)]
    for kind in ("quality", "drift", "performance"):
        assert [run.starts for run in runs_of(engine, kind)] == days
    assert {run.status for run in rows_of(engine, CheckRun)} == {"ok"}


@pytest.mark.slow
def test_day_by_day_gives_bit_for_bit_what_catching_up_gives(engine: Engine, server_url: str, tmp_path: Path):
    world = World(shift=(REFERENCE_DAYS + 3, 0.5))
    register(engine, world)
    for number in range(REFERENCE_DAYS, REFERENCE_DAYS + 6):
        serve(engine, world, number)
        drain_checks(tools_for(engine, tmp_path))
    day_by_day = _stored(engine)
    with fresh_engine(server_url) as other:
        register(other, world)
        serve_days(other, world, REFERENCE_DAYS, REFERENCE_DAYS + 6)
        drain_checks(tools_for(other, tmp_path))
        assert _stored(other) == day_by_day


def test_a_window_with_broken_data_is_hidden_from_the_detector(engine: Engine, tmp_path: Path):
    broken = REFERENCE_DAYS + 2
    world = World(unit=(broken, broken + 1))
    register(engine, world)
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 4)
    drain_checks(tools_for(engine, tmp_path))
    statuses = [run.status for run in runs_of(engine, "drift")]
    assert statuses == ["ok", "ok", "skipped", "ok"]
    assert "amount ×100" in runs_of(engine, "drift")[2].sentence
    assert runs_of(engine, "drift")[3].document["state"] in ("quiet", "watch")


def test_a_small_window_is_insufficient_and_counted_with_the_next(engine: Engine, tmp_path: Path):
    world = World(rows={REFERENCE_DAYS: 30})
    register(engine, world)
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 2)
    drain_checks(tools_for(engine, tmp_path))
    first, second = runs_of(engine, "drift")
    assert (first.status, first.rows) == ("insufficient", 30)
    assert second.document["rows"] == 230


@pytest.mark.slow
def test_a_version_without_reference_learns_normal_and_then_goes_on(engine: Engine, tmp_path: Path):
    register(engine, World(), reference=False, served=False)
    for number in range(16):
        serve(engine, World(), number)
        drain_checks(tools_for(engine, tmp_path))
    runs = runs_of(engine, "drift")
    assert runs[0].sentence == "learning normal, 13 more windows"
    assert [run.status for run in runs] == ["no_reference"] * 13 + ["ok"] * 2  # the fourteenth completes the reference
    with transaction(engine) as session:
        version = version_named(session, model_named(session, "fraud"), "v1")
        assert reference_for(session, version).windows == 14


def test_late_labels_measure_a_window_again_as_a_revision(engine: Engine, tmp_path: Path):
    register(engine, World(), label_maturity=0.5)
    serve(engine, World(), REFERENCE_DAYS, labels=False)
    for share in (0.6, 0.61, 1.0, 1.0):
        label_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 1, share=share)
        drain_checks(tools_for(engine, tmp_path))
    runs = runs_of(engine, "performance")
    assert [(run.revision, run.rows) for run in runs] == [(0, 120), (1, 200)]


def test_reference_performance_is_learned_once_from_the_reference(engine: Engine, tmp_path: Path):
    register(engine, World())
    serve(engine, World(), REFERENCE_DAYS)
    drain_checks(tools_for(engine, tmp_path))
    (version,) = rows_of(engine, Version)
    assert version.baseline["metric"]["name"] == "auroc"
    assert version.baseline["limit"] == pytest.approx(version.baseline["metric"]["value"] - 0.02)


@pytest.mark.slow
def test_a_stress_tick_is_held_against_registration(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    world = World()
    manifest, baseline = _trained(world, tools)
    register(engine, world, manifest=manifest, baseline=baseline, stress_every_windows=2)
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 4)
    drain_checks(tools)
    runs, campaigns = runs_of(engine, "stress"), rows_of(engine, Campaign)
    assert len(runs) == 2 == len(campaigns)
    assert not any(run.document["below_registration"] for run in runs)
    assert "at registration" in runs[0].sentence
    assert campaigns[0].report["levels"][1]["level"] == "S2"


@pytest.mark.slow
def test_a_model_that_became_fragile_fires(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    world = World()
    manifest, baseline = _trained(world, tools)
    baseline["stress"] |= {"low": 0.999, "value": 0.9995, "high": 1.0, "robust_auc": 0.9995}
    register(engine, world, manifest=manifest, baseline=baseline, stress_every_windows=2)
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 4)
    drain_checks(tools)
    assert runs_of(engine, "stress")[0].document["below_registration"]
