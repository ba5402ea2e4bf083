"""Vectors as they come, the numbers that stand for them, and what a detector sees of an embedding that moves."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from monitor.drift import Detector, Reference
from monitor.errors import SchemaMismatch
from monitor.schema import MAX_FEATURES, Feature, Kind, Schema
from monitor.vectors import Vector, directions, projections, read, size_of, summarise
from monitor.windows import Window

SIZES = [1, 3, 8, 9, 64, 1_536, 4_096]
EMBEDDING = Vector(name="embedding", size=64)
SCHEMA = Schema((Feature(name="amount", kind=Kind.NUMERIC),), vectors=(EMBEDDING,))


@pytest.mark.parametrize("size", SIZES)
def test_directions_are_orthonormal(size):
    rows = directions(size)
    assert rows.shape == (min(8, size), size)
    np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-14)


@pytest.mark.parametrize("size", SIZES)
def test_summaries_are_the_norm_and_the_products_with_the_directions(size):
    rows = np.random.default_rng(0).normal(size=(50, size)).astype(np.float32)
    wanted = rows.astype(np.float64)
    found = summarise(rows)
    np.testing.assert_allclose(found[:, 0], np.linalg.norm(wanted, axis=1), rtol=5e-5)
    np.testing.assert_allclose(found[:, 1:], wanted @ directions(size).T, rtol=1e-12, atol=1e-12)


def test_they_are_the_same_in_every_process_and_release():
    ramp = summarise(np.arange(64, dtype=np.float32)[None])[0]
    assert np.round(ramp, 6).tolist() == [
        292.14, -3.889087, 45.254834, -13.081475, 51.265242, 12.727922, 9.192388, -33.234019, -16.617009,
    ]  # fmt: skip
    np.testing.assert_array_equal(np.flatnonzero(directions(1_536)[0])[:4], [4, 7, 9, 18])


def test_lengths_are_kept_on_average_over_the_directions_of_many_sizes():
    """(n/K) Σ p² / ‖x‖² has the mean 1 and the standard deviation √(2/K), here over one draw a size."""
    ratios = []
    for size in range(100, 1_100):
        row = np.linspace(1, 3, size, dtype=np.float32)[None]
        ratios.append(size / projections(size) * (summarise(row)[0, 1:] ** 2).sum() / np.square(row).sum())
    assert np.mean(ratios) == pytest.approx(1, abs=4 * np.sqrt(2 / 8 / 1_000))
    assert np.std(ratios) == pytest.approx(np.sqrt(2 / 8), rel=0.15)


def test_the_norm_of_vectors_that_were_scaled_to_one_length_is_constant():
    rows = np.random.default_rng(1).normal(size=(1_000, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert set(summarise(rows)[:, 0]) == {1.0}
    assert summarise(np.zeros((1, 384), np.float32))[0].tolist() == [0.0] * 9


WAYS = {
    "lists": lambda rows: rows,
    "a series of arrays": lambda rows: pd.Series([None if row is None else np.array(row, np.float32) for row in rows]),
    "texts": lambda rows: [None if row is None else json.dumps(row) for row in rows],
    "arrow lists": lambda rows: pa.array(rows, pa.list_(pa.float64())),
    "arrow lists of one size": lambda rows: pa.chunked_array([pa.array(rows, pa.list_(pa.float32(), 2))]),
    "large lists of halves": lambda rows: pa.array(
        [None if row is None else np.array(row, np.float16) for row in rows], pa.large_list(pa.float16())
    ),
    "a mixture": lambda rows: [rows[0], None, json.dumps(rows[2]), *rows[3:]],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_vector_may_come_in_many_ways(way):
    found = read(WAYS[way]([[1.0, 2.5], None, [-3.0, 4.0], [0.0, 0.25]]), 2)
    assert found.vectors.tolist() == [[1.0, 2.5], [-3.0, 4.0], [0.0, 0.25]]
    assert found.there.tolist() == [True, False, True, True]
    assert np.isnan(found.summaries()).all(axis=1).tolist() == [False, True, False, False]
    assert found.to_arrow().to_pylist() == [[1.0, 2.5], None, [-3.0, 4.0], [0.0, 0.25]]
    assert found.faults == {}


BAD = {
    "one too few": ([1.0], "expected 2 numbers, got 1"),
    "none at all": ([], "expected 2 numbers, got 0"),
    "not a number": ([1.0, float("nan")], "expected finite numbers up to 3.4e38, got nan in place 2"),
    "infinity": ([float("-inf"), 1.0], "expected finite numbers up to 3.4e38, got -inf in place 1"),
    "beyond single precision": ([1e39, 1.0], "expected finite numbers up to 3.4e38, got 1e+39 in place 1"),
    "beyond any precision": ([1.0, 10**400], "expected finite numbers up to 3.4e38, got inf in place 2"),
    "a text": ([1.0, "2"], "expected finite numbers, got '2' in place 2"),
    "a list within": ([[1.0], [2.0]], "expected finite numbers, got [1.0] in place 1"),
    "one number": (1.5, "expected a list of 2 numbers, got 1.5"),
    "an object": ({"a": 1}, "expected a list of 2 numbers, got {'a': 1}"),
    "other text": ("[1, 2", "expected a list of 2 numbers, got '[1, 2'"),
    "deep text": ("[" * 100_000, "expected a list of 2 numbers, got '[[[["),
    "text of a NaN": ("[1, NaN]", "expected finite numbers up to 3.4e38, got nan in place 2"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_vector_of_the_size_is_said_and_costs_no_other_row(what):
    value, reason = BAD[what]
    found = read([[1, 2], value, [3, 4.5]], 2)
    assert list(found.faults) == [1]
    assert found.faults[1].startswith(reason)
    assert found.there.tolist() == [True, False, True]
    assert found.vectors.tolist() == [[1.0, 2.0], [3.0, 4.5]]
    assert found.to_arrow().to_pylist() == [[1.0, 2.0], None, [3.0, 4.5]]


def test_a_hole_within_a_list_is_no_number():
    for column in ([[1.0, None]], pa.array([[1.0, None]]), pa.array([[1, None]], pa.list_(pa.int64(), 2))):
        assert "got nan in place 2" in read(column, 2).faults[0] or "got None in place 2" in read(column, 2).faults[0]


def test_summaries_are_features_that_nobody_declares():
    assert SCHEMA.names == ("amount", *EMBEDDING.summaries)
    assert SCHEMA.fields == ("amount", "embedding")
    assert Schema.from_document(json.loads(json.dumps(SCHEMA.to_document()))) == SCHEMA
    with pytest.raises(SchemaMismatch, match=r"embedding\.norm as it is computed of the vector embedding: not mutable"):
        SCHEMA.with_mutable(["embedding.norm"])
    assert SCHEMA.with_threats_of(SCHEMA.with_mutable(["amount"])).vectors == (EMBEDDING,)


def test_a_schema_without_vectors_is_written_as_before():
    plain = Schema((Feature(name="amount", kind=Kind.NUMERIC),))
    assert set(plain.to_document()) == {"features"}
    assert "vector" not in plain.to_document()["features"][0]


@pytest.mark.parametrize(
    ("features", "vectors", "message"),
    [
        (["embedding.norm"], [("embedding", 4)], "no feature embedding.norm: it is a summary of the vector embedding"),
        (["embedding"], [("embedding", 4)], "distinct feature names, got embedding"),
        (["amount"], [("a", 0)], "a size of a from 1 to 4,096 numbers, got 0"),
        (["amount"], [("a", 4_097)], "got 4097"),
        (["amount"], [(f"v{i}", 1) for i in range(17)], "16 of them vectors, got 52 and 17"),
        ([f"f{i}" for i in range(MAX_FEATURES - 9)], [("a", 64)], "at most 900 features, 16 of them vectors, got 901"),
        ([], [], "at least one feature"),
    ],
)
def test_what_cannot_be_declared_is_said(features, vectors, message):
    with pytest.raises(SchemaMismatch, match=message):
        Schema(
            tuple(Feature(name=name, kind=Kind.NUMERIC) for name in features),
            vectors=tuple(Vector(name=name, size=size) for name, size in vectors),
        )


def test_a_frame_tells_its_vectors():
    frame = pd.DataFrame({"amount": [1.5, 2.5], "face": [[1.0, 2.0], np.array([3, 4])], "text": ["[1,2,3,4]"] * 2})
    assert Schema.infer(frame).vectors == (Vector(name="face", size=2), Vector(name="text", size=4))
    assert size_of(pd.Series([None, "[18, 25]"])) is None
    with pytest.raises(SchemaMismatch, match="all of one size, got other lists in face"):
        Schema.infer(pd.DataFrame({"face": [[1.0], [1.0, 2.0]]}))
    with pytest.raises(SchemaMismatch, match="mutable features that are no vectors, got face"):
        Schema.infer(frame, mutable=["face"])


START = datetime(2026, 1, 5, tzinfo=UTC)
ROWS = 1_000


def _day(number, *, shift=0.0, seed=0):
    """Embeddings of 64 correlated dimensions; `shift` moves all of them along one direction, in σ of each."""
    mixing = np.linalg.qr(np.random.default_rng(5).normal(size=(64, 64)))[0] * np.geomspace(2, 0.25, 64)
    along = np.random.default_rng(7).choice([-1.0, 1.0], 64) * np.linalg.norm(mixing, axis=1)
    rng = np.random.default_rng([seed, number])
    rows = rng.normal(size=(ROWS, 64)) @ mixing.T + shift * along
    return SCHEMA.summarised(pd.DataFrame({"amount": rng.normal(size=ROWS), "embedding": list(rows)}))


def _window(number):
    return Window(START + timedelta(days=number), START + timedelta(days=number + 1))


@pytest.fixture(scope="module")
def normal():
    return Reference.fit([(_window(i), _day(i)) for i in range(28)], schema=SCHEMA)


def test_a_quarter_sigma_along_one_direction_is_found_in_two_windows_and_named(normal):
    detector = Detector(normal)
    reports = [detector.update(_window(28 + i), _day(28 + i, shift=0.25)) for i in range(2)]
    assert any(report.alarm for report in reports)
    assert {name.partition(".")[0] for report in reports for name in report.culprits} == {"embedding"}


def test_sixty_days_without_a_change_raise_no_alarm(normal):
    detector = Detector(normal)
    assert not any(detector.update(_window(28 + i), _day(28 + i, seed=1)).alarm for i in range(60))
