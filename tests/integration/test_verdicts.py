"""What a window amounts to, by the first rule, from real checks on a generated stream."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from monitor.db.checks import WindowVerdict
from tests.streams import (
    REFERENCE_DAYS,
    World,
    drain_checks,
    label_days,
    register,
    rows_of,
    serve_days,
    tools_for,
    verdicts,
)

FIRST = REFERENCE_DAYS + 2  # the day on which something happens


@pytest.mark.parametrize(
    ("world", "verdict"),
    [
        (World(), "healthy"),
        (World(unit=(FIRST, FIRST + 1)), "pipeline_break"),
        (World(shift=(FIRST, 1.5)), "harmless_drift"),
        (World(flip=FIRST), "concept_drift"),
        (World(flip=FIRST, shift=(FIRST, 1.5)), "harmful_covariate_shift"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_first_rule_that_applies_gives_the_verdict(engine: Engine, tmp_path: Path, world: World, verdict: str):
    register(engine, world)
    serve_days(engine, world, REFERENCE_DAYS, FIRST + 1)
    drain_checks(tools_for(engine, tmp_path))
    found = verdicts(engine)
    assert [found[day] for day in range(REFERENCE_DAYS, FIRST + 1)] == ["healthy", "healthy", verdict]


def test_labels_that_come_late_revise_the_verdict_and_keep_the_earlier(engine: Engine, tmp_path: Path):
    world = World(shift=(REFERENCE_DAYS, 1.5))
    register(engine, world)
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 1, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    label_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 1)
    drain_checks(tools_for(engine, tmp_path))
    rows = rows_of(engine, WindowVerdict)
    assert [(row.revision, row.verdict) for row in rows] == [(0, "pending_labels"), (1, "harmless_drift")]
    assert rows[1].metric["coverage"] == 1.0


def test_a_window_that_nobody_could_judge_has_no_verdict(engine: Engine, tmp_path: Path):
    world = World(rows={REFERENCE_DAYS: 20})
    register(engine, world)
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 1)
    drain_checks(tools_for(engine, tmp_path))
    assert rows_of(engine, WindowVerdict) == []


def test_people_who_adapt_to_the_model_make_it_fragile_and_not_drifted(engine: Engine, tmp_path: Path):
    world = World(evade=REFERENCE_DAYS)
    register(engine, world)
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 1)
    drain_checks(tools_for(engine, tmp_path))
    (verdict,) = set(verdicts(engine).values())
    assert verdict == "fragile"
    assert "amount" in rows_of(engine, WindowVerdict)[-1].sentence
