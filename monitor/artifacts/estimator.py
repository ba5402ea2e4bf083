"""Black boxes: scikit-learn by skops, ONNX by onnxruntime, XGBoost by its own format. Each becomes rows → scores."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from monitor.errors import BadInput, SchemaMismatch, UnsafeArtefact
from monitor.performance import Labels
from monitor.performance.metrics import UNKNOWN
from monitor.robustness.target import Task
from monitor.schema import FloatArray, Schema

Score = Callable[[FloatArray], FloatArray]

# Types that hold numbers and run no code of the file's choice, which skops leaves to the caller's judgement. Without
# numpy.dtype no pipeline with an encoder could be read. functools.partial and search objects stay out.
TRUSTED = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)


def sklearn_score(
    data: bytes, schema: Schema, task: Task, classes: Sequence[str] = (), trusted: Iterable[str] = TRUSTED
) -> Score:
    """Scores of the estimator in a skops file. It is handed a frame with the schema's real names and levels.

    Of several classes its columns are put in the order of `classes`, by the names that it was fitted with.
    """
    fitted = sklearn_estimator(data, trusted)
    order = columns_in_order(getattr(fitted, "classes_", ()), classes)

    def score(rows: FloatArray) -> FloatArray:
        found = estimator_scores(fitted, schema.decode(rows), task)
        return found if order is None else found[:, order]

    return score


def columns_in_order(known: Iterable[object], classes: Sequence[str]) -> list[int] | None:
    """Which of a model's outputs stands for each class, by the model's own names of them; None: they are as they come.

    Raises:
        BadInput: the model lacks a class, or knows one that is none of `classes`.

    >>> columns_in_order(["b", "a", "c"], ["a", "b", "c"]), columns_in_order([0, 1, 2], ["a", "b", "c"])
    ([1, 0, 2], [0, 1, 2])
    """
    names = [getattr(name, "item", lambda name=name: name)() for name in known]
    if not classes or not names:
        return None
    if names == list(range(len(classes))) and not {"0", "1"} & set(classes):  # it learned the numbers of the classes
        return names
    places = Labels.several(classes).numbers(pd.Series(names, dtype=object)).tolist()
    lacking = [name for place, name in enumerate(classes) if place not in places]
    strange = [str(name) for name, place in zip(names, places, strict=True) if place == UNKNOWN]
    if lacking or strange:
        raise BadInput(
            f"expected a model of the classes {', '.join(classes)}; this one "
            + " and ".join(
                f"{verb} {', '.join(found)}" for verb, found in (("lacks", lacking), ("also knows", strange)) if found
            )
        )
    return [places.index(place) for place in range(len(classes))]


def sklearn_estimator(data: bytes, trusted: Iterable[str] = TRUSTED) -> Any:
    """The estimator in a skops file, which may hold skops' own types and the trusted ones only."""
    import skops.io

    unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(trusted))
    if unknown:
        raise UnsafeArtefact(
            f"the skops file holds types that are not trusted: {', '.join(unknown)}. Build the model of scikit-learn's "
            "own parts, or export it to ONNX"
        )
    return skops.io.loads(data, trusted=list(trusted))


def estimator_scores(fitted: Any, frame: pd.DataFrame, task: Task) -> FloatArray:
    """`predict_proba`, or `predict` for regression, on the columns that the estimator was fitted with."""
    if task is not Task.REGRESSION and not hasattr(fitted, "predict_proba"):
        raise BadInput(
            f"expected a classifier with predict_proba, got {type(fitted).__name__}: wrap it in a calibrator"
        )
    predict = fitted.predict if task is Task.REGRESSION else fitted.predict_proba
    names = getattr(fitted, "feature_names_in_", None)
    if names is None:
        return np.asarray(predict(frame.to_numpy()), dtype=np.float64)
    lacking = [str(name) for name in names if name not in frame.columns]
    if lacking:
        raise SchemaMismatch(f"the model was fitted with columns that the schema lacks: {', '.join(lacking)}")
    return np.asarray(predict(frame[list(names)]), dtype=np.float64)


def onnx_score(data: bytes, schema: Schema, classes: Sequence[str] = ()) -> Score:
    """Scores of an ONNX model: one input of encoded rows (n, d), or one input (n, 1) a feature with its name.

    Probabilities that it gives by name of a class are put in the order of `classes`.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no public base class for its errors
        raise BadInput(f"expected an ONNX model, got a file that onnxruntime refuses: {error}") from None
    inputs, last = session.get_inputs(), session.get_outputs()[-1].name
    lacking = [one.name for one in inputs if one.name not in schema.names]
    if len(inputs) > 1 and lacking:
        raise SchemaMismatch(f"the ONNX model has inputs that the schema lacks: {', '.join(lacking)}")

    def score(rows: FloatArray) -> FloatArray:
        feed = _matrix(inputs[0], rows) if len(inputs) == 1 and lacking else _columns(inputs, schema.decode(rows))
        return _plain_scores(session.run([last], feed)[0], classes)

    return score


def xgboost_score(data: bytes, schema: Schema) -> Score:
    """Scores of an XGBoost model on encoded rows (missing as NaN, categories as level codes)."""
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(data))
    except xgboost.core.XGBoostError as error:
        raise BadInput(f"expected XGBoost's own JSON or UBJ, got a file that it refuses: {error}") from None
    names = booster.feature_names or list(schema.names)
    lacking = [name for name in names if name not in schema.names]
    if lacking or booster.num_features() != len(names):
        raise SchemaMismatch(f"the XGBoost model has {booster.num_features()} features, the schema lacks: {lacking}")
    order = [schema.names.index(name) for name in names]

    def score(rows: FloatArray) -> FloatArray:
        matrix = xgboost.DMatrix(
            rows[:, order], feature_names=booster.feature_names, feature_types=booster.feature_types
        )
        return np.asarray(booster.predict(matrix), dtype=np.float64)

    return score


_ONNX_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def _matrix(only: Any, rows: FloatArray) -> dict[str, Any]:
    if only.type not in _ONNX_TYPES:
        raise BadInput(f"expected an ONNX input of numbers, got {only.type}: use one input a feature")
    return {only.name: rows.astype(_ONNX_TYPES[only.type])}


def _columns(inputs: Any, frame: pd.DataFrame) -> dict[str, Any]:
    feed = {}
    for one in inputs:
        column = frame[one.name]
        if one.type == "tensor(string)":
            values = column.fillna("").astype(str).to_numpy(object)
        else:
            values = column.to_numpy(np.float64).astype(_ONNX_TYPES.get(one.type, np.float32))
        feed[one.name] = values.reshape(-1, 1)
    return feed


def _plain_scores(output: Any, classes: Sequence[str]) -> FloatArray:
    """Tensors as they are; a list of {class: probability} with the classes in order."""
    if isinstance(output, list):
        names = sorted(output[0]) if output else []
        order = columns_in_order(names, classes) or list(range(len(names)))
        return np.array([[row[names[place]] for place in order] for row in output], dtype=np.float64)
    return np.asarray(output, dtype=np.float64)
