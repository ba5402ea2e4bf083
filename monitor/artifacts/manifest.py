"""What a model version is made of: files by hash, schema, task, how to build it, where it came from."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from monitor.errors import BadInput
from monitor.robustness.target import Task
from monitor.schema import Schema


class Flavour(StrEnum):
    """How a version's file is read; `none` is a version that is known by its traces alone."""

    TORCH = "torch"
    SKLEARN = "sklearn"
    ONNX = "onnx"
    XGBOOST = "xgboost"
    NONE = "none"


class StoredFile(BaseModel):
    """One file of an artefact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Manifest(BaseModel):
    """One immutable version. `factory` and `settings` build a torch module; `provenance` says how it was trained.

    `classes` are the several classes in the order of its outputs, empty for other tasks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    flavour: Flavour
    files: dict[str, StoredFile] = Field(default_factory=dict)
    feature_schema: dict[str, Any]
    task: Task
    classes: tuple[str, ...] = ()
    factory: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)

    @field_validator("task", mode="before")
    @classmethod
    def _any_word_for_the_task(cls, value: object) -> Task:
        return Task(str(value))

    @field_validator("feature_schema", "settings", "preprocessing", "provenance", mode="before")
    @classmethod
    def _as_json_reads_it(cls, value: object) -> Any:
        """Tuples as lists, so that a manifest equals itself after a round trip."""
        return json.loads(json.dumps(value, allow_nan=False))

    @classmethod
    def without_artefact(cls, schema: Schema, task: Task | str) -> Self:
        """A version that is watched by its traces alone."""
        return cls(flavour=Flavour.NONE, feature_schema=schema.to_document(), task=Task(task))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The manifest that `to_document` wrote."""
        try:
            return cls.model_validate(dict(document))
        except ValidationError as error:
            raise BadInput(f"expected a manifest with flavour, files, feature_schema and task: {error}") from None

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values; without a list of classes where there is none, so that older hashes hold."""
        return self.model_dump(mode="json", exclude=None if self.classes else {"classes"})

    @property
    def schema_of_features(self) -> Schema:
        return Schema.from_document(self.feature_schema)

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON: sorted keys, no blanks."""
        canonical = json.dumps(self.to_document(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def only_file(self) -> StoredFile:
        """The artefact's one file."""
        if len(self.files) != 1:
            raise BadInput(f"expected one model file in the manifest, got {len(self.files)}")
        return next(iter(self.files.values()))
