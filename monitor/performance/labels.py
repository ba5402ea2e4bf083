"""Labels and predicted classes as text, and the numbers that everything is computed with: one mapping for all of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.errors import BadInput, NotEnoughData
from monitor.performance.metrics import UNKNOWN, FloatArray, Task

LEAST_CLASSES, MOST_CLASSES = 3, 50
_BOOLEANS = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How the labels and predictions of one model are written, by its task.

    Of two classes `positive` becomes 1 and everything else 0 (None: texts are 0 and 1 already). Of several a text
    becomes its place among `classes`, UNKNOWN (-1) where it is none of them. Values stay values.
    """

    task: Task
    positive: str | None = None
    classes: tuple[str, ...] = ()

    @classmethod
    def several(cls, classes: Sequence[str]) -> Self:
        """Those of a model of several classes."""
        return cls(task=Task.MULTICLASS, classes=tuple(classes))

    def numbers(self, texts: "pd.Series[Any]") -> FloatArray:
        """Texts (n,) as numbers (n,); NaN where nothing was written, or no number where one is wanted.

        `1`, `1.0` and `True` are one class; of several classes a text that is written just so goes first.

        >>> Labels.several(["cat", "dog", "2"]).numbers(pd.Series(["dog", "2.0", None, "eel"])).tolist()
        [1.0, 2.0, nan, -1.0]
        """
        words = texts.astype(object)
        if self.task is Task.MULTICLASS:
            return self._places(words)
        if self.task is Task.CLASSIFICATION and self.positive is not None:
            hit = (words.map(_plain) == _plain(self.positive)).to_numpy(np.float64)
            return np.where(texts.isna().to_numpy(), np.nan, hit)
        plain = words.map(lambda text: _BOOLEANS.get(str(text).lower(), text))
        return pd.to_numeric(plain, errors="coerce").to_numpy(np.float64)

    def texts(self, numbers: FloatArray) -> list[str | None]:
        """Class numbers (n,) as the texts of several classes; None where there is none."""
        known = np.isfinite(numbers) & (numbers != UNKNOWN)
        return [self.classes[int(n)] if there else None for n, there in zip(numbers, known, strict=True)]

    def usable(self, y: FloatArray) -> NDArray[np.bool_]:
        """Which labels (n,) a model can be trained on or attacked with: those that are there and are its classes."""
        known = np.isfinite(y)
        return known & (y != UNKNOWN) if self.task is Task.MULTICLASS else known

    def tells_apart(self, y: FloatArray) -> bool:
        """Whether there are labels of at least two classes; always of values."""
        return self.task is Task.REGRESSION or np.unique(y[self.usable(y)]).size > 1

    def require_every_class(self, y: FloatArray, *, least: int) -> None:
        """Of several classes, that each has rows enough to be learned.

        Raises:
            NotEnoughData: one has fewer; a network trained without it could never say it.
        """
        if self.task is not Task.MULTICLASS:
            return
        counts = {name: int((y == place).sum()) for place, name in enumerate(self.classes)}
        lacking = [f"{count} of {name}" for name, count in counts.items() if count < least]
        if lacking:
            raise NotEnoughData(
                f"expected at least {least} rows of every class to train on, got {', '.join(lacking[:5])}: "
                "wait for labels, or give more history"
            )

    def _places(self, words: "pd.Series[Any]") -> FloatArray:
        by_plain = {_plain(name): place for place, name in reversed(list(enumerate(self.classes)))}
        exact = {name: place for place, name in enumerate(self.classes)}
        codes, distinct = pd.factorize(words)  # few texts, many rows
        places = [float(exact.get(str(text), by_plain.get(_plain(text), UNKNOWN))) for text in distinct]
        return np.asarray(np.append(places, np.nan)[codes], dtype=np.float64)  # the code of nothing is the last, -1


def ordered(texts: Iterable[str]) -> tuple[str, ...]:
    """Distinct classes in the order of their numbers: by value where all are numbers, else by the alphabet.

    >>> ordered(["10", "2", "1", "2"]), ordered(["b", "a"])
    (('1', '2', '10'), ('a', 'b'))
    """
    found = sorted({str(text) for text in texts})
    values = pd.to_numeric(pd.Series(found, dtype=object), errors="coerce")
    if len(found) and values.notna().all():
        return tuple(sorted(found, key=float))
    return tuple(found)


def check_classes(classes: Sequence[str], task: Task | str) -> None:
    """Refuse a list of classes that the task cannot have.

    Raises:
        BadInput: of several classes fewer than three or more than fifty, one twice or empty; any for another task.
    """
    if Task(task) is not Task.MULTICLASS:
        if classes:
            raise BadInput(f"expected no list of classes for {task}, got {len(classes)}: name the positive class alone")
        return
    if not LEAST_CLASSES <= len(classes) <= MOST_CLASSES:
        hint = "two classes are the task classification" if len(classes) == 2 else "judge groups of classes instead"
        raise BadInput(
            f"expected {LEAST_CLASSES} to {MOST_CLASSES} classes for {task}, got {len(classes)} "
            f"({', '.join(classes[:5])}{' …' if len(classes) > 5 else ''}): {hint}"
        )
    repeated = sorted({name for name in classes if list(classes).count(name) > 1})
    if repeated or not all(name.strip() for name in classes):
        raise BadInput(f"expected distinct classes with names, got {', '.join(map(repr, repeated)) or 'an empty one'}")


def _plain(text: object) -> str:
    """`1`, `1.0` and `True` are one class."""
    word = str(text).strip()
    number = _BOOLEANS.get(word.lower(), word)
    try:
        value = float(number)
    except ValueError:
        return word
    return f"{value:.0f}" if math.isfinite(value) and value == round(value) else repr(value)
