"""What Evidently says of a window, as facts of ours: a stable key, a subject, a number, whether it fired, a sentence.

Its metric id is a hash of all arguments, thresholds and drawing options among them, and so no key of a series.
"""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

P_VALUES = frozenset(
    {"anderson", "chisquare", "cramer_von_mises", "es", "fisher_exact", "g_test", "ks", "mannw", "t_test", "z"}
)
_MOST_LABELS = 30
_GROW_WITH_ROWS = frozenset({"RowCount", "DuplicatedRowCount", "EmptyRowsCount", "SumValue"})
_COLUMN_WORDS = {"column", "column_name", "columns"}
_DEFAULTS = {"default", None}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One fact. `subject` is a column, None: the whole window. `fired` says that one of Evidently's tests failed."""

    metric: str
    subject: str | None
    status: str = "ok"
    statistic: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    fired: bool = False
    sentence: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


def key_of(name: str, config: Mapping[str, Any]) -> str:
    """The metric's name with the arguments that make it another series: not its column, its limits or how it is drawn.

    >>> key_of("ValueDrift", {"column": "amount", "method": "psi", "threshold": 0.2, "nbinsx": 10})
    'ValueDrift(method=psi)'
    >>> key_of("RowCount", {})
    'RowCount'
    """
    telling = {word: value for word, value in config.items() if _tells_apart(word, value)}
    inner = ", ".join(f"{word}={_short(value)}" for word, value in sorted(telling.items()))
    return f"{name}({inner})" if inner else name


def _tells_apart(word: str, value: Any) -> bool:
    drawn = isinstance(value, bool) or word == "nbinsx"
    limit = word.endswith("tests") or ("threshold" in word and word != "probas_threshold") or word == "drift_share"
    by_default = isinstance(value, str | None) and value in _DEFAULTS
    return not (drawn or limit or by_default or word in _COLUMN_WORDS)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        name = str(value.get("type", "")).rpartition(":")[2] or str(value.get("name", ""))
        inner = value.get("arguments", {word: one for word, one in value.items() if word != "type"})
        return key_of(name, inner)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def results_of(raw: Mapping[str, Any], *, notes: Mapping[str, str]) -> Iterator[Result]:
    """The facts in one metric of a snapshot: one, or one a label. Names and values come back as they were."""
    raw = plain(raw)
    config, tests = raw["config"], _telling_tests(raw)
    subject = config.get("column") or config.get("column_name") or (config.get("metric") or {}).get("column")
    key = key_of(raw["name"], config)
    failed = [test for test in tests if test["status"] == "FAIL"]
    broken = [test for test in tests if test["status"] == "ERROR"]
    threshold = _threshold(config, failed or tests)
    note = notes.get(subject, "") if subject else ""
    for label, value in _parts(raw["value"]):
        is_p = value is not None and config.get("method") in P_VALUES and raw["name"] == "ValueDrift"
        told = _sentence(raw, subject, label, value, threshold, failed, tests)
        yield Result(
            metric=f"{key}[{label}]" if label else key,
            subject=subject,
            status="error" if broken or raw["value"] in (None, {}) else "ok",
            statistic=value,
            p_value=value if is_p else None,
            threshold=threshold,
            fired=bool(failed),
            sentence=f"{told} ({note})" if note else told,
            detail={
                "value": raw["value"] if _is_small(raw["value"]) else None,
                "tests": [{"status": test["status"], "description": test["description"]} for test in tests],
            },
        )


def _telling_tests(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Without those that Evidently adds by default to counts: the reference is a sample of another size."""
    by_default = not any(word.endswith("tests") and value for word, value in raw["config"].items())
    return [test for test in raw["tests"] if not (by_default and (test["is_count"] or raw["name"] in _GROW_WITH_ROWS))]


def plain(value: Any) -> Any:
    """The escaped texts of the run as they were, and no number that is not finite."""
    if isinstance(value, str):
        return html.unescape(value)
    if isinstance(value, Mapping):
        return {html.unescape(str(word)): plain(one) for word, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escaped(value: Any) -> Any:
    """The arguments of a metric as the sanitised frames have their names and values."""
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, Mapping):
        return {html.escape(str(word)): escaped(one) for word, one in value.items()}
    return [escaped(one) for one in value] if isinstance(value, list | tuple) else value


def _parts(value: Any) -> list[tuple[str, float | None]]:
    """The numbers in a value: itself, the share of a count, the mean of mean and spread, one a label; or no number."""
    if not isinstance(value, Mapping):
        return [("", _number(value))]
    for headline in ("share", "mean"):
        if headline in value:
            return [("", _number(value[headline]))]
    by_label = value.get("shares", value)
    numbers = {label: _number(one) for label, one in by_label.items()} if isinstance(by_label, Mapping) else {}
    if not numbers or len(numbers) > _MOST_LABELS or None in numbers.values():
        return [("", None)]
    return sorted(numbers.items())


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _threshold(config: Mapping[str, Any], tests: Sequence[Mapping[str, Any]]) -> float | None:
    if (own := _number(config.get("threshold"))) is not None:
        return own
    for test in tests:
        given = test.get("test_config") or {}
        for word in ("threshold", "expected"):
            if (found := _number(given.get(word))) is not None:
                return found
    return None


def _sentence(
    raw: Mapping[str, Any], subject: str | None, label: str, value: float | None, threshold: float | None,
    failed: Sequence[Mapping[str, Any]], tests: Sequence[Mapping[str, Any]],
) -> str:  # fmt: skip
    of = f" of {subject}" if subject else ""
    name = f"{raw['name']}[{label}]" if label else raw["name"]
    if raw["name"] == "ValueDrift" and value is not None and threshold is not None:
        method = raw["config"].get("method")
        what = f"{method} p-value" if method in P_VALUES else str(method)
        side = "below" if value < threshold else "at or above"
        return f"{subject}: {what} {value:.3g}, {side} its threshold {threshold:g}: {'drift' if failed else 'no drift'}"
    if failed or tests:
        told = "; ".join(dict.fromkeys(" ".join(test["description"].split()) for test in failed or tests[:1]))
        return told if not subject or subject in told else f"{subject}: {told}"
    if value is not None:
        return f"{name}{of} is {value:.4g}"
    return f"{name}{of} is a table: see the report" if raw["value"] else f"{name}{of} gives no number"


def _is_small(value: Any) -> bool:
    return len(str(value)) <= 2_000
