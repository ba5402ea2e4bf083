"""A producer that counts its own rows: the same counts, the same kept rows, nothing twice, nothing believed."""

import base64
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, func, select, text

from monitor.acts.sampling import configure_sampling
from monitor.acts.tokens import create_token
from monitor.api.admission import Admission
from monitor.api.storing import InThreads
from monitor.client import Answer, TraceLogger
from monitor.client.transport import Http, Unreachable
from monitor.db.engine import database_now, transaction
from monitor.db.profiles import ProfileDelta
from monitor.db.quarantine import Quarantined
from monitor.db.registry import ModelSettings, Version, model_named
from monitor.db.traces import read_traces
from monitor.drift.profile import Profile
from monitor.intake.formats import LINES
from monitor.intake.plan import IntakePlan
from monitor.intake.write_counts import write_counts
from tests.integration.test_intake import BINNING, DAY, MARCH, add_model
from tests.integration.test_intake_http import FACE, ROOT, Sender
from tests.unguarded import unguarded
from tests.web import call, served

WEEK = 7 * 86_400
RARE = {"sampling_rate": 0.2, "sampling_surprise": 0.8, "tick_seconds": WEEK, "window_seconds": WEEK}
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def made_rows(n: int = 600) -> list[dict[str, Any]]:
    """Three weeks of two versions, odd values among them."""
    rng = random.Random(5)
    odd = [None, math.nan, math.inf, -math.inf, "12,50", 1e200]
    return [
        {
            "features": {
                "amount": rng.choice(odd) if rng.random() < 0.1 else rng.gauss(50, 9),
                "channel": rng.choice(["app", "web", "fax", None]),
            },
            "trace_id": f"r{i}",
            "event_time": DAY + timedelta(minutes=50 * i, microseconds=rng.randrange(1_000_000)),
            "version": rng.choice(["v1", "v2", None]),
            "score": rng.random(),
            "prediction": rng.random() < 0.5,
        }
        for i in range(n)
    ]


ROWS = made_rows()
BAD = {"features": {"amount": 1.0, "channel": "a\x00b"}, "trace_id": "bad", "event_time": DAY}


@dataclass(frozen=True)
class House:
    engine: Engine
    url: str
    token: str

    def logger(self, **settings: Any) -> TraceLogger:
        settings = {"batch_rows": 200, "flush_seconds": 0.2} | settings
        return TraceLogger(self.url, "fraud", self.token, **settings)

    def log(self, rows: list[dict[str, Any]], **settings: Any) -> TraceLogger:
        """Log rows, and wait until they are there."""
        with self.logger(**settings) as logger:
            for row in rows:
                logger.log(**row)
            assert logger.flush(60)
        return logger

    def plan(self) -> IntakePlan:
        status, body, _ = call(f"{self.url}/v1/models/fraud/intake", token=self.token)
        assert status == 200
        return IntakePlan.from_document(json.loads(body))

    def send(self, body: bytes) -> Any:
        return Sender(self.url, self.token).send(body, kind=LINES, to="profiles")

    def counted(self) -> dict[tuple[str, datetime], Profile]:
        found: dict[tuple[str, datetime], Profile] = {}
        with transaction(self.engine) as session:
            rows = select(Version.name, ProfileDelta.bucket, ProfileDelta.counts).join(
                Version, Version.id == ProfileDelta.version_id
            )
            for version, bucket, counts in session.execute(rows):
                profile = Profile.from_bytes(counts, BINNING)
                at = (version, bucket.astimezone(UTC))
                found[at] = found[at] + profile if at in found else profile
        return found

    def kept(self) -> pd.DataFrame:
        with transaction(self.engine) as session:
            rows = read_traces(session, model_named(session, "fraud"), MARCH, every=True)
        return rows.sort_values("trace_id", ignore_index=True)

    def set(self, **settings: Any) -> None:
        with transaction(self.engine) as session:
            model = model_named(session, "fraud")
            model.settings = replace(ModelSettings.of(model), **settings).to_document()


@contextmanager
def opened(engine: Engine, folder: Path, **settings: Any) -> Iterator[House]:
    with transaction(engine) as session, unguarded(session):
        add_model(session, **(RARE | settings))
        _, secret = create_token(session, name="shop", roles=["producer"], by=ROOT, now=database_now(session))
    with served(engine, folder, admission=Admission(places=200), storing=InThreads(engine, 4)) as url:
        yield House(engine, url, secret)


@pytest.fixture
def house(engine: Engine, tmp_path: Path) -> Iterator[House]:
    with opened(engine, tmp_path) as made:
        yield made


def as_lines(rows: list[dict[str, Any]]) -> list[bytes]:
    plain = [row["features"] | {k: v for k, v in row.items() if k != "features" and v is not None} for row in rows]
    return [json.dumps(row, default=str).encode() + b"\n" for row in plain]


def require_same(found: House, told: dict[tuple[str, datetime], Profile], kept: pd.DataFrame) -> None:
    counted = found.counted()
    assert counted.keys() == told.keys()
    for at, profile in counted.items():
        assert profile.rows == told[at].rows
        np.testing.assert_array_equal(profile.counts, told[at].counts)
        np.testing.assert_array_equal(profile.faults, told[at].faults)
        np.testing.assert_allclose(profile.moments, told[at].moments, rtol=1e-9)
        np.testing.assert_allclose(profile.joint.products, told[at].joint.products, rtol=1e-9)
    pd.testing.assert_frame_equal(found.kept(), kept)


def emptied(house: House) -> None:
    with transaction(house.engine) as session:
        model = model_named(session, "fraud")
        session.execute(text(f"TRUNCATE profiles, quarantine, traces.m{model.id}, traces.ledger_m{model.id}"))
        model.watermark = None


def test_counted_rows_give_the_counts_and_the_kept_rows_of_rows_that_came_one_by_one(house):
    rows = [*ROWS, BAD]
    house.log(rows)
    plain, kept = house.counted(), house.kept()
    assert 100 < len(kept) < 500
    assert set(kept["weight"]) == {5.0, 1.25}
    emptied(house)
    logger = house.log(rows, profiles=True)
    assert logger.counters.profiled == len(rows)
    assert (logger.counters.accepted, logger.counters.quarantined) == (len(ROWS), 1)
    require_same(house, plain, kept)
    with transaction(house.engine) as session:
        reason = session.scalars(select(Quarantined.reason)).one()
        model = model_named(session, "fraud")
        assert session.scalar(text(f"SELECT count(*) FROM traces.ledger_m{model.id}")) == len(ROWS)
        assert model.watermark == max(row["event_time"] for row in ROWS)
    assert reason.startswith("channel: expected readable text")


@pytest.mark.parametrize("seed", range(3))
def test_a_replay_in_another_order_with_batches_that_overlap_gives_the_same(house, seed):
    house.log(ROWS)
    plain, kept = house.counted(), house.kept()
    emptied(house)
    rng = random.Random(seed)
    orders = [sorted(ROWS, key=lambda row: rng.random()) for _ in range(2)]
    for number, order in enumerate((ROWS, ROWS, *orders)):
        settings = {"batch_rows": rng.choice([90, 200, 600]), "profiles": number != 2}
        told = house.log(order, **settings).counters
        assert told.sent == told.accepted + told.duplicate == len(ROWS)
    require_same(house, plain, kept)


def test_a_batch_that_a_hundred_clients_send_at_once_counts_once(house):
    house.log([ROWS[0] | {"trace_id": v, "version": v} for v in ("v1", "v2")])  # a version that is new changes the plan
    body = write_counts(as_lines(ROWS), house.plan(), now=NOW)
    assert body is not None
    with ThreadPoolExecutor(100) as crowd:
        answers = list(crowd.map(lambda _: house.send(body), range(100)))
    assert {answer.status for answer in answers} == {200}
    assert sum(answer.document["accepted"] for answer in answers) == len(ROWS)
    assert sum(profile.rows for profile in house.counted().values()) == len(ROWS) + 2
    assert house.kept()["trace_id"].is_unique


class Lossy:
    """Delivers everything and loses the first answers."""

    def __init__(self, url: str, lost: int) -> None:
        self.http, self.lost, self.sent = Http(url), lost, list[str]()

    def send(self, path: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        self.sent.append(path.rsplit("/", 1)[1])
        answer = self.http.send(path, body, headers, timeout_seconds)
        if len(self.sent) <= self.lost:
            raise Unreachable("TimeoutError")
        return answer

    def fetch(self, path: str, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        return self.http.fetch(path, headers, timeout_seconds)

    def close(self) -> None:
        self.http.close()


def test_rows_whose_answer_was_lost_count_once_though_a_later_process_sends_them_in_other_batches(house, tmp_path):
    first = house.logger(profiles=True, transport=Lossy(house.url, 1_000), spool_dir=tmp_path / "spool")
    for row in ROWS[:150]:
        first.log(**row)
    assert not first.flush(3)
    for row in ROWS[150:]:
        first.log(**row)
    first.close(0.1)
    assert sum(profile.rows for profile in house.counted().values()) == 150
    second = house.log(ROWS[:1], profiles=True, spool_dir=tmp_path / "spool")
    assert second.counters.recovered == len(ROWS)
    assert sum(profile.rows for profile in house.counted().values()) == len(ROWS)
    assert second.counters.accepted == len(ROWS) - 150


def test_when_the_model_is_changed_the_client_counts_anew_and_loses_nothing(house):
    with house.logger(profiles=True) as logger:
        for row in ROWS[:300]:
            logger.log(**row)
        assert logger.flush(30)
        with transaction(house.engine) as session:
            model, now = model_named(session, "fraud"), database_now(session)
            configure_sampling(session, model, rate=0.5, by=ROOT, now=now)
        for row in ROWS[300:]:
            logger.log(**row)
        assert logger.flush(30)
    assert logger.counters.profiled == logger.counters.accepted == len(ROWS)
    assert set(house.kept()["weight"]) == {5.0, 1.25, 2.0}
    assert sum(profile.rows for profile in house.counted().values()) == len(ROWS)


def test_a_plan_that_holds_no_more_is_refused_by_name(house):
    body = write_counts(as_lines(ROWS), house.plan(), now=NOW)
    house.set(sampling_rate=0.3)
    answer = house.send(body)
    assert (answer.status, answer.document["type"]) == (409, "urn:holdfast:stale-plan")
    assert house.counted() == {}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"sampling_rate": 1.0}, "every row is kept"),
        ({"hashed": ["channel"], "hash_key": "k"}, "keyed hashes"),
    ],
)
def test_where_counts_will_not_do_rows_travel_as_they_are_and_one_sentence_says_why(house, caplog, settings, why):
    house.set(**settings)
    logger = house.log(ROWS, profiles=True)
    assert (logger.counters.profiled, logger.counters.accepted) == (0, len(ROWS))
    assert sum(why in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("by", ["", "channel"])
def test_where_a_number_of_rows_a_window_is_kept_the_windows_before_decide_as_for_rows(house, by):
    day = {"sampling_rate": 1.0, "sampling_rows": 5, "sampling_by": by, "window_seconds": 86_400, "tick_seconds": None}
    house.set(**day)
    history, first = ROWS[:400], DAY + timedelta(days=14)
    today = [row | {"event_time": first + timedelta(minutes=i)} for i, row in enumerate(ROWS[400:])]
    found = []
    for profiles in (False, True):
        house.log(history)
        house.log(today[:1])  # stream time is in the window now: the plan says what came before it
        logger = house.log(today[1:], profiles=profiles)
        assert logger.counters.profiled == (199 if profiles else 0)
        found.append(({at: profile.rows for at, profile in house.counted().items()}, house.kept()))
        elsewhere = house.log([row | {"event_time": first - timedelta(hours=1)} for row in today], profiles=profiles)
        assert (elsewhere.counters.profiled, elsewhere.counters.accepted) == (0, len(today))  # of a window that is over
        emptied(house)
    (plain, kept), (counted, kept_of_counted) = found
    assert kept.loc[kept["event_time"] > first, "weight"].max() > 3
    pd.testing.assert_frame_equal(kept_of_counted, kept)
    assert counted == plain


def test_without_a_reference_rows_travel_as_they_are(house, caplog):
    with transaction(house.engine) as session, unguarded(session):
        session.execute(text('UPDATE "references" SET active = false'))
    assert house.log(ROWS, profiles=True).counters.profiled == 0
    assert "no reference yet" in caplog.text


def test_of_two_versions_of_one_name_the_newest_is_counted(house):
    with transaction(house.engine) as session, unguarded(session):
        model = model_named(session, "fraud")
        session.add(Version(model_id=model.id, number=2, name="v1", flavour="none", manifest_sha256="1" * 64))
    rows = [row | {"version": "v1"} for row in ROWS]
    assert house.log(rows, profiles=True).counters.profiled == len(rows)
    with transaction(house.engine) as session:
        newest = select(func.max(Version.id))
        assert set(session.scalars(select(ProfileDelta.version_id))) == {session.scalar(newest)}


def test_a_server_of_before_gets_rows(house, caplog):
    class Old(Lossy):
        def fetch(self, *arguments: Any) -> Answer:
            return Answer(status=404, body=b'{"detail": "Not Found"}')

    logger = house.log(ROWS, profiles=True, transport=Old(house.url, 0))
    assert (logger.counters.profiled, logger.counters.accepted) == (0, len(ROWS))
    assert "no plan to count by" in caplog.text


def test_a_server_that_counts_otherwise_gets_rows(house, caplog):
    class Newer(Lossy):
        def fetch(self, *arguments: Any) -> Answer:
            told = super().fetch(*arguments)
            return replace(told, body=json.dumps(json.loads(told.body) | {"format": 2}).encode())

    logger = house.log(ROWS, profiles=True, transport=Newer(house.url, 0))
    assert (logger.counters.profiled, logger.counters.accepted) == (0, len(ROWS))
    assert "expected a plan of format 1, got 2" in caplog.text


def test_a_server_that_fails_at_counts_gets_rows(house, caplog):
    class Broken(Lossy):
        def send(self, path: str, *arguments: Any) -> Answer:
            return Answer(status=500) if path.endswith("profiles") else super().send(path, *arguments)

    logger = house.log(ROWS, profiles=True, transport=Broken(house.url, 0))
    assert (logger.counters.profiled, logger.counters.accepted) == (0, len(ROWS))
    assert sum("does not take counts" in record.message for record in caplog.records) == 1


def test_rows_that_would_make_larger_counts_travel_as_they_are(house):
    transport = Lossy(house.url, 0)
    house.set(tick_seconds=3_600)
    logger = house.log(ROWS, profiles=True, transport=transport)
    assert set(transport.sent) == {"traces"}
    assert logger.counters.accepted == len(ROWS)


def test_labels_of_counted_rows_join_those_that_are_kept_and_wait_for_no_others(house):
    with house.logger(profiles=True) as logger:
        for row in ROWS:
            logger.log(**row)
        for row in ROWS:
            logger.label(row["trace_id"], 1, NOW - timedelta(days=30))
        assert logger.flush(60)
    assert logger.counters.profiled == len(ROWS)
    assert house.kept()["label"].eq("1").all()


def changed(change: Callable[[Profile], Profile]) -> Callable[[dict[str, Any], list[bytes]], object]:
    """The counts of the first part as something else."""

    def apply(head: dict[str, Any], lines: list[bytes]) -> None:
        profile = Profile.from_bytes(base64.b64decode(head["parts"][0]["counts"]), BINNING)
        head["parts"][0]["counts"] = base64.b64encode(change(profile).to_bytes()).decode()

    return apply


def of_first(**fields: Any) -> Callable[[dict[str, Any], list[bytes]], object]:
    return lambda head, lines: head["parts"][0].update(fields)


def at_another_time(microseconds: int) -> Callable[[dict[str, Any], list[bytes]], object]:
    """One row that is not in the sample, moved."""

    def apply(head: dict[str, Any], lines: list[bytes]) -> None:
        part, kept = head["parts"][0], {json.loads(line)["trace_id"] for line in lines}
        at = next(i for i, known in enumerate(part["ids"]) if known not in kept)
        part["times"][at] += microseconds
        part["times"][at + 1] -= microseconds

    return apply


def unkept(lines: list[bytes]) -> dict[str, Any]:
    kept = {json.loads(line)["trace_id"] for line in lines}
    return next(row for row in ROWS if row["trace_id"] not in kept)


def off_the_grid(head: dict[str, Any], lines: list[bytes]) -> None:
    """A microsecond later, and every row where it was."""
    part = head["parts"][0]
    part["bucket"] = (datetime.fromisoformat(part["bucket"]) + timedelta(microseconds=1)).isoformat()
    part["times"][0] -= 1


IMPOSSIBLE = {
    "a count below 0": changed(lambda p: replace(p, counts=p.counts - 2 * p.counts[0])),
    "rows of nobody": changed(lambda p: p + p),
    "no profile": of_first(counts="SEZQMg=="),
    "other bins": of_first(binning_id="0" * 16),
    "a row too few": lambda head, lines: (head["parts"][0]["ids"].pop(), head["parts"][0]["times"].pop()),
    "a time too few": lambda head, lines: head["parts"][0]["times"].pop(),
    "a row twice": lambda head, lines: head["parts"].append(head["parts"][0]),
    "a time after the bucket": at_another_time(WEEK * 10**6),
    "a time before the bucket": at_another_time(-WEEK * 10**6),
    "a time to come": at_another_time(900 * 86_400 * 10**6),
    "a bucket off the grid": off_the_grid,
    "a bucket at the end of time": of_first(bucket="9999-12-31T23:00:00Z"),
    "a bucket before all time": of_first(bucket="0001-01-01T00:00:00+14:00"),
    "rows of the sample withheld": lambda head, lines: (head.update(sample=head["sample"] - 1), lines.pop(0)),
    "no sample": lambda head, lines: (head.update(sample=0), lines.clear()),
    "fewer lines than are said": lambda head, lines: lines.clear(),
    "a sample of other rows": lambda head, lines: lines.__setitem__(0, lines[0].replace(b'"r', b'"z')),
    "a row of the sample twice": lambda head, lines: lines.__setitem__(1, lines[0]),
    "a row that nobody chose": lambda head, lines: (
        head.update(sample=head["sample"] + 1), lines.insert(0, as_lines([unkept(lines)])[0])
    ),
    "no head": lambda head, lines: head.clear(),
    "a head that says more": lambda head, lines: head.update(weights=[1]),
}  # fmt: skip


def test_rows_of_no_possible_time_are_wanted_as_they_are(house):
    plan, to_come = house.plan(), datetime(2200, 1, 1, tzinfo=UTC)
    late = [row | {"event_time": to_come + timedelta(minutes=i)} for i, row in enumerate(ROWS)]
    assert house.send(write_counts(as_lines(late), plan, now=to_come)).document["type"] == "urn:holdfast:rows-wanted"
    whole = write_counts(as_lines(ROWS), plan, now=NOW)
    assert whole is not None
    first = unkept(whole.splitlines()[1:])  # counted alone, so that nothing but its time is wrong
    rows = [row for row in ROWS if row["event_time"] >= first["event_time"]]
    with transaction(house.engine) as session:
        model_named(session, "fraud").oldest_kept = first["event_time"] + timedelta(microseconds=1)
    body = write_counts(as_lines(rows), plan, now=NOW)
    assert house.send(body).document["type"] == "urn:holdfast:rows-wanted"
    assert house.log(rows, profiles=True).counters.quarantined == 1


@pytest.mark.slow
def test_counts_that_no_rows_could_give_are_refused_as_a_whole(house):
    body = write_counts(as_lines(ROWS), house.plan(), now=NOW)
    assert body is not None
    for what, change in IMPOSSIBLE.items():
        first, *lines = body.splitlines(keepends=True)
        head = json.loads(first)
        change(head, lines)
        answer = house.send(json.dumps(head).encode() + b"\n" + b"".join(lines))
        assert answer.status in (409, 422), (what, answer.body)
        assert "expected" in answer.document["detail"], what
    assert house.counted() == {}
    assert house.kept().empty
    with transaction(house.engine) as session:
        model = model_named(session, "fraud")
        assert session.scalar(text(f"SELECT count(*) FROM traces.ledger_m{model.id}")) == 0
    assert house.send(body).document["accepted"] == len(ROWS)


def test_counts_are_lines_of_json_and_nothing_else(house):
    body = write_counts(as_lines(ROWS), house.plan(), now=NOW)
    assert Sender(house.url, house.token).send(body, to="profiles").status == 415


def test_only_a_producer_of_the_model_reads_its_plan_and_learns_when_nothing_changed(house):
    url = f"{house.url}/v1/models/fraud/intake"
    _, _, headers = call(url, token=house.token)
    assert call(url, token=house.token, headers={"If-None-Match": headers["etag"]})[0] == 304
    house.set(sampling_rate=0.3)
    assert call(url, token=house.token, headers={"If-None-Match": headers["etag"]})[0] == 200
    assert call(url)[0] == 401
    with transaction(house.engine) as session:
        viewer = create_token(session, name="viewer", roles=["viewer"], by=ROOT, now=database_now(session))[1]
    assert call(url, token=viewer)[0] == 403


def test_the_plan_never_holds_the_key_of_hashes(house):
    house.set(hashed=["channel"], hash_key="s3cret-k3y")
    assert b"s3cret-k3y" not in call(f"{house.url}/v1/models/fraud/intake", token=house.token)[1]


def test_a_row_is_checked_before_its_prediction_by_the_rules_of_the_server(house):
    with house.logger(checks=True) as logger:
        assert logger.ready(20)
        assert logger.check({"amount": 12.5, "channel": "app"}, score=0.5) == ()
        refused = {"channel": "a\x00b", "amount": 1.0}
        assert logger.check(refused)[0].startswith("channel: expected readable text")
        assert logger.check({"amount": 1.0, "channel": "app"}, score=math.inf)[0].startswith("score: expected a finite")
        ahead = datetime.now(UTC) + timedelta(days=3)
        assert logger.check({"amount": 1.0, "channel": "app"}, event_time=ahead)[0].startswith("event_time: expected a")
        assert logger.check({"amount": "12,50", "channel": "fax", "colour": "red"}) == (
            "amount: expected a number, got something else",
            "channel: expected one of the 2 declared levels, got 'fax'",
            "colour: the model's schema has no such feature",
        )
        assert logger.check({"channel": "app"}) == ("amount: expected a value, the row has no such field",)
        assert logger.check({"amount": -math.inf, "channel": None})[0].startswith("amount: expected a finite number")
        for odd in (None, 3, {}, {"amount": object()}, {1: 2}):
            assert logger.check(odd)  # type: ignore[arg-type]
        assert logger.counters.logged == 0


def test_vectors_are_counted_kept_and_checked_as_on_the_server(engine, tmp_path):
    rng = random.Random(3)
    rows = [
        row | {"features": row["features"] | {"face": [rng.gauss(0, 1) for _ in range(3)] if i % 9 else None}}
        for i, row in enumerate(ROWS)
    ]
    with opened(engine, tmp_path, vectors=(FACE,)) as house:
        found = []
        for profiles in (False, True):
            assert house.log(rows, profiles=profiles).counters.profiled == profiles * len(rows)
            found.append(house.kept())
            require_same(house, house.counted(), found[0])
            emptied(house)
        assert found[0]["face.norm"].notna().sum() > 50
        with house.logger(checks=True) as logger:
            assert logger.ready(20)
            assert logger.check({"amount": 1.0, "channel": "app", "face": [1, 2, 3]}) == ()
            assert logger.check({"amount": 1.0, "channel": "app", "face": [1, 2]}) == (
                "face: expected 3 numbers, got 2",
            )
            assert logger.check({"amount": 1.0, "channel": "app"}) == (
                "face: expected a vector, the row has no such field",
            )


def test_nothing_speaks_against_a_row_while_the_schema_is_not_there(house):
    with TraceLogger("http://127.0.0.1:9", "fraud", "hf_t", checks=True, timeout_seconds=0.2) as logger:
        assert not logger.ready(0.3)
        assert logger.check({"amount": "x"}) == ()


FORKS = """
import os, sys, time
from monitor.client import TraceLogger

logger = TraceLogger(sys.argv[1], "fraud", sys.argv[2], profiles=True, batch_rows=100, flush_seconds=0.2)
while "pandas" not in sys.modules:
    time.sleep(0.001)
child = os.fork()  # while the parent's thread is in the middle of importing
for i in range(100):
    logger.log({"amount": 1.0, "channel": "app"}, event_time=float(sys.argv[3]), version="v1")
done = logger.ready(60) and logger.flush(60) and logger.counters.profiled == 100
if child == 0:
    os._exit(0 if done else 1)
sys.exit(0 if done and os.waitpid(child, 0)[1] == 0 else 1)
"""


@pytest.mark.slow
def test_a_process_that_forks_while_the_packages_are_imported_counts_in_both(house):
    told = subprocess.run(
        [sys.executable, "-c", FORKS, house.url, house.token, str(DAY.timestamp())],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}, timeout=200, check=False,
    )  # fmt: skip
    assert told.returncode == 0
    assert sum(profile.rows for profile in house.counted().values()) == 200


def test_where_numpy_is_not_installed_rows_travel_as_they_are(house, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "monitor.intake.plan", None)
    logger = house.log(ROWS[:100], profiles=True)
    assert (logger.counters.profiled, logger.counters.accepted) == (0, 100)
    assert "pip install 'holdfast[profiles]'" in caplog.text
