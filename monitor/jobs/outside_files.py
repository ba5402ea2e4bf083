"""What goes to a trainer outside and comes back, as files: rows and facts, and an artefact that cannot run code."""

import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from monitor.acts.outside import MOST_BYTES
from monitor.acts.trainers import CommandTrainer
from monitor.artifacts import Manifest
from monitor.artifacts.attach import attach_file
from monitor.errors import BadInput
from monitor.jobs.context import Tools
from monitor.jobs.material import Material
from monitor.training import FACTORIES, TABULAR

LABEL = "label"
_MOST_FACTS = 65_536
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Facts(BaseModel):
    """What a trainer says about its artefact. Its words are kept as they are, and believed in nothing that gates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    artefact: str = ""  # the file's name, for a command
    factory: str = TABULAR
    settings: dict[str, Any] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)

    @field_validator("provenance", "settings")
    @classmethod
    def _short(cls, given: dict[str, Any]) -> dict[str, Any]:
        if len(json.dumps(given, allow_nan=False)) > _MOST_FACTS:
            raise ValueError(f"expected at most {_MOST_FACTS:,} characters")
        return given


def facts_of(text: str | bytes) -> Facts:
    """The facts that a trainer sent as JSON.

    Raises:
        BadInput: they are none.
    """
    try:
        return Facts.model_validate_json(text)
    except (ValidationError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"facts{f' {place}' if place else ''}: {first['msg']}") from None


def file_name(name: str) -> str:
    """A file's name without any folder.

    Raises:
        BadInput: it is no plain name.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"expected a plain file name such as model.onnx, got {name[:100]!r}")
    return name


def given_of(material: Material, learned: int) -> dict[str, Any]:
    """What a trainer is told beside the rows; no row that the candidate is judged on is among them."""
    return {
        "model": material.model.name,
        "proposal": material.proposal.id,
        "champion": material.champion.name,
        "task": str(material.task),
        "classes": list(material.labels.classes),  # the target is a class's place among them
        "schema": material.schema.to_document(),
        "target": target_name(material.schema.names),
        "rows": learned,
    }


def target_name(features: Iterable[str]) -> str:
    """The column of the truth, under a name that no feature has."""
    name = LABEL
    while name in set(features):
        name = f"_{name}"
    return name


def rows_bytes(material: Material, learned: int) -> bytes:
    """The first `learned` rows as Parquet: raw features and the target, in order of time."""
    frame = material.frame.iloc[:learned]
    target = target_name(material.schema.names)
    buffer = io.BytesIO()
    frame.assign(**{target: material.y[:learned]}).to_parquet(buffer)
    return buffer.getvalue()


def manifest_of(
    path: Path, facts: Facts, material: Material, tools: Tools, *, kind: str, inputs: Mapping[str, str]
) -> Manifest:
    """Keep a candidate's file by the same rules as any artefact: nothing that can run code is read."""
    allowed = {**FACTORIES, **tools.factories}
    if facts.factory not in allowed:
        raise BadInput(f"no model factory {facts.factory!r}; allowed are {', '.join(sorted(allowed))}")
    return attach_file(
        path, tools.store, schema=material.schema, task=material.task, factory=facts.factory, settings=facts.settings,
        provenance={"trainer": kind, "given": facts.provenance, "inputs": dict(inputs)},
        classes=material.labels.classes,
    )  # fmt: skip


def check_allowed(trainer: CommandTrainer, tools: Tools) -> None:
    """A model's settings name a program; whether it may run is this machine's to say."""
    if trainer.argv[0] not in tools.commands:
        allowed = ", ".join(sorted(tools.commands)) or "none"
        raise BadInput(f"the command {trainer.argv[0]!r} may not run here; HOLDFAST_TRAINER_COMMANDS allows {allowed}")


def read_made(workshop: Path, material: Material, tools: Tools, inputs: Mapping[str, str]) -> dict[str, Manifest]:
    """The candidate that a command left in its folder.

    Raises:
        BadInput: facts or artefact are missing, or not what they should be.
    """
    facts = facts_of(_bytes_of(workshop / "facts.json", _MOST_FACTS * 4))
    path = workshop / file_name(facts.artefact)
    _bytes_of(path, MOST_BYTES, whole=False)
    return {"command": manifest_of(path, facts, material, tools, kind="command", inputs=inputs)}


def _bytes_of(path: Path, most: int, *, whole: bool = True) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise BadInput(f"expected the training command to leave a file {path.name} in its folder, got none")
    if (size := path.stat().st_size) > most:
        raise BadInput(f"expected {path.name} of at most {most:,} bytes, got {size:,}")
    return path.read_bytes() if whole else b""
