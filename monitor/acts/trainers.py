"""Who trains a model's candidates: Holdfast, a command on the worker's machine, or a service of the user's own."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from monitor.errors import BadInput
from monitor.notify.addresses import checked_url

SECRET_PREFIX = "HOLDFAST_SECRET_"  # variables that a worker may sign with; no child process inherits them


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HoldfastTrainer(_Settings):
    """The platform's own training."""

    kind: Literal["holdfast"] = "holdfast"


class CommandTrainer(_Settings):
    """A program that the worker runs, one that its machine allows; no shell sees the words."""

    kind: Literal["command"]
    argv: tuple[str, ...] = Field(min_length=1, max_length=64)
    seconds: float = Field(default=3_600.0, gt=0, le=7 * 86_400)


class WebhookTrainer(_Settings):
    """A service that is asked by a signed request, and answers in its own time."""

    kind: Literal["webhook"]
    url: str = Field(max_length=2_000)
    secret_env: str = Field(pattern=rf"^{SECRET_PREFIX}[A-Z0-9_]{{1,64}}$")
    hours: float = Field(default=24.0, gt=0, le=30 * 24)

    @field_validator("url")
    @classmethod
    def _of_the_web(cls, url: str) -> str:
        return checked_url(url)


TrainerSettings = HoldfastTrainer | CommandTrainer | WebhookTrainer
_ADAPTER: TypeAdapter[TrainerSettings] = TypeAdapter(Annotated[TrainerSettings, Field(discriminator="kind")])


def trainer_of(document: Mapping[str, Any]) -> TrainerSettings:
    """The trainer that a model's settings name; Holdfast where they name none.

    >>> trainer_of({}).kind
    'holdfast'
    >>> trainer_of({"kind": "command", "argv": ["/opt/train"], "seconds": 60}).argv
    ('/opt/train',)

    Raises:
        BadInput: the document is not one of a trainer.
    """
    try:
        return _ADAPTER.validate_python(dict(document) or {"kind": "holdfast"})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("holdfast", "command", "webhook"))
        raise BadInput(
            f"trainer{f' {place}' if place else ''}: {first['msg']}. Expected kind holdfast; kind command with argv, "
            f"seconds; or kind webhook with url, secret_env ({SECRET_PREFIX}…) and hours"
        ) from None
