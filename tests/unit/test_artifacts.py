import dataclasses
import os
import pickle
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import skl2onnx
import torch
import xgboost
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from monitor.artifacts import (
    Flavour,
    Manifest,
    Store,
    attach_converted,
    attach_file,
    attach_trained,
    convert_sklearn,
    load_model,
)
from monitor.errors import BadInput, NotFound, UnsafeArtefact
from monitor.robustness import Plan, ThreatModel, run_campaign
from monitor.schema import Schema
from monitor.training import RECIPES, train


def table(n: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"amount": rng.lognormal(3, 1, n), "age": rng.normal(40, 9, n)})
    frame["channel"] = rng.choice(["app", "web"], n)
    y = (frame["age"] + 10 * (frame["channel"] == "web") + rng.normal(0, 5, n) > 45).astype(int)
    return frame, y.to_numpy()


FRAME, Y = table()
SCHEMA = Schema.infer(FRAME, mutable=["amount", "age"])
X = SCHEMA.encode(FRAME)


def pipeline(last):
    columns = make_column_transformer((StandardScaler(), ["amount", "age"]), (OneHotEncoder(), ["channel"]))
    return make_pipeline(columns, last)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


def test_the_store_names_content_by_its_hash_and_keeps_it_once(store, tmp_path):
    (tmp_path / "w.bin").write_bytes(b"weights")
    sha256 = store.put(tmp_path / "w.bin")
    assert store.put(b"weights") == sha256
    assert store.read(sha256) == b"weights"
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == [sha256]


def test_a_write_that_fails_leaves_nothing(store, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        store.put(b"weights")
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_an_altered_artefact_is_refused_before_anything_parses_it(store, tmp_path, monkeypatch):
    manifest = attach_trained(quickly_trained(), store, schema=SCHEMA)
    path = store.path(manifest.only_file().sha256)
    path.chmod(0o640)
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    monkeypatch.setattr(safetensors.torch, "load", lambda _: pytest.fail("parsed"))
    with pytest.raises(UnsafeArtefact, match="altered or damaged, so it was not read"):
        load_model(manifest, store)


def test_an_unknown_or_malformed_hash_is_not_a_path(store):
    with pytest.raises(NotFound, match="no artefact"):
        store.read("0" * 64)
    with pytest.raises(BadInput, match="64 hexadecimal digits"):
        store.path("../../etc/passwd")


def quickly_trained():
    return train(X, Y, SCHEMA, task="binary", recipe=dataclasses.replace(RECIPES["standard"], min_steps=20, epochs=4))


def test_a_torch_model_comes_back_white_box_with_equal_scores(store):
    trained = quickly_trained()
    loaded = load_model(attach_trained(trained, store, schema=SCHEMA), store)
    with torch.inference_mode():
        expected = torch.sigmoid(trained.model(torch.from_numpy(X)).double()).numpy()
    assert loaded.module is not None
    assert np.allclose(loaded.predict_score(X), expected, rtol=0, atol=1e-12)


def test_weights_that_do_not_fit_and_factories_that_are_not_allowed_are_refused(store, tmp_path):
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    manifest = attach_file(tmp_path / "w.safetensors", store, schema=SCHEMA, task="classification")
    assert manifest.flavour is Flavour.TORCH
    with pytest.raises(BadInput, match="do not fit the network"):
        load_model(manifest, store)
    with pytest.raises(NotFound, match=r"allowed are holdfast\.tabular"):
        load_model(manifest.model_copy(update={"factory": "os.system"}), store)


@pytest.mark.slow
@pytest.mark.parametrize("last", [LogisticRegression(), RandomForestClassifier(5, random_state=0)])
def test_a_scikit_learn_pipeline_is_converted_once_and_predicts_equally(store, tmp_path, last):
    fitted = pipeline(last).fit(FRAME, Y)
    joblib.dump(fitted, tmp_path / "model.joblib")
    converted = convert_sklearn(tmp_path / "model.joblib", SCHEMA.conform(FRAME).head(50))
    manifest = attach_converted(converted, store, schema=SCHEMA)
    loaded = load_model(manifest, store)
    assert loaded.module is None
    assert np.array_equal(loaded.predict_score(X), fitted.predict_proba(FRAME)[:, 1])
    assert manifest.provenance["equal_predictions_on_rows"] == 50
    (kept,) = (path for path in store.root.rglob("*") if path.is_file())
    assert kept.read_bytes()[:2] == b"PK"  # skops: nothing pickled is stored


@pytest.mark.slow
def test_a_converted_regressor_answers_values(store, tmp_path):
    fitted = pipeline(LinearRegression()).fit(FRAME, FRAME["amount"] * 2)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fitted))
    manifest = attach_converted(convert_sklearn(tmp_path / "model.pkl", SCHEMA.conform(FRAME)), store, schema=SCHEMA)
    assert load_model(manifest, store).predict_score(X) == pytest.approx(2 * FRAME["amount"].to_numpy())


class Spy:
    """A pickle that runs code when loaded: it writes down what it can see."""

    def __init__(self, note: Path) -> None:
        self.note = note

    def __reduce__(self):
        return exec, (f"import os; open({str(self.note)!r}, 'w').write(repr(dict(os.environ)))",)


@pytest.mark.slow
def test_a_malicious_pickle_sees_no_database_address(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@db/holdfast")
    monkeypatch.setenv("HOLDFAST_HOME", "/srv/holdfast")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Spy(tmp_path / "note")))
    with pytest.raises(BadInput, match=r"expected a scikit-learn model in model\.pkl"):
        convert_sklearn(tmp_path / "model.pkl", SCHEMA.conform(FRAME))
    seen = (tmp_path / "note").read_text()
    assert "PATH" in seen
    assert "DATABASE_URL" not in seen
    assert "HOLDFAST" not in seen
    assert "secret" not in seen


def test_a_conversion_that_hangs_is_stopped(tmp_path):
    class Sleeper:
        def __reduce__(self):
            return exec, ("import time; time.sleep(60)",)

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Sleeper()))
    with pytest.raises(BadInput, match="more than 1 s and was stopped"):
        convert_sklearn(tmp_path / "model.pkl", SCHEMA.conform(FRAME), seconds=1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.pkl", b"anything"),
        ("model.joblib", b"anything"),
        ("model.pt", b"anything"),
        ("model.pt2", b"anything"),
        ("model.safetensors", pickle.dumps({"a": 1})),
        ("model.skops", pickle.dumps(LogisticRegression())),
        ("model.onnx", pickle.dumps([1], protocol=2)),
        ("model.bin", b"\x1f\x8b compressed"),
        ("model.json", b"cos\nsystem\n(S'ls'\ntR."),
    ],
)
def test_pickles_are_refused_by_name_and_by_content_with_what_to_do_instead(store, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsafeArtefact, match=r"--convert|safetensors\.torch\.save_file"):
        attach_file(tmp_path / name, store, schema=SCHEMA, task="binary")
    assert not store.root.exists()


def test_a_torch_archive_is_refused_whatever_its_name(store, tmp_path):
    torch.save(torch.nn.Linear(2, 1).state_dict(), tmp_path / "model.skops")
    with pytest.raises(UnsafeArtefact, match=r"archive of torch or pickles.*save_file"):
        attach_file(tmp_path / "model.skops", store, schema=SCHEMA, task="binary")


def test_an_onnx_model_of_named_inputs_scores_as_the_original(store, tmp_path):
    fitted = pipeline(LogisticRegression()).fit(FRAME, Y)
    types = [("amount", FloatTensorType([None, 1])), ("age", FloatTensorType([None, 1]))]
    types.append(("channel", StringTensorType([None, 1])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = skl2onnx.convert_sklearn(fitted, initial_types=types)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    loaded = load_model(attach_file(tmp_path / "model.onnx", store, schema=SCHEMA, task="binary"), store)
    assert loaded.predict_score(X) == pytest.approx(fitted.predict_proba(FRAME)[:, 1], abs=1e-5)


def test_an_onnx_model_of_one_matrix_scores_as_the_original(store, tmp_path):
    fitted = LogisticRegression(max_iter=1_000).fit(X, Y)
    made = skl2onnx.to_onnx(fitted, X[:1].astype(np.float32), options={"zipmap": False})
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    loaded = load_model(attach_file(tmp_path / "model.onnx", store, schema=SCHEMA, task="binary"), store)
    assert loaded.predict_score(X) == pytest.approx(fitted.predict_proba(X)[:, 1], abs=1e-5)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_an_xgboost_model_scores_as_the_original_and_can_be_stressed(store, tmp_path, suffix):
    data = xgboost.DMatrix(X, label=Y, feature_names=list(SCHEMA.names))
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, num_boost_round=10)
    booster.save_model(tmp_path / f"model.{suffix}")
    loaded = load_model(attach_file(tmp_path / f"model.{suffix}", store, schema=SCHEMA, task="binary"), store)
    assert np.array_equal(loaded.predict_score(X), booster.predict(data).astype(float))
    report = run_campaign(loaded.under_attack, X, Y, ThreatModel.from_schema(SCHEMA, X), plan=Plan(queries=10))
    assert report.levels[-1].robust_auc < report.clean_auc


def test_a_damaged_onnx_or_xgboost_file_is_a_sentence(store, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07 not a model")
    with pytest.raises(BadInput, match="onnxruntime refuses"):
        load_model(attach_file(tmp_path / "model.onnx", store, schema=SCHEMA, task="binary"), store)
    (tmp_path / "model.json").write_bytes(b'{"learner": {}}')
    with pytest.raises(BadInput, match="it refuses"):
        load_model(attach_file(tmp_path / "model.json", store, schema=SCHEMA, task="binary"), store)


def test_a_manifest_survives_json_and_its_hash_follows_its_content(store):
    manifest = attach_trained(quickly_trained(), store, schema=SCHEMA)
    again = Manifest.from_document(manifest.to_document())
    assert again == manifest
    assert again.sha256 == manifest.sha256
    assert manifest.model_copy(update={"settings": {"hidden": [8]}}).sha256 != manifest.sha256


def test_a_version_without_artefact_says_how_to_attach_one(store):
    manifest = Manifest.without_artefact(SCHEMA, "classification")
    with pytest.raises(BadInput, match="holdfast model attach FILE"):
        load_model(manifest, store)


def test_a_manifest_that_is_none_is_refused():
    with pytest.raises(BadInput, match="flavour, files, feature_schema and task"):
        Manifest.from_document({"flavour": "pickle"})
