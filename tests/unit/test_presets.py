import pytest

from monitor.errors import BadInput
from monitor.robustness.presets import PRESETS, with_preset
from monitor.schema import Direction, Feature, Kind, Schema


def schema(*names: str) -> Schema:
    return Schema(tuple(Feature(name=name, kind=Kind.NUMERIC) for name in names))


@pytest.mark.parametrize(
    ("preset", "moves", "stands"),
    [
        (
            "fraud",
            ["transactionAmount", "payments_24h", "hour", "distance_km"],
            ["age", "account_age", "customer_id", "device_trust"],
        ),
        ("credit", ["LIMIT_BAL", "loan_amount", "BILL_AMT1", "income"], ["AGE", "SEX", "PAY_0", "education"]),
        ("sensors", ["temperature", "rpm"], ["unit_id"]),
        ("generic", ["anything"], ["gender"]),
    ],
)
def test_a_preset_moves_what_its_domain_can_choose_and_no_person(preset, moves, stands):
    guessed = with_preset(schema(*moves, *stands), preset)
    assert [feature.name for feature in guessed.features if feature.mutable] == moves


def test_a_direction_that_a_person_declared_is_kept():
    declared = Schema((Feature(name="payments_24h", kind=Kind.INTEGER, direction=Direction.DOWN),))
    assert with_preset(declared, "fraud")["payments_24h"].direction == "down"


def test_income_may_only_be_overstated():
    assert with_preset(schema("income"), "credit")["income"].direction == "up"


def test_derived_features_and_categories_that_are_not_named_stand():
    features = (
        Feature(name="a", kind=Kind.NUMERIC),
        Feature(name="b", kind=Kind.NUMERIC, formula="a * 2"),
        Feature(name="c", kind=Kind.CATEGORICAL, levels=("x",)),
    )
    assert [feature.mutable for feature in with_preset(Schema(features), "sensors").features] == [True, False, False]


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(BadInput, match=", ".join(PRESETS)):
        with_preset(schema("a"), "banking")
