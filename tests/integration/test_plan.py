"""What is due, and that planning it twice or by two schedulers writes it once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from monitor.db.engine import transaction
from monitor.db.jobs import Job
from monitor.db.registry import Model, Version, model_named
from monitor.jobs.plan import plan
from monitor.jobs.worker import drain
from tests.streams import (
    REFERENCE_DAYS,
    World,
    drain_checks,
    label_days,
    register,
    runs_of,
    serve,
    serve_days,
    tools_for,
    window,
)


def _planned(engine: Engine) -> list[str]:
    with transaction(engine) as session:
        plan(session)
        live = select(Job.kind).where(Job.state == "queued", Job.kind.not_in(["retain", "deliver"])).order_by(Job.kind)
        return list(session.scalars(live))


def _set(engine: Engine, **values: object) -> None:
    with transaction(engine) as session:
        for name, value in values.items():
            setattr(model_named(session, "fraud"), name, value)


def test_the_windows_of_the_reference_are_not_checked(engine: Engine):
    register(engine, World())
    assert _planned(engine) == []


def test_planning_twice_writes_a_job_once(engine: Engine):
    register(engine, World())
    serve(engine, World(), REFERENCE_DAYS)
    assert _planned(engine) == ["check_quality"] == _planned(engine)


def test_two_schedulers_at_once_plan_each_stream_once(engine: Engine):
    register(engine, World())
    serve_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 3)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _planned(engine), range(8)))
    assert _planned(engine) == ["check_quality"]


def test_a_window_waits_for_the_watermark_and_the_grace(engine: Engine):
    register(engine, World(), grace_seconds=3_600)
    serve(engine, World(), REFERENCE_DAYS)
    assert _planned(engine) == []
    _set(engine, watermark=window(REFERENCE_DAYS).end + timedelta(hours=1))
    assert _planned(engine) == ["check_quality"]


def test_drift_follows_quality_and_performance_follows_drift(engine: Engine, tmp_path: Path):
    register(engine, World())
    serve(engine, World(), REFERENCE_DAYS)
    drain(tools_for(engine, tmp_path), kinds=["check_quality"])
    assert _planned(engine) == ["check_drift"]
    drain(tools_for(engine, tmp_path), kinds=["check_drift"])
    assert _planned(engine) == ["check_performance"]


def test_performance_waits_until_enough_labels_have_come(engine: Engine, tmp_path: Path):
    register(engine, World())
    serve(engine, World(), REFERENCE_DAYS, labels=False)
    label_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 1, share=0.5)
    drain(tools_for(engine, tmp_path), kinds=["check_quality", "check_drift"])
    assert _planned(engine) == []
    label_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 1, share=0.95)
    assert _planned(engine) == ["check_performance"]


def test_performance_waits_no_longer_than_the_declared_delay(engine: Engine, tmp_path: Path):
    register(engine, World(), label_delay_seconds=86_400)
    serve(engine, World(), REFERENCE_DAYS, labels=False)
    label_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 1, share=0.5)
    drain(tools_for(engine, tmp_path), kinds=["check_quality", "check_drift"])
    assert _planned(engine) == []
    _set(engine, label_watermark=window(REFERENCE_DAYS).end + timedelta(days=1))
    assert _planned(engine) == ["check_performance"]


def test_a_version_that_no_trace_reports_has_no_stream(engine: Engine):
    register(engine, World())
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        session.add(Version(model_id=model.id, number=2, name="v2", flavour="none", manifest_sha256="0" * 64))
    serve(engine, World(), REFERENCE_DAYS)
    with transaction(engine) as session:
        plan(session)
        payloads = session.scalars(select(Job.payload).where(Job.kind == "check_quality")).all()
        champion = session.scalar(select(Model.champion_id))
    assert [payload["version_id"] for payload in payloads] == [champion]


@pytest.mark.slow
def test_a_day_without_any_trace_is_checked_and_found_silent(engine: Engine, tmp_path: Path):
    register(engine, World())
    serve(engine, World(), REFERENCE_DAYS)
    _set(engine, watermark=window(REFERENCE_DAYS + 1).end)
    drain_checks(tools_for(engine, tmp_path))
    silent = runs_of(engine, "quality")[-1]
    assert (silent.rows, silent.sentence) == (0, "No rows came; usually 200 do.")


def test_a_version_without_reference_learns_normal_from_fourteen_windows(engine: Engine, tmp_path: Path):
    register(engine, World(), reference=False)
    with transaction(engine) as session:
        model_named(session, "fraud").watermark = window(12).end
    assert "fit_reference" not in _planned(engine)
    with transaction(engine) as session:
        model_named(session, "fraud").watermark = window(13).end
    assert "fit_reference" in _planned(engine)
