"""Settings of a Holdfast installation: the environment first, then `holdfast.toml`. Frozen once loaded."""

import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from monitor.errors import BadInput

TOML_NAME = "holdfast.toml"


class Settings(BaseSettings):
    """Where Holdfast keeps its data and where it listens.

    Every field can be set by `HOLDFAST_<FIELD>` or in `holdfast.toml` (in the working folder, else in `home`).
    """

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path = Field(default_factory=lambda: Path.home() / ".holdfast", description="where all data live")
    database_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("DATABASE_URL", "HOLDFAST_DATABASE_URL", "database_url"),
        description="PostgreSQL 15 or newer; without it an embedded PostgreSQL is started under `home`",
    )
    host: str = Field(default="127.0.0.1", description="the address that the dashboard and the API listen on")
    port: int = Field(default=8501, ge=1, le=65535, description="the port of the dashboard and the API")
    workers: int = Field(default=1, ge=1, le=64, description="how many worker processes `holdfast up` starts")
    intake_processes: int = Field(
        default=2, ge=1, le=64, description="how many processes the API starts, as it needs them, to store traces"
    )
    poll_seconds: float = Field(default=1.0, gt=0, description="how often the scheduler looks for due windows")
    failpoint: str | None = Field(default=None, description="crash on purpose, once: `check.before_commit:kill9`")
    factories: tuple[str, ...] = Field(
        default=(), description="import strings of the torch factories (`net:build`) that versions may name"
    )
    public_url: str | None = Field(
        default=None, description="the address at which others reach the dashboard and the API, if it is another one"
    )
    trainer_commands: tuple[str, ...] = Field(
        default=(), description="absolute paths of the programs that models may name as their trainer on this machine"
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="what the webhooks that tell which version should serve are signed with"
    )

    audit_sink: Path | None = Field(
        default=None, description="where signed heads of the audit trail go; better not on the database's machine"
    )

    @property
    def artifact_dir(self) -> Path:
        return self.home / "artifacts"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def run_dir(self) -> Path:
        return self.home / "run"

    @property
    def link(self) -> str:
        """The address that messages link to."""
        return f"http://{self.host}:{self.port}"

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Read the settings; overrides (command-line options) win, None means not given."""
        given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = "_".join(str(part) for part in first["loc"]) or "settings"
            raise BadInput(f"setting {name}: {first['msg']}, got {first.get('input')!r}") from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = init_settings().get("home") or env_settings().get("home")
        return init_settings, env_settings, InitSettingsSource(settings_cls, _from_toml(home))


def _from_toml(home: object) -> dict[str, object]:
    folder = Path(str(home)) if home else Path.home() / ".holdfast"
    for path in (Path(TOML_NAME), folder / TOML_NAME):
        if path.is_file():
            try:
                return tomllib.loads(path.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise BadInput(f"expected TOML in {path}: {error}") from error
    return {}
