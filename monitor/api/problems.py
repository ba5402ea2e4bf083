"""What went wrong, as a problem document that programs can read. Source: RFC 9457."""

from http import HTTPStatus

from fastapi.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


def problem(status: int, sentence: str, *, retry_after: int | None = None, kind: str = "") -> JSONResponse:
    """A refusal. `type` names it for programs, `detail` is the sentence for people (`error` holds it too).

    `kind` is a name for programs where the status alone does not say what to do.
    """
    title = HTTPStatus(status).phrase
    document = {
        "type": f"urn:holdfast:{kind or title.lower().replace(' ', '-')}", "title": title, "status": status,
        "detail": sentence, "error": sentence,
    }  # fmt: skip
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse(document, status_code=status, media_type=MEDIA_TYPE, headers=headers)
