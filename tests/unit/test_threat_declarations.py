"""`holdfast threat declare`: what cannot be read is a sentence."""

import pytest

from monitor.cli.threats import Declaration
from monitor.errors import BadInput
from monitor.schema import Feature, Kind, Schema

SCHEMA = Schema(
    (
        Feature(name="amount", kind=Kind.NUMERIC, mutable=True),
        Feature(name="tier", kind=Kind.CATEGORICAL, levels=("basic", "plus"), mutable=True),
    )
)


@pytest.mark.parametrize("cost", ["1.2.3", ".", "nan", "1e3"])
def test_a_cost_that_is_no_number_is_refused(cost: str):
    with pytest.raises((BadInput), match="tier"):
        Declaration(swaps=(f"tier=basic>plus:{cost}",)).applied_to(SCHEMA)


@pytest.mark.parametrize("bounds", ["nan:3", "0:nan", "-inf:3", "0:inf"])
def test_bounds_are_finite_numbers_or_left_out(bounds: str):
    with pytest.raises(BadInput, match="expected bounds"):
        Declaration(bounds=(f"amount={bounds}",)).applied_to(SCHEMA)


def test_a_side_without_a_bound_is_open():
    changed = Declaration(bounds=("amount=0:",), swaps=("tier=basic>plus:.5",)).applied_to(SCHEMA)
    assert (changed["amount"].lower, changed["amount"].upper) == (0.0, None)
    assert changed["tier"].transitions == {"basic": {"plus": 0.5}}
