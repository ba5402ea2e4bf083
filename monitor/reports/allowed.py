"""The allow-list of what a monitor may name, and what is said of a name or an argument that is not on it.

Nothing here knows Evidently: its classes are handed in by the one file that does. No name is ever imported.
"""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from monitor.errors import BadInput
from monitor.reports.config import MetricSpec

NUMERIC_METHOD, CATEGORICAL_METHOD, THRESHOLD = "wasserstein", "jensenshannon", 0.1
NUMERICAL, CATEGORICAL = "num", "cat"
OUTCOMES = ("classification", "regression")
_MOST_LISTED = 12
_NOT_ARGUMENTS = {"self", "type", "data", "kwargs", "args", "include_tests"}
_PER_COLUMN = ("per_column_method", "per_column_threshold")
_METHODS = ("method", "num_method", "cat_method")


def outcome_of(task: str) -> str:
    """What Evidently calls a task: to it classes are classes, two or several.

    >>> outcome_of("multiclass")
    'classification'
    """
    return "regression" if task == "regression" else "classification"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A drift method, what it can compare, and the threshold that Evidently gives it."""

    name: str
    kinds: frozenset[str]
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Every class and function that a configuration may name; `unavailable` says why a class is not for us."""

    metrics: Mapping[str, type]
    unavailable: Mapping[str, str]
    tests: Mapping[str, Callable[..., Any]]
    relative: Callable[..., Any]  # of a test's threshold: so far from the reference's value
    methods: Mapping[str, Method]

    def build(self, spec: MetricSpec) -> Any:
        """The metric that a specification means.

        Raises:
            BadInput: the name, an argument or a value is not one that it takes.
        """
        chosen = self.class_of(spec.name)
        known = arguments_of(chosen)
        for word in spec.arguments:
            if word not in known:
                raise BadInput(f"{spec.name} takes no argument {word!r}: {near(word, known)}")
        given = {word: self._value(word, value) for word, value in spec.arguments.items()}
        try:
            return chosen(**given)
        except BadInput:
            raise
        except Exception as error:  # each of its classes checks in its own way
            raise BadInput(f"{spec.name}: {_in_one_line(error)}") from error

    def class_of(self, name: str) -> type:
        """The metric or preset of this name.

        Raises:
            BadInput: there is none, or it needs what Holdfast does not keep.
        """
        if name in self.unavailable:
            raise BadInput(f"{name} needs {self.unavailable[name]}, which Holdfast does not keep")
        if name not in self.metrics:
            raise BadInput(f"Evidently has no metric or preset {name!r}: {near(name, self.metrics)}")
        return self.metrics[name]

    def _value(self, word: str, value: Any) -> Any:
        if word.endswith("tests"):
            return self._tests(word, value)
        if isinstance(value, dict) and "name" in value and set(value) <= {"name", "arguments"}:
            return self.build(MetricSpec(**value))  # a metric within a metric: GroupBy
        return value

    def _tests(self, word: str, value: Any) -> list[Any]:
        if not isinstance(value, list) or not all(isinstance(one, dict) and "name" in one for one in value):
            raise BadInput(f"expected {word} as a list of tests such as {{name: gte, arguments: {{threshold: 0}}}}")
        return [self._test(MetricSpec(**one)) for one in value]

    def _test(self, spec: MetricSpec) -> Any:
        if spec.name not in self.tests:
            raise BadInput(f"Evidently has no test {spec.name!r}: {near(spec.name, self.tests)}")
        given = dict(spec.arguments)
        for word in ("threshold", "expected"):
            if isinstance(given.get(word), dict):
                given[word] = self.relative(**given[word])
        try:
            return self.tests[spec.name](**given)
        except Exception as error:
            raise BadInput(f"test {spec.name}: {_in_one_line(error)}") from error


def completed(spec: MetricSpec, vocabulary: Vocabulary, kinds: Mapping[str, str]) -> MetricSpec:
    """The specification with method and threshold said outright, once its columns and methods are known to exist.

    `kinds` has the kind of each column, num or cat. Evidently would choose the method by the reference's size.

    Raises:
        BadInput: it names a column, method or argument that is not there, or a method that cannot compare the column.
    """
    known = arguments_of(vocabulary.class_of(spec.name))
    for name in _named_columns(spec):
        if name not in kinds:
            raise BadInput(f"{spec.name}: the model has no column {name!r}: {near(name, kinds)}")
    arguments = dict(spec.arguments)
    if {"column", "method", "threshold"} <= set(known) and "column" in arguments:
        kind = kinds[arguments["column"]]
        arguments.setdefault("method", NUMERIC_METHOD if kind == NUMERICAL else CATEGORICAL_METHOD)
        arguments.setdefault("threshold", _threshold(vocabulary, arguments["method"]))
        _comparable(vocabulary, spec.name, arguments["method"], kind)
    elif {"num_method", "cat_method"} <= set(known) and "method" not in arguments:
        arguments.setdefault("num_method", NUMERIC_METHOD)
        arguments.setdefault("cat_method", CATEGORICAL_METHOD)
        if "threshold" not in arguments:
            arguments.setdefault("num_threshold", _threshold(vocabulary, arguments["num_method"]))
            arguments.setdefault("cat_threshold", _threshold(vocabulary, arguments["cat_method"]))
    elif {"num_method", "cat_method"} <= set(known):
        arguments.setdefault("threshold", _threshold(vocabulary, arguments["method"]))
    whole = MetricSpec(name=spec.name, arguments=arguments)
    vocabulary.build(whole)
    for method in _named_methods(whole):
        _threshold(vocabulary, method)
    return whole


def arguments_of(chosen: type) -> tuple[str, ...]:
    """The arguments that a class takes: its constructor's, and its fields where it takes them by name.

    >>> arguments_of(type("Of", (), {"__init__": lambda self, column, include_tests=True: None}))
    ('column',)
    """
    parameters = inspect.signature(chosen).parameters
    by_name = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    fields: Iterable[str] = getattr(chosen, "__fields__", ()) if by_name else ()
    return tuple(name for name in dict.fromkeys([*parameters, *fields]) if name not in _NOT_ARGUMENTS)


def near(word: str, known: Collection[str]) -> str:
    """A hint at what may have been meant.

    >>> near("ValueDrft", ["ValueDrift", "RowCount"])
    'did you mean ValueDrift?'
    """
    by_lower = {name.lower(): name for name in known}
    found = [by_lower[name] for name in difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.55)]
    if found:
        return f"did you mean {' or '.join(found)}?"
    shown = sorted(known)[:_MOST_LISTED]
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    return f"there are {', '.join(shown)}{more}"


def _named_columns(spec: MetricSpec) -> list[str]:
    named = [*spec.columns, *(name for word in _PER_COLUMN for name in spec.arguments.get(word) or ())]
    return [str(name) for name in named]


def _named_methods(spec: MetricSpec) -> list[str]:
    per_column = spec.arguments.get("per_column_method") or {}
    return [str(spec.arguments[word]) for word in _METHODS if spec.arguments.get(word)] + list(per_column.values())


def _threshold(vocabulary: Vocabulary, method: str) -> float:
    if method not in vocabulary.methods:
        raise BadInput(f"Evidently has no drift method {method!r}: {near(str(method), vocabulary.methods)}")
    return vocabulary.methods[method].threshold


def _comparable(vocabulary: Vocabulary, name: str, method: str, kind: str) -> None:
    if kind not in vocabulary.methods[method].kinds:
        fitting = [one.name for one in vocabulary.methods.values() if kind in one.kinds]
        words = "numeric" if kind == NUMERICAL else "categorical"
        raise BadInput(f"{name}: {method} cannot compare a {words} column: choose among {', '.join(sorted(fitting))}")


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join(lines[1:3]) if len(lines) > 1 else (lines or [type(error).__name__])[0]
