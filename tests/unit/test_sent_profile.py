"""Counts from outside: what rows could give is taken, whatever they held; what none could give is not."""

import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.bins import Binning
from monitor.drift.profile import Profile
from monitor.drift.sent_profile import sent_profile, sent_size
from monitor.errors import BadInput

RNG = np.random.default_rng(7)
FRAME = pd.DataFrame(
    {
        "amount": RNG.normal(50, 9, 3_000),
        "age": RNG.normal(40, 10, 3_000) + np.arange(3_000) / 100,
        "level": RNG.integers(0, 4, 3_000).astype(float),
        "channel": RNG.choice(["app", "web", "pos"], 3_000),
    }
)
BINNING = Binning.fit(FRAME)
PROFILE = Profile.of(FRAME[:500], BINNING)

_NUMBERS = st.floats(allow_nan=True, allow_infinity=True).filter(lambda x: not 1e150 < abs(x) < np.inf)
_ROWS = st.fixed_dictionaries(
    {
        "amount": _NUMBERS | st.none(),
        "age": st.floats(-100, 100) | st.sampled_from(["x", "12"]),
        "level": st.sampled_from([0.0, 1.0, 2.5, np.nan]),
        "channel": st.sampled_from(["app", "web", "fax", None]),
    }
)


def told(profile: Profile) -> Profile:
    return sent_profile(profile.to_bytes(), BINNING, profile.rows)


def test_there_are_pairs_to_look_at():
    assert len(BINNING.joint) >= 3
    assert len(PROFILE.to_bytes()) < sent_size(BINNING)


@given(st.lists(_ROWS, min_size=1, max_size=40), st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_whatever_rows_held_their_counts_are_taken(rows, without):
    frame = pd.DataFrame(rows).drop(columns=["amount"] if without else [])
    profile = Profile.of(frame, BINNING)
    assert told(profile).to_bytes() == profile.to_bytes()


def test_counts_of_more_rows_than_are_multiplied_in_pairs_are_taken():
    profile = Profile.of(FRAME, BINNING)
    assert profile.joint.rows < profile.rows
    assert told(profile).rows == 3_000


def _with(array: np.ndarray, at: object, value: float) -> np.ndarray:
    changed = array.copy()
    changed[at] = value
    return changed


_JOINT, _MOMENTS = PROFILE.joint, PROFILE.moments
IMPOSSIBLE = {
    "a count below 0": replace(PROFILE, counts=_with(_with(PROFILE.counts, 0, -1), 1, PROFILE.counts[:2].sum() + 1)),
    "a row too many in a feature": replace(PROFILE, counts=_with(PROFILE.counts, 0, PROFILE.counts[0] + 1)),
    "unread rows that are not missing": replace(PROFILE, faults=_with(PROFILE.faults, (0, 2), 3)),
    "a column that half of the rows have not": replace(PROFILE, faults=_with(PROFILE.faults, (0, 3), 1)),
    "infinite categories": replace(PROFILE, faults=_with(PROFILE.faults, (3, 0), 1)),
    "a mean above the largest": replace(PROFILE, moments=_with(_MOMENTS, (0, 1), 500 * _MOMENTS[0, 4] + 1)),
    "a variance below 0": replace(PROFILE, moments=_with(_MOMENTS, (0, 2), _MOMENTS[0, 1] ** 2 / 500 - 1)),
    "squares above the largest": replace(PROFILE, moments=_with(_MOMENTS, (0, 2), 500 * _MOMENTS[0, 4] ** 2 + 1)),
    "more values than rows": replace(PROFILE, moments=_with(_MOMENTS, (0, 0), 501)),
    "no number": replace(PROFILE, moments=_with(_MOMENTS, (1, 1), np.nan)),
    "the least above the largest": replace(PROFILE, moments=_with(_MOMENTS, (0, 3), _MOMENTS[0, 4] + 1)),
    "moments of a category": replace(PROFILE, moments=_with(_MOMENTS, (3, 1), 1.0)),
    "scores of other rows": replace(PROFILE, joint=replace(_JOINT, sums=_JOINT.sums + 1)),
    "products past those of equal scores": replace(PROFILE, joint=replace(_JOINT, products=_JOINT.products + 900)),
    "pairs of more rows than there are": replace(PROFILE, joint=replace(_JOINT, rows=501)),
    "endless products": replace(PROFILE, joint=replace(_JOINT, products=_JOINT.products * np.inf)),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_rows_could_give_is_refused(what):
    with pytest.raises(BadInput, match="expected"):
        told(IMPOSSIBLE[what])


@pytest.mark.parametrize(
    "data", [b"", b"HFP2", PROFILE.to_bytes()[:-4], PROFILE.to_bytes() + b"x", b"HFP1" + bytes(80)]
)
def test_bytes_that_are_no_profile_are_refused(data):
    with pytest.raises(BadInput, match="expected"):
        sent_profile(data, BINNING, 500)


def test_bytes_that_unpack_to_more_than_a_profile_has_are_not_unpacked():
    bomb = PROFILE.to_bytes()[:28] + zlib.compress(bytes(2**28), 1)
    tracemalloc.start()
    with pytest.raises(BadInput, match="another size"):
        sent_profile(bomb, BINNING, 500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24
