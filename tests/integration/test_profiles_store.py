from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import func, select

from monitor.db.profiles import ProfileDelta, add_profile, compact, read_profile
from monitor.db.registry import FeatureSchema, Model, Reference, Version
from monitor.drift.profile import Binning, Profile
from monitor.windows import Window

DAY = datetime(2026, 3, 2, tzinfo=UTC)
FRAME = pd.DataFrame({"x": np.random.default_rng(5).normal(size=600), "c": ["a", "b", "b"] * 200})
BINNING = Binning.fit(FRAME)


@pytest.fixture
def ids(session) -> dict[str, int]:
    model = Model(name="fraud", owner="ann", task="classification")
    session.add(model)
    session.flush()
    version = Version(model_id=model.id, number=1, name="v1", flavour="none", manifest_sha256="0" * 64)
    schema = FeatureSchema(model_id=model.id, number=1, document=BINNING.schema.to_document(), columns={})
    session.add_all([version, schema])
    session.flush()
    session.add(
        Reference(
            model_id=model.id, version_id=version.id, schema_id=schema.id, binning_id=BINNING.binning_id, starts=DAY,
            ends=DAY, rows=0, windows=0, document={"binning": BINNING.to_document(), "windows": []},
        )
    )  # fmt: skip
    return {"model_id": model.id, "version_id": version.id}


def add(session, ids, rows: pd.DataFrame, hours: int = 0) -> None:
    bucket, profile = DAY + timedelta(hours=hours), Profile.of(rows, BINNING)
    add_profile(session, **ids, bucket=bucket, profile=profile)


def read(session, ids, hours: int = 24) -> Profile | None:
    return read_profile(session, **ids, binning=BINNING, window=Window(DAY, DAY + timedelta(hours=hours)))


def test_batches_add_up_to_the_profile_of_all_rows(session, ids):
    for part in np.array_split(np.arange(600), 7):
        add(session, ids, FRAME.iloc[part])
    found, whole = read(session, ids), Profile.of(FRAME, BINNING)
    assert found is not None
    np.testing.assert_array_equal(found.counts, whole.counts)
    assert found.mean("x") == pytest.approx(whole.mean("x"), rel=1e-12)


def test_a_window_takes_the_buckets_that_start_in_it(session, ids):
    add(session, ids, FRAME[:100], hours=0)
    add(session, ids, FRAME[100:], hours=12)
    first = read(session, ids, hours=12)
    assert first is not None
    assert first.rows == 100


def test_no_rows_are_no_profile(session, ids):
    assert read(session, ids) is None


def test_compaction_leaves_one_row_a_bucket_and_the_same_counts(session, ids):
    for part in np.array_split(np.arange(600), 6):
        add(session, ids, FRAME.iloc[part], hours=int(part[0] // 300) * 12)
    before = read(session, ids)
    assert compact(session, ids["model_id"]) == 4
    after = read(session, ids)
    assert before is not None
    assert after is not None
    assert session.scalar(select(func.count()).select_from(ProfileDelta)) == 2
    np.testing.assert_array_equal(after.counts, before.counts)
    np.testing.assert_allclose(after.moments, before.moments, rtol=1e-12)
    assert compact(session, ids["model_id"]) == 0
