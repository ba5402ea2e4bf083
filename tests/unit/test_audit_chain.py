"""A chain shows every alteration, and a head kept elsewhere shows a cut tail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import BadInput
from monitor.governance import GENESIS, canonical_json, chain, verify

Rows = list[tuple[dict[str, object], str, str]]


def _chain(count: int) -> Rows:
    rows: Rows = []
    previous = GENESIS
    for number in range(count):
        entry: dict[str, object] = {"action": "proposal.approved", "number": number}
        rows.append((entry, previous, chain(previous, entry)))
        previous = rows[-1][2]
    return rows


def test_an_untouched_chain_is_intact():
    assert verify(_chain(5)).sentence == "The audit chain is intact: 5 entries."
    assert verify([]).ok


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_an_altered_entry_is_found_at_its_place(count_and_place):
    count, place = count_and_place
    rows = _chain(count)
    rows[place] = ({**rows[place][0], "action": "proposal.rejected"}, *rows[place][1:])
    assert verify(rows).first_bad == place


def test_a_removed_a_swapped_and_a_rehashed_entry_are_found():
    rows = _chain(5)
    assert verify(rows[:2] + rows[3:]).first_bad == 2
    assert verify([rows[1], rows[0], *rows[2:]]).first_bad == 0
    forged = {"action": "forged"}
    rows[1] = (forged, rows[1][1], chain(rows[1][1], forged))
    assert verify(rows).first_bad == 2


def test_a_cut_tail_shows_only_against_a_head_kept_elsewhere():
    rows = _chain(5)
    assert verify(rows[:3]).ok
    assert verify(rows[:3], head=rows[-1][2]).first_bad == 3
    assert verify(rows, head=rows[-1][2]).ok


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none(), max_size=6))
def test_the_order_of_keys_does_not_matter(document):
    assert canonical_json(document) == canonical_json(dict(reversed(document.items())))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_json_cannot_say_exactly_is_refused(value):
    with pytest.raises(BadInput, match="finite JSON"):
        canonical_json({"value": value})
