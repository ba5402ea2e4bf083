"""The courier by a clock that is set and a server in memory: outages, refusals, bounds, order."""

import json
import logging
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from monitor.client import Answer
from monitor.client.answers import Backoff, Meaning, judge
from tests.posting import Server, SetClock, balanced, courier_of, label, log, refusal, run_for, unreachable


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_rows_go_in_full_batches_at_once_and_the_rest_within_the_flush_time(clock):
    server = Server()
    courier = courier_of(server, clock)
    log(courier, *range(120))
    assert courier.step() == courier.step() == 0.0
    assert [rows for _, rows in server.requests] == [50, 50]
    assert len(server.table) == 100
    run_for(courier, clock, 1.1)
    assert server.arrived == [str(i) for i in range(120)]
    assert courier.counters().accepted == 120


def test_traces_and_labels_go_to_their_own_address_with_the_token(clock):
    server = Server()
    courier = courier_of(server, clock)
    log(courier, "a", "b")
    label(courier, "a")
    run_for(courier, clock, 2)
    assert server.requests == [("/v1/models/fraud/traces", 2), ("/v1/models/fraud/labels", 1)]
    assert server.tokens == {"Bearer hf_t"}
    assert server.table["/v1/models/fraud/labels/a"]["label"] == 1


@pytest.mark.parametrize("spooled", [True, False])
def test_nothing_is_lost_nor_sent_twice_in_an_outage_of_ten_minutes(clock, tmp_path, spooled):
    server = Server(instead=unreachable)
    courier = courier_of(server, clock, folder=tmp_path if spooled else None, max_rows=1_000 if spooled else 20_000)
    for second in range(600):
        log(courier, *(f"{second}-{i}" for i in range(20)))
        if second % 10 == 0:
            label(courier, f"{second}-0")
        run_for(courier, clock, 1)
        assert courier.counters().waiting <= courier.mailbox._most
    during = courier.counters()
    assert (during.sent, during.dropped) == (0, 0)
    assert during.spooled > 11_000 if spooled else during.waiting == 12_060
    assert during.retries < 40
    server.instead = lambda rows: None
    log(courier, "after")
    run_for(courier, clock, 60)
    told = courier.counters()
    assert (told.accepted, told.duplicate, told.waiting, told.spooled) == (12_061, 0, 0, 0)
    assert len(server.table) == 12_061
    assert balanced(courier)


def test_what_is_on_disk_is_sent_before_what_came_later(clock, tmp_path):
    server = Server(instead=unreachable)
    courier = courier_of(server, clock, folder=tmp_path, max_rows=100)
    log(courier, *range(90))
    run_for(courier, clock, 3)
    assert courier.counters().spooled > 0
    log(courier, *range(90, 120))
    server.instead = lambda rows: None
    run_for(courier, clock, 120)
    assert server.arrived == [str(i) for i in range(120)]


def test_memory_is_bounded_in_an_endless_outage_and_what_is_dropped_is_counted(clock, caplog):
    server = Server(instead=unreachable)
    courier = courier_of(server, clock, max_rows=300)
    for second in range(100):
        log(courier, *(f"{second}-{i}" for i in range(50)))
        run_for(courier, clock, 1)
        assert courier.counters().waiting <= 300
    told = courier.counters()
    assert (told.logged, told.waiting, told.dropped) == (5_000, 300, 4_700)
    assert [r.message for r in caplog.records if "dropped" in r.message] == [
        "holdfast: no room in memory: rows are dropped, and counted in `counters.dropped`"
    ]
    server.instead = lambda rows: None
    run_for(courier, clock, 60)
    assert server.arrived == [f"{second}-{i}" for second in range(6) for i in range(50)]  # the newest went
    assert balanced(courier)


def test_a_full_spool_drops_the_newest_and_says_so_once(clock, tmp_path, caplog):
    server = Server(instead=unreachable)
    courier = courier_of(server, clock, folder=tmp_path, max_rows=200, spool_bytes=20_000)
    for second in range(100):
        log(courier, *(f"{second}-{i}" for i in range(50)))
        run_for(courier, clock, 1)
    told = courier.counters()
    on_disk = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert 15_000 < on_disk <= 20_000
    assert told.dropped == 5_000 - told.spooled - told.waiting > 0
    assert [r.message for r in caplog.records].count(caplog.records[-1].message) == 1
    assert sum("is full" in r.message for r in caplog.records) == 1
    server.instead = lambda rows: None
    run_for(courier, clock, 60)
    kept = told.spooled + told.waiting
    assert server.arrived == [f"{i // 50}-{i % 50}" for i in range(kept)]


def test_a_disk_that_fails_costs_nothing_while_memory_lasts(clock, tmp_path, caplog):
    (tmp_path / "fraud").write_text("a file where the folder should be")
    server = Server(instead=unreachable)
    courier = courier_of(server, clock, folder=tmp_path, max_rows=100)
    log(courier, *range(80))
    run_for(courier, clock, 30)
    server.instead = lambda rows: None
    run_for(courier, clock, 60)
    assert len(server.table) == 80
    assert sum("cannot write to the spool" in r.message for r in caplog.records) == 1


@pytest.mark.parametrize("status", [429, 503, 507])
def test_retry_after_is_kept_even_by_who_is_in_a_hurry(clock, status):
    server = Server(instead=lambda rows: refusal(status, retry_after="7"))
    courier = courier_of(server, clock)
    log(courier, "a")
    run_for(courier, clock, 1.5)
    asked = len(server.requests)
    assert asked == 1
    for _ in range(13):
        courier.hurry = True
        run_for(courier, clock, 0.5)
    assert len(server.requests) == asked
    server.instead = lambda rows: None
    courier.hurry = True
    run_for(courier, clock, 1)
    assert server.arrived == ["a"]


def test_a_hurry_does_not_wait_out_a_back_off(clock):
    server = Server(instead=unreachable)
    courier = courier_of(server, clock)
    log(courier, "a")
    run_for(courier, clock, 100)
    server.instead = lambda rows: None
    courier.hurry = True
    run_for(courier, clock, 0.01)
    assert server.arrived == ["a"]


def test_waits_grow_to_a_bound_and_are_jittered_from_nought(clock):
    spans: list[float] = []
    backoff = Backoff(jitter=lambda low, high: spans.append(high) or low)
    assert [backoff.failed() for _ in range(200)] == [0.0] * 200
    assert spans[:6] == [1, 2, 4, 8, 16, 30]
    assert spans[-1] == 30
    backoff.succeeded()
    backoff.failed()
    assert spans[-1] == 1


def test_a_batch_that_is_too_large_is_halved_until_it_fits(clock):
    server = Server(instead=lambda rows: refusal(413) if len(rows) > 7 else None)
    courier = courier_of(server, clock)
    log(courier, *range(50))
    run_for(courier, clock, 2)
    assert server.arrived == [str(i) for i in range(50)]
    assert (courier.counters().accepted, courier.counters().duplicate) == (50, 0)


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("status", [413, 415, 422, 400])
def test_a_row_that_is_refused_for_ever_blocks_nothing_and_is_kept_apart(clock, tmp_path, caplog, folder, status):
    def instead(rows):
        return refusal(status, "expected less") if any(row["trace_id"] == "5" for row in rows) else None

    server = Server(instead=instead)
    courier = courier_of(server, clock, folder=tmp_path if folder else None, batch_rows=10)
    log(courier, *range(30))
    run_for(courier, clock, 10)
    refused = 1 if status == 413 else 10
    told = courier.counters()
    assert (told.refused, told.sent, told.waiting, told.retries) == (refused, 30 - refused, 0, 0)
    assert balanced(courier)
    assert sum(f"{status}: expected less" in r.message for r in caplog.records) == 1
    if folder:
        kept = (tmp_path / "fraud" / "refused.traces").read_bytes().splitlines()
        assert "5" in [json.loads(line)["trace_id"] for line in kept]
        assert len(kept) == refused


def test_a_wrong_token_keeps_the_rows_asks_slowly_and_says_so_once(clock, tmp_path, caplog):
    server = Server(instead=lambda rows: refusal(401, "expected `Authorization: Bearer TOKEN`"))
    courier = courier_of(server, clock, folder=tmp_path)
    log(courier, *range(40))
    run_for(courier, clock, 600)
    assert 10 <= len(server.requests) <= 20
    assert courier.counters().spooled + courier.counters().waiting == 40
    assert sum("401" in r.message for r in caplog.records) == 1
    server.instead = lambda rows: None
    run_for(courier, clock, 61)
    assert len(server.table) == 40


def test_an_outage_is_said_once_and_again_when_it_comes_again(clock, caplog):
    caplog.set_level(logging.INFO, "monitor.client")
    server = Server()
    courier = courier_of(server, clock)
    for outage in range(2):
        server.instead = unreachable
        log(courier, outage)
        run_for(courier, clock, 60)
        server.instead = lambda rows: None
        run_for(courier, clock, 60)
    said = [r.message for r in caplog.records]
    assert (
        said
        == [
            "holdfast: the server takes no rows now, which are kept: no answer (ConnectionRefusedError)",
            "holdfast: the server takes rows again",
        ]
        * 2
    )


def test_an_answer_that_was_lost_means_that_rows_come_twice_and_count_once(clock):
    server = Server()
    courier = courier_of(server, clock)
    taken = server.send

    def lost(path, body, headers, timeout_seconds):
        taken(path, body, headers, timeout_seconds)
        courier.transport = server
        return unreachable([])

    courier.transport = type("Losing", (), {"send": staticmethod(lost), "close": lambda self: None})()
    log(courier, *range(40))
    run_for(courier, clock, 60)
    assert (courier.counters().sent, courier.counters().duplicate, len(server.table)) == (40, 40, 40)


def test_a_page_of_a_proxy_is_no_acknowledgement(clock, tmp_path):
    server = Server(instead=lambda rows: Answer(status=200, body=b"<html>welcome</html>"))
    courier = courier_of(server, clock, folder=tmp_path)
    log(courier, *range(40))
    run_for(courier, clock, 100)
    assert courier.counters().sent == 0
    server.instead = lambda rows: None
    run_for(courier, clock, 100)
    assert len(server.table) == 40


def test_what_the_server_thinks_of_rows_is_said_without_their_values(clock, caplog):
    told = {
        "accepted": 1, "duplicate": 0, "quarantined_total": 1, "ignored": ["colour"],
        "quarantined": [{"position": 1, "reason": "score: expected a finite number, got 'Jane Doe'"}],
    }  # fmt: skip
    courier = courier_of(Server(instead=lambda rows: Answer(status=200, body=json.dumps(told).encode())), clock)
    log(courier, "a", "b")
    run_for(courier, clock, 2)
    assert courier.counters().quarantined == 1
    assert "quarantine, the first: score: expected a finite number" in caplog.text
    assert "colour" in caplog.text
    assert "Jane" not in caplog.text


def test_a_row_that_json_cannot_hold_is_left_out_and_counted(clock, caplog):
    server = Server()
    courier = courier_of(server, clock)
    itself: dict[str, object] = {}
    itself["itself"] = itself
    courier.mailbox.put_trace((itself, "bad", 0.0, None, None, None))
    log(courier, "good")
    run_for(courier, clock, 2)
    assert server.arrived == ["good"]
    assert courier.counters().refused == 1
    assert balanced(courier)


def test_what_a_killed_process_left_is_sent_first_by_the_next(clock, tmp_path):
    server = Server(instead=unreachable)
    killed = courier_of(server, clock, folder=tmp_path)
    log(killed, *range(70))
    run_for(killed, clock, 20)
    assert killed.counters().spooled == 70
    assert killed.spool is not None
    killed.spool.leave_to_parent()  # its descriptors go with it, and nothing else is done
    segment = next(tmp_path.rglob("*.traces"))
    with segment.open("ab") as file:
        file.write(b'{"trace_id": "hal')  # what it was writing
    server.instead = lambda rows: None
    after = courier_of(server, clock, folder=tmp_path)
    log(after, "next")
    run_for(after, clock, 30)
    assert server.arrived == [*(str(i) for i in range(70)), "next"]
    assert (after.counters().recovered, after.counters().sent) == (70, 71)
    after.finish()
    assert list((tmp_path / "fraud").iterdir()) == []


def test_two_processes_share_a_spool_and_neither_takes_the_rows_of_the_other(clock, tmp_path):
    server = Server(instead=unreachable)
    one, other = (courier_of(server, clock, folder=tmp_path) for _ in range(2))
    log(one, "a", "b")
    log(other, "c")
    for courier in (one, other):
        run_for(courier, clock, 100)
    server.instead = lambda rows: None
    for courier in (one, other):
        run_for(courier, clock, 100)
        assert courier.counters().recovered == 0
    assert sorted(server.arrived) == ["a", "b", "c"]


def test_the_last_act_keeps_on_disk_what_was_not_sent_and_else_counts_it_as_lost(clock, tmp_path):
    for folder, spooled in ((tmp_path, 30), (None, 0)):
        courier = courier_of(Server(instead=unreachable), clock, folder=folder)
        log(courier, *range(30))
        courier.step()
        courier.finish()
        told = courier.counters()
        assert (told.waiting, told.dropped) == (0, 30 - spooled)
    assert sum(len(file.read_bytes().splitlines()) for file in tmp_path.rglob("*.traces")) == 30


NOW = 1_780_000_000.0


@pytest.mark.parametrize(
    ("answer", "meaning", "wait"),
    [
        (Answer(status=200, body=b'{"accepted": 1, "duplicate": 0}'), Meaning.TAKEN, 0),
        (Answer(status=200, body=b'{"accepted": "1"}'), Meaning.MEND, 0),
        (Answer(status=200, body=b"[" * 100_000), Meaning.MEND, 0),
        (Answer(status=301), Meaning.MEND, 0),
        (refusal(403), Meaning.MEND, 0),
        (refusal(404), Meaning.MEND, 0),
        (refusal(409), Meaning.MEND, 0),
        (refusal(408), Meaning.LATER, 0),
        (refusal(413), Meaning.TOO_LARGE, 0),
        (refusal(422), Meaning.REFUSED, 0),
        (refusal(500), Meaning.LATER, 0),
        (refusal(503, retry_after="3"), Meaning.LATER, 3),
        (refusal(503, retry_after="99999999"), Meaning.LATER, 300),
        (refusal(503, retry_after="-5"), Meaning.LATER, 0),
        (refusal(503, retry_after="soon"), Meaning.LATER, 0),
        (refusal(429, retry_after=format_datetime(datetime.fromtimestamp(NOW + 9, UTC))), Meaning.LATER, 9),
    ],
)
def test_an_answer_means(answer, meaning, wait):
    verdict = judge(answer, now=NOW)
    assert (verdict.meaning, verdict.wait_seconds) == (meaning, wait)
