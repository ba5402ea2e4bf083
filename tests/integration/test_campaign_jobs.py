"""Long stress tests: which nights they run on, and what a crash in the middle of one costs."""

import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partialmethod
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from sqlalchemy import Engine, select, update
from torch import nn

from monitor.acts.registry import declare_mutable
from monitor.acts.stress import Order, cancel_stress_tests, configure_nights, order_stress_test
from monitor.db.checks import Campaign
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job
from monitor.db.registry import Model, Version, champion, model_named
from monitor.db.retraining import Progress
from monitor.errors import BadInput, NotAllowed
from monitor.governance import Actor
from monitor.governance.roles import Role
from monitor.jobs import stress_child
from monitor.jobs.context import Tools
from monitor.jobs.folder_bank import FolderBank
from monitor.jobs.nights import plan_nights
from monitor.jobs.worker import Worker
from monitor.robustness import Plan
from tests.streams import OWNER, REFERENCE_DAYS, World, register, rows_of, serve_days
from tests.stressed import stressed
from tests.unguarded import unguarded

EVENING = datetime(2026, 5, 1, 20, tzinfo=UTC)
QUICK = Plan(name="nightly", rows=200, levels=("S1", "S2"), families=("gaussian",), severities=(2,), audit_queries=0)


@pytest.fixture(autouse=True)
def quick_nights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nightly plan on a few rows: what is tested here is the way there."""
    monkeypatch.setattr("monitor.jobs.campaigns.plan_of", lambda *_: QUICK)
    monkeypatch.setattr("monitor.jobs.stress_child.plan_of", lambda *_: QUICK)


def order(engine: Engine, **wishes: str) -> None:
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        order_stress_test(session, model, champion(session, model), by=OWNER, now=database_now(session), **wishes)


def work(tools: Tools) -> bool:
    return Worker(tools, "test", kinds=("campaign",)).run_once()


def test_the_first_night_comes_after_the_first_evening_and_each_night_once(engine: Engine, tmp_path: Path):
    stressed(engine, tmp_path, days=0)
    planned = []
    for hours in (0, 1, 6.5, 7, 30.5):
        with transaction(engine) as session:
            planned.append(plan_nights(session, EVENING + timedelta(hours=hours)))
            session.execute(update(Job).where(Job.kind == "campaign").values(state="done"))
    assert planned == [0, 0, 2, 0, 2]  # 2 o'clock UTC
    streams = {job.payload["purpose"]: job.payload["on"] for job in rows_of(engine, Job) if job.kind == "campaign"}
    assert streams == {"nightly": "recent", "nightly_reference": "reference"}


def test_nights_can_be_moved_spaced_and_turned_off(engine: Engine, tmp_path: Path):
    stressed(engine, tmp_path, days=0)
    with transaction(engine) as session:
        model, now = model_named(session, "fraud"), database_now(session)
        plan_nights(session, EVENING)
        configure_nights(session, model, hour=23, every_days=2, by=OWNER, now=now)
        nights = [plan_nights(session, EVENING + timedelta(hours=hours)) for hours in (4, 28, 52)]
        configure_nights(session, model, hour=None, by=OWNER, now=now)
        nights.append(plan_nights(session, EVENING + timedelta(days=9)))
        with pytest.raises(BadInput, match="an hour from 0 to 23"):
            configure_nights(session, model, hour=24, by=OWNER, now=now)
    assert nights == [0, 0, 2, 0]  # two days after the last one


def test_a_model_without_an_artefact_has_no_nights(engine: Engine):
    register(engine, World(), served=False)
    with transaction(engine) as session:
        assert [plan_nights(session, EVENING + timedelta(days=days)) for days in (0, 2)] == [0, 0]


def test_recent_and_reference_are_attacked_and_nothing_is_done_twice(engine: Engine, tmp_path: Path):
    tools = stressed(engine, tmp_path)
    for days in (0, 1, 2):
        with transaction(engine) as session:
            plan_nights(session, EVENING + timedelta(days=days))
        while work(tools):
            pass
    first, second = rows_of(engine, Campaign)
    assert (first.purpose, first.report["on"]) == ("nightly", "recent")
    assert (second.purpose, second.report["on"]) == ("nightly_reference", "reference")
    assert second.ends <= first.starts
    assert said(engine)[-1] == "nothing changed since the last campaign: it would find the same"
    assert not list((tools.home / "campaigns").glob("*"))


def test_what_may_change_now_is_news_even_on_the_same_rows(engine: Engine, tmp_path: Path):
    tools = stressed(engine, tmp_path, days=0)
    for days in (0, 1, 2):
        with transaction(engine) as session:
            plan_nights(session, EVENING + timedelta(days=days))
            if days == 2:
                declare_mutable(session, model_named(session, "fraud"), ["amount", "age"], by=OWNER, now=EVENING)
        while work(tools):
            pass
    before, after = rows_of(engine, Campaign)
    assert before.report["rows_sha256"] == after.report["rows_sha256"]
    assert after.report["paired"] is None  # more rows are lost because more may move


def test_a_killed_child_costs_no_rows_and_the_next_attempt_goes_on_in_its_folder(engine: Engine, tmp_path: Path):
    tools = stressed(engine, tmp_path)
    order(engine)
    dying = replace(tools, children=True)
    killer = Thread(target=kill_the_child, args=(tools.home,))
    killer.start()
    work(dying)
    killer.join()
    (job,) = rows_of(engine, Job)
    assert (job.state, "died (SIGKILL)" in job.last_error) == ("queued", True)
    (folder,) = (tools.home / "campaigns").glob("job-*")
    with np.load(folder / "rows.npz") as kept:
        before = kept["rows"].copy()
    serve_days(engine, World(), REFERENCE_DAYS + 2, REFERENCE_DAYS + 4)  # it would take other rows now
    with transaction(engine) as session:
        session.execute(update(Job).values(run_at=database_now(session)))
    assert work(tools)
    (campaign,) = rows_of(engine, Campaign)
    assert campaign.report["n_rows"] == len(before) == 200
    assert campaign.ends < model_of(engine).watermark
    assert not folder.exists()


def test_what_breaks_the_champion_before_is_tried_on_this_one(engine: Engine, tmp_path: Path, monkeypatch):
    tools, given = stressed(engine, tmp_path), []
    with transaction(engine) as session:
        serving = champion(session, model_named(session, "fraud"))
        before = Version(
            model_id=serving.model_id, number=0, name="v0", state="retired", flavour=serving.flavour,
            manifest=serving.manifest, manifest_sha256=serving.manifest_sha256,
        )  # fmt: skip
        with unguarded(session):
            session.add(before)
            session.flush()
            serving.replaced_id = before.id
    run = stress_child.run_campaign
    monkeypatch.setattr(stress_child, "run_campaign", lambda *a, **k: given.append(k["previous"]) or run(*a, **k))
    order(engine)
    assert work(tools)
    assert [isinstance(one, nn.Module) for one in given] == [True]


def test_an_attack_that_was_put_down_before_a_crash_is_not_run_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tools, put = stressed(engine, tmp_path), FolderBank.put
    order(engine)
    keys: list[str] = []

    def put_down(bank: FolderBank, key: str, arrays: dict[str, np.ndarray], *, most: int) -> None:
        put(bank, key, arrays)
        keys.append(key)
        if len(keys) == most:
            raise RuntimeError("a crash")

    monkeypatch.setattr(FolderBank, "put", partialmethod(put_down, most=2))
    work(tools)
    done, keys[:] = set(keys), []
    with transaction(engine) as session:
        session.execute(update(Job).values(run_at=database_now(session)))
    monkeypatch.setattr(FolderBank, "put", partialmethod(put_down, most=1_000))
    work(tools)
    assert len(done) == 2
    assert keys
    assert done.isdisjoint(keys)
    assert [campaign.purpose for campaign in rows_of(engine, Campaign)] == ["command"]


def kill_the_child(home: Path) -> None:
    """As soon as it has its work, with the signal that cannot be caught."""
    import psutil

    while True:
        for child in psutil.Process(os.getpid()).children(recursive=True):
            if any((home / "campaigns").glob("job-*/progress.jsonl")) and "forkserver" in " ".join(child.cmdline()):
                for own in child.children():
                    own.send_signal(signal.SIGKILL)
                    return
        time.sleep(0.01)


def said(engine: Engine) -> list[str]:
    """The last progress of each job."""
    with transaction(engine) as session:
        return list(session.scalars(select(Progress.sentence).order_by(Progress.job_id)))


def model_of(engine: Engine) -> Model:
    (model,) = rows_of(engine, Model)
    return model


def test_a_cancelled_campaign_leaves_nothing_and_a_stopping_worker_gives_it_back(engine: Engine, tmp_path: Path):
    tools = stressed(engine, tmp_path)
    order(engine)
    work(replace(tools, stopping=lambda: True))
    assert (rows_of(engine, Job)[0].state, rows_of(engine, Campaign)) == ("queued", [])
    assert list((tools.home / "campaigns").glob("job-*"))  # the next worker goes on there
    with transaction(engine) as session:
        assert cancel_stress_tests(session, model_named(session, "fraud"), by=OWNER) == 1
    assert not work(tools)
    assert rows_of(engine, Job)[0].state == "cancelled"


def test_what_cannot_be_run_ends_with_a_sentence_and_without_a_second_try(engine: Engine, tmp_path: Path):
    tools = stressed(engine, tmp_path, days=0)
    order(engine, on="recent")
    assert work(tools)
    assert not work(tools)
    assert "labelled rows since the reference, got none" in said(engine)[0]


def test_only_operators_and_deciders_may_order_one(engine: Engine, tmp_path: Path):
    stressed(engine, tmp_path, days=0)
    viewer = Actor(id="eve", name="Eve", roles=frozenset({Role.VIEWER}))
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        version = champion(session, model)
        with pytest.raises(NotAllowed, match="to run stress test needs one of"):
            order_stress_test(session, model, version, by=viewer, now=EVENING)


def test_an_order_survives_its_job():
    wish = Order(version_id=3, purpose="nightly", plan="nightly", on="recent")
    assert Order.of(wish.to_payload()) == wish


def test_a_bank_gives_back_what_was_put_and_nothing_of_a_torn_file(tmp_path: Path):
    bank = FolderBank(tmp_path / "bank")
    assert bank.get("S2/apgd") is None
    bank.put("S2/apgd", {"rows": np.eye(2)})
    assert (bank.get("S2/apgd") or {})["rows"].tolist() == [[1, 0], [0, 1]]
    (file,) = (tmp_path / "bank").iterdir()
    file.write_bytes(file.read_bytes()[:40])
    assert bank.get("S2/apgd") is None
