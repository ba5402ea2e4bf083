"""Intake over real HTTP: every way in, every refusal, nothing twice, nothing lost."""

import gzip
import http.client
import json
import math
import socket
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from monitor.acts.tokens import create_token, revoke_token
from monitor.api import ingest as intake
from monitor.api.admission import Admission
from monitor.api.storing import InThreads, Storing
from monitor.db.engine import database_now, transaction
from monitor.db.quarantine import Quarantined
from monitor.db.registry import Model, model_named
from monitor.db.tokens import token_named
from monitor.db.traces import read_traces
from monitor.governance import Actor, Role
from monitor.intake.formats import ARROW, JSON, LINES
from monitor.intake.plan import IntakePlan
from monitor.vectors import Vector, summarise
from monitor.windows import Window
from tests.integration.test_intake import FRAME, MARCH, add_model, profile, rows
from tests.unguarded import unguarded
from tests.web import served

ROOT = Actor(id="root", name="root", roles=frozenset({Role.ADMIN}))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True)
class Sender:
    """A producer with a token."""

    url: str
    secret: str

    def send(
        self, body: bytes, *, kind: str = JSON, to: str = "traces", model: str = "fraud", encoding: str | None = None,
        **headers: str,
    ) -> Answer:  # fmt: skip
        given = {"Content-Type": kind, "Authorization": f"Bearer {self.secret}"} | headers
        if encoding:
            given["Content-Encoding"] = encoding
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request("POST", f"/v1/models/{model}/{to}", body, given)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


def as_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [row | {"event_time": row["event_time"].isoformat()} for row in frame.to_dict("records")]


def as_arrow(frame: pd.DataFrame, *, compression: str | None = None, face: pa.DataType | None = None) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if face is not None:
        table = table.set_column(table.column_names.index("face"), "face", pa.array(frame["face"], face))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


FACE = Vector(name="face", size=3)
FACES = FRAME.assign(face=[[i / 4, -1.5, 0.25] if i % 10 else None for i in range(len(FRAME))])
ROWS = as_rows(FACES)


@contextmanager
def open_intake(
    engine: Engine, folder: Path, admission: Admission | None = None, storing: Storing | None = None
) -> Iterator[Sender]:
    with transaction(engine) as session, unguarded(session):
        add_model(session, vectors=(FACE,))
        _, secret = create_token(session, name="shop", roles=["producer"], by=ROOT, now=database_now(session))
    with served(engine, folder, admission=admission, storing=storing) as url:
        yield Sender(url, secret)


@pytest.fixture
def sender(engine: Engine, tmp_path: Path) -> Iterator[Sender]:
    with open_intake(engine, tmp_path) as made:
        yield made


def stored(engine: Engine) -> pd.DataFrame:
    with transaction(engine) as session:
        return read_traces(session, model_named(session, "fraud"), MARCH)


def stored_vectors(engine: Engine) -> list[list[float] | None]:
    with transaction(engine) as session:
        return list(session.scalars(text("SELECT face FROM traces.fraud ORDER BY event_time")))


BODIES = {
    "json": (orjson.dumps(ROWS), JSON, None),
    "json in an object": (orjson.dumps({"rows": ROWS}), JSON, None),
    "lines": (b"\n".join(map(orjson.dumps, ROWS)), LINES, None),
    "lines, gzip": (gzip.compress(b"\r\n".join(map(orjson.dumps, ROWS)) + b"\n"), LINES, "gzip"),
    "json, zstd": (bytes(pa.compress(orjson.dumps(ROWS), "zstd", asbytes=True)), JSON, "zstd"),
    "arrow": (as_arrow(FACES), ARROW, None),
    "arrow, gzip": (gzip.compress(as_arrow(FACES)), ARROW, "gzip"),
    "arrow with dictionaries": (as_arrow(FACES.astype({"channel": "category"})), ARROW, None),
    "arrow with lists of one size": (as_arrow(FACES, face=pa.list_(pa.float32(), 3)), ARROW, None),
    "arrow with large lists": (as_arrow(FACES, face=pa.large_list(pa.float64())), ARROW, None),
}


@pytest.mark.parametrize("way", BODIES)
def test_every_way_in_stores_the_same_rows_and_counts(engine, sender, way):
    body, kind, encoding = BODIES[way]
    answer = sender.send(body, kind=kind, encoding=encoding)
    assert (answer.status, answer.document["accepted"], answer.document["quarantined"]) == (200, 200, [])
    found = stored(engine)
    pd.testing.assert_frame_equal(
        found[["trace_id", "amount", "channel"]], FRAME[["trace_id", "amount", "channel"]].astype({"channel": object}),
        check_dtype=False,
    )  # fmt: skip
    assert (found["event_time"] == FRAME["event_time"]).all()
    vectors, numbers = FACES["face"], np.stack(FACES["face"].dropna()).astype(np.float32)
    assert stored_vectors(engine) == [face if i % 10 else None for i, face in enumerate(vectors)]
    np.testing.assert_allclose(found.loc[vectors.notna(), list(FACE.summaries)], summarise(numbers), rtol=1e-12)
    assert found.loc[vectors.isna(), list(FACE.summaries)].isna().all(axis=None)
    again = sender.send(body, kind=kind, encoding=encoding)
    assert (again.document["accepted"], again.document["duplicate"]) == (0, 200)
    with transaction(engine) as session:
        counted = profile(session, model_named(session, "fraud"))
        assert counted is not None
        assert counted.rows == 200


def test_labels_come_the_same_way(engine, sender):
    sender.send(orjson.dumps(ROWS))
    labels = [{"trace_id": "t0", "label": 1}, {"trace_id": "", "label": 0}, {"trace_id": "t2", "label": None}]
    answer = sender.send(orjson.dumps(labels), to="labels")
    assert (answer.status, answer.document["accepted"]) == (200, 1)
    assert answer.document["quarantined"] == [{"position": 1, "reason": "trace_id: expected an id, got none"}]
    again = sender.send(b'{"trace_id": "t0", "label": "1"}', kind=LINES, to="labels")
    assert (again.document["accepted"], again.document["duplicate"]) == (0, 1)
    assert stored(engine).set_index("trace_id")["label"]["t0"] == "1"


def test_stream_time_goes_on_with_the_rows_but_not_past_the_clock(engine, sender):
    sender.send(orjson.dumps(ROWS))
    with transaction(engine) as session:
        assert model_named(session, "fraud").watermark == FRAME["event_time"].max()
        ahead = database_now(session) + timedelta(hours=20)
    sender.send(orjson.dumps([ROWS[0] | {"trace_id": "x", "event_time": ahead.isoformat()}]))
    with transaction(engine) as session:
        assert model_named(session, "fraud").watermark <= database_now(session)


ODD = {
    "nan": ({"amount": math.nan}, None),
    "infinity": ({"amount": -math.inf}, None),
    "a wrong type": ({"amount": "12,50"}, None),
    "a number as category": ({"channel": 7}, None),
    "a missing feature": ({"amount": None}, None),
    "a NUL": ({"channel": "a\x00b"}, "channel: expected readable text"),
    "half of a surrogate pair": ({"channel": "\ud800"}, "channel: expected readable text"),
    "a nested value": ({"channel": {"deep": [[1]]}}, "channel: expected one value"),
    "no id": ({"trace_id": None}, "trace_id: expected an id, got none"),
    "the year 2036": ({"event_time": "2036-01-01T00:00:00Z"}, "event_time: expected a time up to"),
    "no time": ({"event_time": "soon"}, "event_time: expected an ISO 8601 time"),
    "a very long text": ({"channel": "x" * 9_000}, "channel: expected at most 8,192 characters"),
    "an infinite score": ({"score": math.inf}, "score: expected a finite number"),
    "an integer of 10,000 digits": ({"amount": "digits"}, None),
    "no vector": ({"face": None}, None),
    "a vector that is too short": ({"face": [1, 2]}, "face: expected 3 numbers, got 2"),
    "a vector with NaN": ({"face": [1, math.nan, 3]}, "face: expected finite numbers up to 3.4e38, got nan in place 2"),
    "a vector with a hole": ({"face": [1, None, 3]}, "face: expected finite numbers"),
    "a vector of texts": ({"face": ["1", "2", "3"]}, "face: expected finite numbers, got '1' in place 1"),
    "one number for a vector": ({"face": 17}, "face: expected a list of 3 numbers, got 17"),
    "a vector with an integer of 10,000 digits": ({"face": ["digits", 2, 3]}, "face: expected finite numbers"),
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("kind", [JSON, LINES])
def test_one_odd_row_never_costs_the_others(engine, sender, what, kind):
    change, reason = ODD[what]
    sent = [ROWS[0], ROWS[1] | change, ROWS[2]]
    lines = [json.dumps(row).replace('"digits"', "9" * 10_000) for row in sent]
    body = "\n".join(lines) if kind == LINES else f"[{','.join(lines)}]"
    answer = sender.send(body.encode(), kind=kind)
    assert answer.status == 200, answer.body
    told = answer.document
    assert told["accepted"] == (3 if reason is None else 2)
    assert [row["position"] for row in told["quarantined"]] == ([] if reason is None else [1])
    if reason is not None:
        assert told["quarantined"][0]["reason"].startswith(reason)
    assert len(stored(engine)) == told["accepted"]


def test_the_year_1970_is_a_time_like_any_other(engine, sender):
    answer = sender.send(orjson.dumps([ROWS[0] | {"event_time": "1970-01-01T00:00:00Z"}]))
    assert answer.document["accepted"] == 1


def test_lines_that_are_no_rows_wait_in_quarantine_as_they_came(engine, sender):
    lines = [orjson.dumps(ROWS[0]), b"{broken", b"\xff\xfe\x00", b"[" * 10_000, b"17", b"", orjson.dumps(ROWS[1])]
    answer = sender.send(b"\n".join(lines), kind=LINES)
    assert (answer.status, answer.document["accepted"]) == (200, 2)
    assert [row["position"] for row in answer.document["quarantined"]] == [1, 2, 3, 4]
    with transaction(engine) as session:
        raw = session.scalars(select(Quarantined.raw).order_by(Quarantined.id)).all()
    assert raw[0] == "{broken"


def test_fields_that_no_feature_has_are_named_and_left_out_and_so_are_summaries(engine, sender):
    answer = sender.send(orjson.dumps([ROWS[1] | {"colour": "red", "face.norm": 17.0}]))
    assert answer.document["ignored"] == ["colour", "face.norm"]
    assert stored(engine)["face.norm"].tolist() == pytest.approx([math.hypot(0.25, 1.5, 0.25)], rel=1e-4)


REFUSED = {
    "a broken text": (b"{", JSON, None, 422),
    "a list of numbers in an object": (b'{"rows": 3}', JSON, None, 422),
    "an object without rows": (b'{"trace_id": "a"}', JSON, None, 422),
    "10,000 levels": (b"[" * 10_000, JSON, None, 422),
    "no id at all": (orjson.dumps([{"event_time": "2026-03-02", "amount": 1}]), JSON, None, 422),
    "no feature at all": (orjson.dumps([{"trace_id": "a", "event_time": "2026-03-02"}]), JSON, None, 422),
    "6 MiB": (b" " * (6 * 2**20), JSON, None, 413),
    "a gzip bomb": (gzip.compress(b" " * 2**30, 1), JSON, "gzip", 413),
    "a zstd bomb": (bytes(pa.compress(b" " * (200 * 2**20), "zstd", asbytes=True)), JSON, "zstd", 413),
    "5,001 rows": (b"[" + b",".join([b"{}"] * 5_001) + b"]", JSON, None, 413),
    "too many fields": (orjson.dumps([{f"f{i}": 1 for i in range(1_000)}]), JSON, None, 413),
    "half a gzip": (gzip.compress(orjson.dumps(ROWS))[:-20], JSON, "gzip", 422),
    "no gzip": (b"[]", JSON, "gzip", 422),
    "no zstd": (b"[]", JSON, "zstd", 422),
    "no stream": (b"PAR1" * 20, ARROW, None, 422),
    "half a stream": (as_arrow(FRAME)[:-900], ARROW, None, 422),
    "a stream packed within": (as_arrow(FRAME, compression="zstd"), ARROW, None, 422),
    "an unknown type": (b"a,b", "text/csv", None, 415),
    "an unknown packing": (b"[]", JSON, "br", 415),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_body_that_cannot_be_taken_is_refused_with_a_problem_document(engine, sender, what):
    body, kind, encoding, status = REFUSED[what]
    answer = sender.send(body, kind=kind, encoding=encoding)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.document["status"] == status
    assert answer.document["detail"].startswith("expected")
    assert stored(engine).empty


def test_a_dictionary_that_would_unfold_to_gigabytes_is_refused(sender):
    codes = pa.array([0] * 5_000, pa.int32())
    column = pa.DictionaryArray.from_arrays(codes, pa.array(["x" * 1_000_000]))
    table = pa.table(
        {"trace_id": [str(i) for i in range(5_000)], "event_time": ["2026-03-02"] * 5_000, "channel": column}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert sender.send(bytes(sink.getvalue()), kind=ARROW).status == 413


def test_only_a_live_token_of_a_producer_of_this_model_may_send(engine, sender):
    with transaction(engine) as session:
        now, other = database_now(session), Model(name="other", owner="ann", task="classification")
        session.add(other)
        session.flush()
        viewer = create_token(session, name="viewer", roles=["viewer"], by=ROOT, now=now)[1]
        elsewhere = create_token(session, name="elsewhere", roles=["producer"], model=other, by=ROOT, now=now)[1]
    body = orjson.dumps(ROWS[:1])
    assert Sender(sender.url, "hf_wrong").send(body).status == 401
    assert Sender(sender.url, viewer).send(body).status == 403
    assert Sender(sender.url, elsewhere).send(body).status == 403
    assert sender.send(body, model="nobody").status == 404
    with transaction(engine) as session:
        revoke_token(session, token_named(session, "shop"), by=ROOT, now=database_now(session))
    assert sender.send(body).status == 401
    assert stored(engine).empty


def test_a_refused_caller_is_told_before_it_has_sent_its_body(sender):
    """Nobody without a token makes the server read megabytes."""
    parts = urlsplit(sender.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as line:
        line.sendall(
            b"POST /v1/models/fraud/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer hf_wrong\r\nContent-Length: 4000000\r\n\r\n[1"
        )
        assert line.recv(4_096).startswith(b"HTTP/1.1 401")


def test_a_slow_body_is_given_up(sender, monkeypatch):
    monkeypatch.setattr(intake, "BODY_SECONDS", 0.2)
    parts = urlsplit(sender.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as line:
        line.sendall(
            b"POST /v1/models/fraud/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + f"Authorization: Bearer {sender.secret}\r\nContent-Length: 100\r\n\r\n[".encode()
        )
        assert line.recv(4_096).startswith(b"HTTP/1.1 408")


def test_a_caller_in_a_hurry_is_told_when_to_come_again(engine, tmp_path):
    with open_intake(engine, tmp_path, Admission(requests_per_second=2)) as sender:
        answers = [sender.send(orjson.dumps(ROWS[:1])) for _ in range(4)]
    assert 429 in {answer.status for answer in answers}
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 429)


def test_a_full_house_refuses_at_once_and_loses_nothing_that_it_acknowledged(engine, tmp_path):
    batches = [orjson.dumps(as_rows(rows(30, start=30 * i))) for i in range(60)]
    with open_intake(engine, tmp_path, Admission(places=2), InThreads(engine, 1)) as sender:
        with ThreadPoolExecutor(20) as crowd:
            answers = list(crowd.map(sender.send, batches))
        assert {answer.status for answer in answers} == {200, 503}
        assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status == 503)
        acknowledged = sum(answer.document["accepted"] for answer in answers if answer.status == 200)
        assert len(stored(engine)) == acknowledged
        for body in batches:  # and those that were refused can simply come again
            assert sender.send(body).status == 200
    assert len(stored(engine)) == 60 * 30


def test_a_hundred_clients_that_send_one_batch_at_once_store_it_once(engine, tmp_path):
    body = orjson.dumps(ROWS)
    crowded = open_intake(engine, tmp_path, Admission(places=200), InThreads(engine, 4))
    with crowded as sender, ThreadPoolExecutor(100) as crowd:
        answers = list(crowd.map(lambda _: sender.send(body), range(100)))
    assert {answer.status for answer in answers} == {200}
    assert sum(answer.document["accepted"] for answer in answers) == 200
    assert len(stored(engine)) == 200
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        counted = profile(session, model)
        assert counted is not None
        assert counted.rows == 200
        assert session.scalar(text(f"SELECT count(*) FROM traces.ledger_m{model.id}")) == 200


def test_a_database_that_is_locked_is_busy_and_not_broken(engine, sender, monkeypatch):
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        session.execute(text(f"LOCK TABLE traces.ledger_m{model.id} IN ACCESS EXCLUSIVE MODE"))
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(sender.send(orjson.dumps(ROWS))))
        thread.start()
        thread.join(20)
    assert (answers[0].status, answers[0].headers["retry-after"]) == (503, "1")
    assert sender.send(orjson.dumps(ROWS)).document["accepted"] == 200


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs"]), max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from(["trace_id", "event_time", "amount", "channel", "version", "score", "prediction", "face"])
_GARBAGE = st.lists(st.dictionaries(_NAMES, _VALUES, max_size=8) | _VALUES, max_size=5)


@given(garbage=_GARBAGE, lines=st.booleans())
@settings(
    max_examples=120, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_whatever_garbage_comes_the_answer_is_documented_and_the_good_row_is_stored(engine, sender, garbage, lines):
    good = ROWS[0] | {"trace_id": f"good-{zlib.crc32(repr(garbage).encode())}-{lines}"}
    texts = [json.dumps(row) for row in [*garbage, good]]
    body = "\n".join(texts) if lines else f"[{','.join(texts)}]"
    answer = sender.send(body.encode(), kind=LINES if lines else JSON)
    assert answer.status == 200, (body, answer.body)
    told = answer.document
    assert told["accepted"] + told["duplicate"] >= 1
    assert told["accepted"] + told["duplicate"] + told["quarantined_total"] == len(texts)
    with transaction(engine) as session:
        window = Window(datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
        ids = set(read_traces(session, model_named(session, "fraud"), window)["trace_id"])
    assert good["trace_id"] in ids


def test_the_page_of_the_api_stands_alone_and_its_examples_work(sender, engine):
    def get(path: str) -> Answer:
        with closing(http.client.HTTPConnection(urlsplit(sender.url).netloc, timeout=30)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    page = get("/v1/docs")
    assert page.status == 200
    assert b"https://" not in page.body.replace(b"https://fastapi.tiangolo.com", b"")
    spec = get("/v1/openapi.json").document["paths"]
    for to in ("traces", "labels"):
        content = spec[f"/models/{{name}}/{to}"]["post"]["requestBody"]["content"]
        example = content["application/json"]["examples"][to]["value"]
        assert sender.send(orjson.dumps(example), to=to).document["accepted"] == 2
        assert sender.send(content["application/x-ndjson"]["example"].encode(), kind=LINES, to=to).status == 200
    example = spec["/models/{name}/profiles"]["post"]["requestBody"]["content"][LINES]["example"]
    answer = sender.send(example.encode(), kind=LINES, to="profiles")
    assert answer.document["type"] == "urn:holdfast:stale-plan"  # it is read, and of another model's plan
    plan = spec["/models/{name}/intake"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    assert IntakePlan.from_document(plan).stamp == plan["stamp"]
