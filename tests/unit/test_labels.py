"""Labels as numbers: one mapping for all of a model, whatever wrote the text."""

import numpy as np
import pandas as pd
import pytest

from monitor.errors import BadInput, NotEnoughData
from monitor.performance import Labels, Task, check_classes, ordered

PLANS = Labels.several(["basic", "plus", "premium"])


def test_texts_and_class_numbers_are_mapped_there_and_back():
    texts = ["plus", "premium", "basic", "plus"]
    assert PLANS.texts(PLANS.numbers(pd.Series(texts))) == texts
    assert PLANS.texts(np.array([-1.0, np.nan, 2.0])) == [None, None, "premium"]


def test_nothing_written_is_missing_and_another_word_is_none_of_the_classes():
    found = PLANS.numbers(pd.Series(["plus", None, np.nan, "family", "Plus"], dtype=object))
    np.testing.assert_array_equal(found, [1.0, np.nan, np.nan, -1.0, -1.0])
    np.testing.assert_array_equal(PLANS.usable(found), [True, False, False, False, False])


def test_a_column_of_nothing_is_all_missing():
    assert np.isnan(PLANS.numbers(pd.Series([None, None], dtype=object))).all()


def test_numbers_are_one_class_however_they_are_written_and_an_exact_text_goes_first():
    codes = Labels.several(["1", "2", "1234567", "1234568", "007", "7"])
    given = pd.Series(["1.0", "1", 2, 2.0, "1234567.0", "1234568", "007", "7", True], dtype=object)
    assert codes.numbers(given).tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize(
    ("positive", "expected"), [("1", [1, 1, 1, 0, 0]), ("0", [0, 0, 0, 1, 1]), (None, [1, 1, 1, 0, 0])]
)
def test_of_two_classes_the_positive_one_is_1_in_any_writing(positive, expected):
    labels = Labels(task=Task.CLASSIFICATION, positive=positive)
    assert labels.numbers(pd.Series(["1", "1.0", "True", "0", "false"])).tolist() == expected


def test_classes_that_are_numbers_are_in_the_order_of_their_values():
    assert ordered(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert ordered(["10", "9", "b"]) == ("10", "9", "b")


def test_a_class_that_cannot_be_learned_is_named():
    with pytest.raises(NotEnoughData, match="at least 5 rows of every class to train on, got 4 of plus, 0 of premium"):
        PLANS.require_every_class(np.array([0.0] * 9 + [1.0] * 4), least=5)
    Labels(task=Task.CLASSIFICATION).require_every_class(np.zeros(9), least=5)


def test_a_list_of_classes_belongs_to_several_classes_alone():
    check_classes(["a", "b", "c"], "multiclass")
    with pytest.raises(BadInput, match="expected no list of classes for classification, got 2"):
        check_classes(["a", "b"], "classification")
    with pytest.raises(BadInput, match="got an empty one"):
        check_classes(["a", "b", " "], "multiclass")
