"""What a target is: said outright, or read off its values by a rule that is told."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitor.cli.meaning import Meaning, meaning_of
from monitor.errors import BadInput
from monitor.intake.columns import Columns

COLUMNS = Columns(time=("t",), target="y")


def meaning(labels: list[Any], predicted: list[Any] | None = None, **said: Any) -> Meaning:
    rows = pd.DataFrame({"label": pd.Series(labels, dtype=object)})
    if predicted is not None:
        rows["prediction"] = pd.Series(predicted, dtype=object)
        said["prediction"] = "said"
    return meaning_of(rows, Columns(**{**vars(COLUMNS), **said}))


@pytest.mark.parametrize(
    ("labels", "predicted", "task"),
    [
        (["0", "1"], None, "classification"),
        (["no", "yes"], None, "classification"),
        (["cat", "dog", "eel"], None, "multiclass"),
        (["1", "2", "3"], None, "multiclass"),
        (["1", "2", "3"], ["3", "1", "2"], "multiclass"),
        (["1", "2", "3"], ["1.5", "2.25", "3.0"], "regression"),
        (["0.5", "1.5", "2.5"], None, "regression"),
        ([str(n) for n in range(21)], None, "regression"),
        ([f"c{n}" for n in range(21)], None, "multiclass"),
    ],
)
def test_the_values_say_what_the_target_is(labels, predicted, task):
    assert meaning(labels, predicted).task == task


def test_what_was_guessed_of_whole_numbers_is_told_and_can_be_said_otherwise():
    assert meaning(["1", "2", "10"]).classes == ("1", "2", "10")
    assert meaning(["1", "2", "10"]).notes[0].endswith("--task regression if it is a quantity")
    assert meaning(["1", "2", "10"], task="regression").task == "regression"
    many = [str(n) for n in range(30)]
    assert meaning(many).notes == ("y takes 30 whole numbers: read as a quantity; --task multiclass for classes",)
    assert meaning(many, task="multiclass").classes == tuple(many)


def test_a_class_that_was_predicted_and_never_came_true_is_a_class():
    assert meaning(["a", "b", "a"], ["a", "b", "c"], task="multiclass").classes == ("a", "b", "c")


def test_without_labels_the_predictions_say_what_they_will_be():
    rows = pd.DataFrame({"prediction": ["a", "b", "c"]})
    found = meaning_of(rows, Columns(time=("t",), prediction="said"))
    assert (found.task, found.classes) == ("multiclass", ("a", "b", "c"))
    assert meaning_of(pd.DataFrame({"score": [0.5]}), Columns(time=("t",), score="s")).task == "classification"


@pytest.mark.parametrize(
    ("labels", "said", "sentence"),
    [
        ([np.nan, None], {}, "every one is missing"),
        (["1", "1"], {}, "is always '1'"),
        ([f"c{n}" for n in range(51)], {}, "3 to 50 classes or a number in the target y, got 51 classes"),
        (["a", "b"], {"task": "multiclass"}, "got 2 classes (a, b)"),
        (["a", "b", "c"], {"task": "classification"}, "expected two classes in the target y, got 3 classes"),
        (["a", "b", "c"], {"task": "regression"}, "expected numbers in the target y, got 3 classes (a, b, c)"),
        (["a", "b", "c"], {"task": "ranking"}, "expected a task among classification, multiclass, regression"),
        (["a", "b", "c"], {"score": "p"}, "expected --prediction beside --score p: of 3 classes"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(labels, said, sentence):
    with pytest.raises(BadInput) as told:
        meaning(labels, **said)
    assert sentence in str(told.value)
