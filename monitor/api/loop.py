"""What an owner asks of the governed loop, over HTTP."""

from typing import Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from monitor.acts.loop import configure_loop
from monitor.api.asking import Open, Someone
from monitor.db.engine import database_now
from monitor.db.registry import ModelSettings, model_named
from monitor.notify.addresses import host_of

routes = APIRouter(prefix="/models/{name}/loop")


class LoopIn(BaseModel):
    """What to change; what is left out stays."""

    trainer: dict[str, Any] | None = None
    fairness_by: list[str] | None = Field(default=None, max_length=100)
    shadow_windows: int | None = None
    shadow_limit: float | None = None
    champion_webhook: str | None = Field(default=None, max_length=2_000)


class LoopOut(BaseModel):
    """What holds; of addresses the host alone is told."""

    trainer: dict[str, Any]
    fairness_by: list[str]
    shadow_windows: int
    shadow_limit: float
    champion_webhook: str

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        trainer = dict(settings.trainer) or {"kind": "holdfast"}
        if trainer.get("url"):
            trainer["url"] = host_of(trainer["url"])
        return cls(
            trainer=trainer, fairness_by=settings.fairness_by, shadow_windows=settings.shadow_windows,
            shadow_limit=settings.shadow_limit,
            champion_webhook=host_of(settings.champion_webhook) if settings.champion_webhook else "",
        )  # fmt: skip


@routes.get("")
def read_loop(name: str, actor: Someone, session: Open) -> LoopOut:
    """Who trains, whose groups are compared, how long a candidate is shadowed, and who is told which version serves."""
    return LoopOut.of(ModelSettings.of(model_named(session, name)))


@routes.post("")
def change_loop(name: str, asked: LoopIn, actor: Someone, session: Open) -> LoopOut:
    """Change it; the next retraining follows."""
    model = model_named(session, name)
    return LoopOut.of(configure_loop(session, model, **asked.model_dump(), by=actor, now=database_now(session)))
