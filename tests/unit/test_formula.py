import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import BadInput, SchemaMismatch
from monitor.formula import Formula, Relation
from monitor.schema import Feature, Kind, Schema

NAMES = ["a", "b", "pay 1"]


def columns(n: int = 50) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.5, 3, n) for name in NAMES}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a / (b + 1)", lambda c: c["a"] / (c["b"] + 1)),
        ("-`pay 1` ** 2 * 3", lambda c: -(c["pay 1"] ** 2) * 3),
        ("log1p(abs(a - b)) + sqrt(b)", lambda c: np.log1p(np.abs(c["a"] - c["b"])) + np.sqrt(c["b"])),
        ("minimum(a, 1) + maximum(b, `pay 1`)", lambda c: np.minimum(c["a"], 1) + np.maximum(c["b"], c["pay 1"])),
    ],
)
def test_a_formula_means_the_same_in_numpy_and_torch(text, expected):
    given_columns, formula = columns(), Formula.parse(text, NAMES)
    tensors = {name: torch.tensor(column) for name, column in given_columns.items()}
    assert formula.evaluate(given_columns, np) == pytest.approx(expected(given_columns))
    assert formula.evaluate(tensors, torch).numpy() == pytest.approx(expected(given_columns))


def test_the_excess_of_a_relation_is_positive_where_it_does_not_hold():
    c = columns()
    for text in ("a <= b * 2", "b * 2 >= a"):
        assert (Relation.parse(text, NAMES).excess(c, np) > 0).tolist() == (c["a"] > 2 * c["b"]).tolist()


@pytest.mark.parametrize(
    "text",
    [
        "", "a +", "__import__('os')", "a.real", "[a]", "a if b else a", "lambda: a", "a <= b", "unknown + 1", "'x'",
        "a ** b", "abs(a, b)", "print(a)", "True + a", "(" * 300 + "a" + ")" * 300, "a" * 600,
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_over_features_is_refused_in_a_sentence(text):
    with pytest.raises(BadInput, match=r"expected|names no feature"):
        Formula.parse(text, NAMES)


@pytest.mark.parametrize("text", ["a", "a == b", "a < b", "a <= b <= 1", "1 <= 2", "a <= b = 3"])
def test_what_is_no_single_comparison_is_no_relation(text):
    with pytest.raises(BadInput, match="expected a relation"):
        Relation.parse(text, NAMES)


@given(st.text(alphabet="ab +-*/()1.<=`_^%\n", max_size=40))
def test_any_text_parses_or_is_refused(text):
    try:
        formula = Formula.parse(text, NAMES)
    except BadInput:
        return
    assert set(formula.names) <= set(NAMES)


def feature(name: str, **kwargs) -> Feature:
    return Feature(name=name, kind=Kind.NUMERIC, **kwargs)


@pytest.mark.parametrize(
    ("features", "relations", "sentence"),
    [
        ((feature("a"), feature("r", formula="a * 2", mutable=True)), (), "not mutable"),
        ((feature("a"), feature("r", formula="a"), feature("s", formula="r + 1")), (), "not derived"),
        ((feature("a", lower=2.0, upper=1.0),), (), "bounds of a in order"),
        ((feature("a"),), ("a <= b",), "names no feature"),
        (
            (Feature(name="c", kind=Kind.CATEGORICAL, levels=("x",), transitions={"x": {"y": 1.0}}),),
            (),
            "between its levels",
        ),
    ],
)
def test_a_schema_refuses_declarations_that_cannot_be(features, relations, sentence):
    with pytest.raises((BadInput, SchemaMismatch), match=sentence):
        Schema(features, relations)


def test_declarations_survive_the_way_through_json():
    schema = Schema(
        (
            feature("a", mutable=True),
            feature("r", formula="a * 2"),
            Feature(name="c", kind=Kind.CATEGORICAL, levels=("x", "y"), mutable=True, transitions={"x": {"y": 2.0}}),
        ),
        ("a <= r",),
    )
    again = Schema.from_document(schema.to_document())
    assert again == schema
    assert again.with_mutable(["a"]).relations == ("a <= r",)
    assert "relations" not in Schema.infer(pd.DataFrame({"a": [1.0]})).to_document()


def test_what_may_change_is_taken_over_and_what_the_data_are_stays():
    trained = Schema((feature("a"), Feature(name="c", kind=Kind.CATEGORICAL, levels=("x", "y"))))
    declared = Schema(
        (
            feature("a", mutable=True, direction="up", lower=0.0),
            Feature(name="c", kind=Kind.CATEGORICAL, levels=("y", "x", "z"), mutable=True,
                    transitions={"x": {"y": 1.0, "z": 1.0}, "z": {"x": 1.0}}),
        ),
        ("a <= 5",),
    )  # fmt: skip
    both = trained.with_threats_of(declared)
    assert (both["a"].mutable, both["a"].direction, both["a"].lower) == (True, "up", 0.0)
    assert both["c"].levels == ("x", "y")
    assert both["c"].transitions == {"x": {"y": 1.0}}
    assert both.relations == ("a <= 5",)


@pytest.mark.parametrize("number", ["10 ** 400", "1" + "0" * 400, "(-1) ** 0.5", "1 / 0", "1e400", "a * (2 - 1e999)"])
def test_numbers_that_are_none_are_refused_when_they_are_declared(number: str):
    with pytest.raises(BadInput, match="finite numbers"):
        Relation.parse(f"a <= {number}", NAMES)


def test_a_derived_feature_without_parts_is_refused():
    with pytest.raises(SchemaMismatch, match="other features"):
        Schema((feature("a"), feature("r", formula="sqrt(4)")))


def test_a_version_with_fewer_columns_takes_over_what_is_declared_between_those_it_has():
    older = Schema((feature("a"), feature("b"), feature("r")))
    declared = Schema(
        (feature("a", mutable=True), feature("b"), feature("z"), feature("r", formula="a + z")), ("a <= z", "a <= b")
    )
    both = older.with_threats_of(declared)
    assert (both["a"].mutable, both["r"].formula, both["r"].mutable) == (True, None, False)
    assert both.relations == ("a <= b",)
