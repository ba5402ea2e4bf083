"""`make demo` without a browser: two worlds, each with a process killed at the worst moment, end as they should."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from monitor.db import embedded
from monitor.db.engine import make_engine

KILLS = {1001: "check.before_commit:kill9", 1002: "train.before_commit:kill9"}


Ran = tuple[Path, dict[str, Any], str]


@contextmanager
def _ran(seed: int) -> Iterator[Ran]:
    """The folder, the last line and the progress of a demo in which a worker is killed once with -9.

    Not under pytest's own folder: pytest closes that to the system user that PostgreSQL runs as under root.
    """
    home = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    environment["HOLDFAST_FAILPOINT"] = KILLS[seed]
    arguments = ["demo", "--headless", "--approve", "--seed", str(seed), "--home", str(home)]
    done = subprocess.run(
        [sys.executable, "-m", "monitor.cli.app", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    yield home / "demo", json.loads(done.stdout.splitlines()[-1]), done.stderr
    shutil.rmtree(home)


@pytest.mark.slow
@pytest.mark.parametrize("seed", KILLS, ids=KILLS.values())
def test_demo_ends_as_it_should_although_a_worker_is_killed(seed):
    with _ran(seed) as ran:
        for check in (
            _worker_was_killed_and_started_again,
            _every_event_is_judged_for_what_it_is,
            _nothing_fires_before_the_first_event_and_nothing_without_one,
            _pages_are_fewer_than_a_conventional_rule_would_send,
            _every_row_is_profiled_and_some_are_kept,
            _candidate_is_sturdier_passes_its_gates_and_is_promoted_twice,
            _no_window_is_checked_twice_or_missing,
            _messages_were_delivered_to_the_file,
        ):
            check(ran)


def _worker_was_killed_and_started_again(ran: Ran) -> None:
    _, _, told = ran
    assert "worker-1 ended with code -9; starting it again" in told


def _every_event_is_judged_for_what_it_is(ran: Ran) -> None:
    _, found, _ = ran
    alerts = {(alert["event"], alert["kind"]): alert for alert in found["alerts"]}
    assert alerts["unit_error", "quality"]["verdict"] == "pipeline_break"
    assert alerts["unit_error", "quality"]["culprits"] == ["amount"]
    assert alerts["mix_shift", "drift"]["verdict"] == "harmless_drift"
    assert alerts["evasion", "robustness"]["verdict"] == "fragile"
    assert alerts["harmful_shift", "performance"]["verdict"] in ("harmful_covariate_shift", "concept_drift")


def _nothing_fires_before_the_first_event_and_nothing_without_one(ran: Ran) -> None:
    _, found, _ = ran
    first = min(datetime.fromisoformat(event["start"]) for event in found["events"])
    assert all(datetime.fromisoformat(alert["window"][0]) >= first for alert in found["alerts"])
    assert all(alert["event"] for alert in found["alerts"])


def _pages_are_fewer_than_a_conventional_rule_would_send(ran: Ran) -> None:
    _, found, _ = ran
    assert len(found["alerts"]) <= 8 < found["conventional_alerts"]


def _every_row_is_profiled_and_some_are_kept(ran: Ran) -> None:
    _, found, _ = ran
    assert found["profiled_rows"] >= found["traces"] >= 10_000


def _candidate_is_sturdier_passes_its_gates_and_is_promoted_twice(ran: Ran) -> None:
    _, found, _ = ran
    candidate = found["candidate"]
    assert candidate["robust"]["value"] > candidate["robust"]["champion"]
    assert candidate["clean"]["low"] > candidate["clean"]["champion"]
    assert all(gate["passed"] for gate in candidate["gates"])
    assert (found["approved_by"], found["promoted"], found["rolled_back"]) == ("ana", True, True)


def _no_window_is_checked_twice_or_missing(ran: Ran) -> None:
    home, _, _ = ran
    url = embedded.start(home).replace(f"/{embedded.DATABASE}?", "/holdfast_demo?")
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(
                text(
                    "SELECT v.name, c.kind, c.starts, c.ends FROM check_runs c JOIN versions v ON v.id = c.version_id "
                    "WHERE c.revision = 0 AND c.kind <> 'stress' AND v.name = 'v1' AND c.ends <= '2026-04-05' "
                    "ORDER BY c.kind, c.starts"
                )
            ).all()
    finally:
        engine.dispose()
        embedded.stop(home)
    for kind in ("quality", "drift", "performance"):
        windows = [(row.starts, row.ends) for row in rows if row.kind == kind]
        assert len(windows) == 62  # days 29 to 90
        assert all(before[1] == after[0] for before, after in pairwise(windows))


def _messages_were_delivered_to_the_file(ran: Ran) -> None:
    home, found, _ = ran
    told = (Path(home) / "messages.jsonl").read_text()
    assert all(alert["title"].split(":")[0] in told for alert in found["alerts"])
    assert "pipeline break, not drift" in told
