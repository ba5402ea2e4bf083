"""A declared segment has a drift stream of its own: what is lost among all rows is seen among its own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, select

from monitor.acts.baselines import accept_reference
from monitor.acts.detection import configure_detection
from monitor.acts.segments import declare_segment, learn_segment, remove_segment
from monitor.db.alerts import Alert
from monitor.db.audit import AuditEntry
from monitor.db.checks import CheckRun, Finding
from monitor.db.engine import database_now, transaction
from monitor.db.registry import Version, model_named
from monitor.db.segments import Segment, drift_streams
from monitor.drift import FeatureOverride, Reference, with_predictions
from monitor.errors import BadInput, NotAllowed, NotEnoughData, NotFound
from monitor.governance import Actor
from monitor.jobs.worker import drain
from tests.streams import CHECKS as STREAM_CHECKS
from tests.streams import (
    OWNER,
    REFERENCE_DAYS,
    World,
    drain_checks,
    register,
    runs_of,
    schema,
    serve_days,
    tools_for,
    window,
)

VIEWER = Actor(id="vic", name="Vic", roles=frozenset({"viewer"}))
SHIFT = REFERENCE_DAYS + 2


@dataclass(frozen=True, kw_only=True)
class ShopWorld(World):
    """From `SHIFT` on ages of the shop's rows, a fifth of all, are higher and those of the others lower."""

    def day(self, number: int, *, version: str = "v1") -> pd.DataFrame:
        rows = super().day(number, version=version)
        if number >= SHIFT:
            shop = rows["channel"] == "shop"
            rows["age"] += np.where(shop, 10.0, -10.0 * shop.sum() / (~shop).sum())
        return rows


def declare(engine: Engine, name: str, **features: FeatureOverride) -> Segment:
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        return declare_segment(session, model, name, features=features, by=OWNER, now=database_now(session))


def check(engine: Engine, folder: Path) -> None:
    drain(tools_for(engine, folder), kinds=(*STREAM_CHECKS, "check_segments"))


def test_a_shift_of_a_segment_is_found_in_its_own_stream_and_told_apart(engine: Engine, tmp_path: Path):
    world = ShopWorld(rows=dict.fromkeys(range(SHIFT + 3), 400))
    register(engine, world)
    declare(engine, "channel=shop")
    declare(engine, "channel=app", age=FeatureOverride(weight=0))
    serve_days(engine, world, REFERENCE_DAYS, SHIFT + 3, labels=False)
    check(engine, tmp_path)
    runs = runs_of(engine, "segment")
    assert len(runs) == len(runs_of(engine, "drift")) == 5
    last = runs[-1].document["segments"]
    assert (last["channel=shop"]["state"], last["channel=shop"]["culprits"]) == ("open", ["age"])
    assert last["channel=app"]["state"] != "open"
    assert last["channel=shop"]["terms"]["incidents"] == pytest.approx(1 / 3)
    assert runs_of(engine, "drift")[-1].document["terms"]["incidents"] == pytest.approx(1 / 3)
    with transaction(engine) as session:
        (alert,) = session.scalars(select(Alert).where(Alert.cause == "drift:channel=shop"))
        assert (alert.state, alert.culprits, alert.message["title"].split(":")[0]) == (
            "firing", ["age"], "fraud on channel=shop",
        )  # fmt: skip
        assert alert.message["lines"][0].startswith("On channel=shop: age rose by ")
        found = session.scalars(select(Finding).where(Finding.check_run_id == runs[-1].id, Finding.fired)).all()
        assert [(one.subject, one.detail["segment"]) for one in found] == [("age", "channel=shop")]
        model, now = model_named(session, "fraud"), database_now(session)
        remove_segment(session, model, "channel=shop", by=OWNER, now=now)
        assert (alert.state, alert.resolution) == ("resolved", "the segment was removed by Ana")


def test_the_memory_of_each_segment_goes_on_from_job_to_job(engine: Engine, tmp_path: Path):
    world = ShopWorld(rows=dict.fromkeys(range(SHIFT + 3), 400))
    register(engine, world)
    declare(engine, "channel=shop")
    for day in range(REFERENCE_DAYS, SHIFT + 2):
        serve_days(engine, world, day, day + 1, labels=False)
        check(engine, tmp_path)
    alarms = [run.document["segments"]["channel=shop"]["alarm"] for run in runs_of(engine, "segment")]
    assert (len(alarms), sum(alarms)) == (4, 1)


def test_a_segment_judges_no_window_before_it_was_declared(engine: Engine, tmp_path: Path):
    register(engine, World())
    serve_days(engine, World(), REFERENCE_DAYS, SHIFT, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    declare(engine, "channel=app")
    serve_days(engine, World(), SHIFT, SHIFT + 1, labels=False)
    check(engine, tmp_path)
    assert [run.starts for run in runs_of(engine, "segment")] == [runs_of(engine, "drift")[-1].starts]


def test_what_cannot_be_a_segment_is_a_sentence(engine: Engine):
    register(engine, World())
    for name, kind, sentence in (
        ("channel", BadInput, "expected a segment as FEATURE=LEVEL"),
        ("amount=3", BadInput, "expected a level of channel, got 'amount=3'"),
        ("channel=fax", NotEnoughData, "with channel=fax, got 0 windows and 0 rows"),
    ):
        with pytest.raises(kind, match=sentence):
            declare(engine, name)
    with pytest.raises(BadInput, match="expected overrides of amount, age, channel, got amont"):
        declare(engine, "channel=app", amont=FeatureOverride(weight=0))
    with transaction(engine) as session:
        model, now = model_named(session, "fraud"), database_now(session)
        with pytest.raises(NotAllowed):
            declare_segment(session, model, "channel=app", by=VIEWER, now=now)
        with pytest.raises(NotFound, match="has no segment 'channel=app'; it has: none"):
            remove_segment(session, model, "channel=app", by=OWNER, now=now)
        assert session.scalars(select(CheckRun.id)).all() == []


def test_segments_share_the_budget_and_are_declared_and_removed_once(engine: Engine):
    register(engine, World())
    for _ in range(2):
        declare(engine, "channel=app")
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        assert drift_streams(session, model) == 2
        remove_segment(session, model, "channel=app", by=OWNER, now=database_now(session))
        assert drift_streams(session, model) == 1
        configure_detection(session, model, sensitivity="quiet", by=OWNER, now=database_now(session))
        acts = session.scalars(select(AuditEntry.action).where(AuditEntry.action.like("segment.%"))).all()
    assert acts == ["segment.declared", "segment.removed"]


def test_a_segment_is_not_held_against_the_scores_of_another_version(engine: Engine):
    world = World()
    register(engine, world, reference=False)
    features = schema()
    days = [(window(n), world.day(n)) for n in range(REFERENCE_DAYS)]
    scored = with_predictions(features, days[0][1])
    whole = Reference.fit([(day, rows[list(scored.names)]) for day, rows in days], schema=scored)
    unscored = [(w, p.without(["score"])) for w, p in zip(whole.windows, whole.profiles, strict=True)]
    promoted = Reference.from_profiles(unscored, schema=scored, binning=whole.binning)
    with transaction(engine) as session:
        model, now = model_named(session, "fraud"), database_now(session)
        champion = session.get_one(Version, model.champion_id)
        row = accept_reference(session, model, champion, promoted, by=OWNER, now=now)
        normal = learn_segment(session, model, row, declare_segment(session, model, "channel=app", by=OWNER, now=now))
    assert normal.total.counts_of("amount").any()
    assert not normal.total.counts_of("score").any()
