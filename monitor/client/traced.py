"""Logging around a predict function: what the function does, and raises, is untouched."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
_TOLD = ("score", "prediction", "version")


def outcome_of(result: Any) -> Mapping[str, Any]:
    """A mapping's own score, prediction and version; any other result is the prediction."""
    return result if isinstance(result, Mapping) else {"prediction": result}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call becomes a trace."""

    outcome: Callable[[Any], Mapping[str, Any]]
    features: Callable[..., Mapping[str, Any]] | None
    trace_id: Callable[[Mapping[str, Any]], str] | None
    version: str | None

    def row(self, names: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The features, copied before the function could change them; None where there are none."""
        try:
            if self.features is not None:
                return dict(self.features(*args, **kwargs))
            for argument in (*args, *kwargs.values()):
                if isinstance(argument, Mapping):
                    return dict(argument)
            given = dict(zip(names, args, strict=False)) | dict(kwargs)
            return {name: value for name, value in given.items() if name not in ("self", "cls")}
        except Exception:
            return None

    def log(self, log: Callable[..., str], row: Any, result: Any) -> None:
        try:
            found = self.outcome(result)
            told = {name: found[name] for name in _TOLD if name in found}
            told.setdefault("version", self.version)
            known = self.trace_id(row) if self.trace_id is not None else None
        except Exception:
            row, told, known = None, {}, None
        log(row, trace_id=known, **told)  # which counts None as a row that cannot be written


def tracing(log: Callable[..., str], how: Outcome) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The decorator, for plain and for async functions."""

    def decorate(predict: Callable[P, R]) -> Callable[P, R]:
        names = list(inspect.signature(predict).parameters)
        if inspect.iscoroutinefunction(predict):

            @functools.wraps(predict)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                row = how.row(names, args, kwargs)
                result = await predict(*args, **kwargs)
                how.log(log, row, result)
                return result

            return cast(Callable[P, R], awaited)

        @functools.wraps(predict)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            row = how.row(names, args, kwargs)
            result = predict(*args, **kwargs)
            how.log(log, row, result)
            return result

        return called

    return decorate
