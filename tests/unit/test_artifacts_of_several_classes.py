"""Files of several classes: every flavour gives a probability of each class in the order that the model declares."""

from pathlib import Path

import joblib
import numpy as np
import pytest
import skl2onnx
import torch
import xgboost
from safetensors.torch import save_file
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier

from monitor.artifacts import Flavour, Manifest, Store, attach_converted, attach_file, convert_sklearn, load_model
from monitor.artifacts.estimator import columns_in_order
from monitor.errors import BadInput
from tests.several import CLASSES, Plans, manifest_in, schema, targets

ROWS = Plans().days(0, 6)
NUMBERS = [name for name in schema().names if name != "channel"]
BACKWARDS = tuple(reversed(CLASSES))  # an order that no library has by itself


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


def hits(manifest: Manifest, store: Store, classes: tuple[str, ...] = CLASSES) -> float:
    """The share of rows whose class it predicts."""
    scores = load_model(manifest, store).predict_score(schema().encode(ROWS))
    assert scores.shape == (len(ROWS), 3)
    assert scores.sum(axis=1) == pytest.approx(np.ones(len(ROWS)), abs=1e-5)
    return float(np.mean(np.array(classes)[scores.argmax(axis=1)] == ROWS["label"]))


def test_a_trained_network_says_each_class_and_its_manifest_survives_json(store: Store):
    manifest = manifest_in(store)
    assert hits(manifest, store) > 0.7
    again = Manifest.from_document(manifest.to_document())
    assert (again, again.classes, again.settings["classes"]) == (manifest, CLASSES, 3)


@pytest.mark.parametrize("classes", [CLASSES, BACKWARDS])
def test_a_scikit_learn_file_is_put_in_the_order_of_the_classes_by_their_names(store, tmp_path, classes):
    fitted = HistGradientBoostingClassifier(max_iter=20).fit(ROWS[NUMBERS], ROWS["label"])
    joblib.dump(fitted, tmp_path / "model.joblib")
    converted = convert_sklearn(tmp_path / "model.joblib", schema().conform(ROWS))
    manifest = attach_converted(converted, store, schema=schema(), classes=classes)
    assert manifest.flavour is Flavour.SKLEARN
    assert hits(manifest, store, classes) > 0.7


@pytest.mark.parametrize("names", [CLASSES, (0, 1, 2)])
def test_an_onnx_file_that_names_its_classes_is_put_in_their_order(store, tmp_path, names):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    matrix = schema().encode(ROWS)
    y = np.array(names, dtype=object if names is CLASSES else int)[targets(ROWS).astype(int)]
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, y.tolist())
    onnx = skl2onnx.to_onnx(fitted, initial_types=[("rows", FloatTensorType([None, matrix.shape[1]]))])
    (tmp_path / "model.onnx").write_bytes(onnx.SerializeToString())
    manifest = attach_file(tmp_path / "model.onnx", store, schema=schema(), task="multiclass", classes=CLASSES)
    assert hits(manifest, store) > 0.7
    if names is CLASSES:
        backwards = attach_file(tmp_path / "model.onnx", store, schema=schema(), task="multiclass", classes=BACKWARDS)
        assert hits(backwards, store, BACKWARDS) > 0.7


def test_an_xgboost_file_gives_its_columns_in_the_order_of_the_class_numbers(store, tmp_path):
    data = xgboost.DMatrix(schema().encode(ROWS), targets(ROWS), feature_names=list(schema().names))
    settings = {"objective": "multi:softprob", "num_class": 3, "max_depth": 3, "nthread": 1}
    xgboost.train(settings, data, 20).save_model(tmp_path / "model.json")
    manifest = attach_file(tmp_path / "model.json", store, schema=schema(), task="multiclass", classes=CLASSES)
    assert hits(manifest, store) > 0.7


def test_a_network_with_another_number_of_outputs_is_told_in_a_sentence(store, tmp_path):
    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(4))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.bias.expand(len(rows), 4)

    save_file({"bias": torch.zeros(4)}, tmp_path / "w.safetensors")
    manifest = attach_file(
        tmp_path / "w.safetensors", store, schema=schema(), task="multiclass", factory="flat:build", classes=CLASSES
    )
    model = load_model(manifest, store, {"flat:build": lambda *_: Flat()})
    with pytest.raises(BadInput, match=r"each of 3 classes \(basic, plus, premium\) a row, got outputs of shape"):
        model.predict_score(schema().encode(ROWS))


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        (["basic", "plus"], "this one lacks premium"),
        (["basic", "family", "plus", "premium"], "this one also knows family"),
        ([0, 1], "lacks basic, plus, premium and also knows 0, 1"),
    ],
)
def test_a_file_of_other_classes_is_refused_by_their_names(known, sentence):
    with pytest.raises(BadInput, match=sentence):
        columns_in_order(known, CLASSES)


def test_classes_that_are_numbers_are_found_however_a_library_writes_them():
    assert columns_in_order(np.array([2.0, 3.0, 1.0]), ["1", "2", "3"]) == [2, 0, 1]
    assert columns_in_order([True, False, "unknown"], ["0", "1", "unknown"]) == [1, 0, 2]
