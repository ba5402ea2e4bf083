"""What the OpenAPI page shows of intake: bodies that work as they stand, and the refusals."""

from typing import Any

from monitor.api.problems import MEDIA_TYPE
from monitor.intake.formats import ARROW, JSON, LINES

_TRACES = [
    {
        "trace_id": "9f1c", "event_time": "2026-03-02T08:15:00Z", "version": "v1", "score": 0.12, "prediction": "0",
        "amount": 12.5, "channel": "app", "embedding": [0.12, -0.4, 0.31],
    },
    {"trace_id": "9f1d", "event_time": "2026-03-02T08:15:01Z", "score": 0.93, "amount": 8000, "channel": "web"},
]  # fmt: skip
_LABELS = [
    {"trace_id": "9f1c", "label": "0", "label_time": "2026-03-09T00:00:00Z"},
    {"trace_id": "9f1d", "label": "1"},
]
_LINES = {
    "traces": '{"trace_id": "9f1c", "event_time": "2026-03-02T08:15:00Z", "amount": 12.5, "channel": "app"}\n'
    '{"trace_id": "9f1d", "event_time": "2026-03-02T08:15:01Z", "amount": 8000, "channel": "web"}\n',
    "labels": '{"trace_id": "9f1c", "label": "0"}\n{"trace_id": "9f1d", "label": "1"}\n',
}


def _body(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    row = {"type": "object", "additionalProperties": True}
    several = {"oneOf": [
        {"type": "array", "items": row},
        {"type": "object", "properties": {"rows": {"type": "array", "items": row}}, "required": ["rows"]},
    ]}  # fmt: skip
    return {
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": several, "examples": {name: {"summary": f"two {name}", "value": rows}}},
                LINES: {"schema": {"type": "string"}, "example": _LINES[name]},
                ARROW: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "parameters": [
            {
                "name": "Content-Encoding", "in": "header", "required": False,
                "schema": {"type": "string", "enum": ["identity", "gzip", "zstd"]},
                "description": "how the body is packed: at most 5 MiB as sent, 20 MiB unpacked, 5,000 rows",
            }
        ],
    }  # fmt: skip


TRACES, LABELS = _body("traces", _TRACES), _body("labels", _LABELS)
_WHY = {
    401: "no token, or one that is unknown, revoked or expired",
    403: "the token may not send traces, or is for another model",
    404: "no such model",
    408: "the body did not come in time",
    409: "the model is retired",
    413: "the body is too large, or has too many rows or fields",
    415: "a content type or encoding that is not read",
    422: "no row of it could be good: the sentence says what is missing",
    429: "too many requests from this token; Retry-After says when to come again",
    503: "no room now, or the database does not answer; Retry-After says when to come again",
    507: "the disk of the database is full",
}
_PROBLEM = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("type", "title", "detail")} | {"status": {"type": "integer"}},
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}} for status, why in _WHY.items()
}

_PLAN: dict[str, Any] = {
    "format": 1,
    "stamp": "5e1f0c2ab3d49876",
    "schema": {"features": [{"name": "amount", "kind": "numeric"}]},
    "serving": "v1",
    "binnings": {},
    "binning_of": {},
    "binning_of_others": None,
    "tick_seconds": 3600.0,
    "width_seconds": 86400.0,
    "sampling": {"rate": 0.05, "rows": None, "by": "", "surprise": 0.0, "threshold": 0.5},
    "usual": {},
    "oldest": None,
    "ahead_seconds": 86400.0,
    "hashed": [],
    "why_rows": "the model has no reference yet, so that there are no bins to count over",
}
_COUNTS = (
    '{"stamp": "5e1f0c2ab3d49876", "sample": 1, "parts": [{"version": "v1", "bucket": "2026-03-02T08:00:00Z", '
    '"binning_id": "0123456789abcdef", "ids": ["9f1c", "9f1d"], "times": [900000000, 1000000], '
    '"counts": "SEZQMg=="}]}\n'
    '{"trace_id": "9f1d", "event_time": "2026-03-02T08:15:01Z", "amount": 8000, "channel": "web"}\n'
)
PLAN: dict[int | str, dict[str, Any]] = {
    **{status: REFUSALS[status] for status in (401, 403, 404, 409, 429, 503)},
    200: {"description": "the plan", "content": {JSON: {"example": _PLAN}}},
    304: {"description": "`If-None-Match` names the plan that holds"},
}
PROFILES = {
    "requestBody": {"required": True, "content": {LINES: {"schema": {"type": "string"}, "example": _COUNTS}}},
    "parameters": TRACES["parameters"],
}
COUNT_REFUSALS: dict[int | str, dict[str, Any]] = {
    **REFUSALS,
    409: {
        **REFUSALS[409], "description": "the model is retired, the plan is not the present one, or rows are wanted"
    },
    422: {**REFUSALS[422], "description": "the counts, the sample and the rows do not agree"},
}  # fmt: skip
