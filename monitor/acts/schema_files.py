"""A schema as people write it: YAML, one entry a feature, where a feature may say what it was called before."""

from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from monitor.errors import BadInput
from monitor.schema import Direction, Feature, Kind, Schema
from monitor.vectors import Vector

_PLAIN = Feature(name="", kind=Kind.NUMERIC)


class _Feature(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    unit: str | None = None
    lower: float | None = None
    upper: float | None = None
    levels: tuple[str, ...] = ()
    mutable: bool = False
    direction: Direction = Direction.ANY
    group: bool = False
    formula: str | None = None
    transitions: dict[str, dict[str, float]] | None = None
    renamed_from: str | None = None

    @field_validator("levels", mode="before")
    @classmethod
    def _as_text(cls, levels: Any) -> Any:
        if isinstance(levels, list):
            if any(isinstance(level, bool) for level in levels):
                raise ValueError('YAML reads yes, no, on and off as true and false: write "yes" in quotes')
            return [str(level) if isinstance(level, int | float) else level for level in levels]
        return levels


class _Vector(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    renamed_from: str | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    features: dict[str, _Feature] = Field(default_factory=dict)
    vectors: dict[str, _Vector] = Field(default_factory=dict)
    relations: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeclaredSchema:
    """A schema, and the names that its renamed features and vectors had before: new name → old name."""

    schema: Schema
    renamed: dict[str, str]


def read_schema(text: str) -> DeclaredSchema:
    """The schema that a YAML text declares.

    >>> read_schema("features: {eur: {kind: numeric, renamed_from: amount}}").renamed
    {'eur': 'amount'}

    Raises:
        BadInput, SchemaMismatch: the text is no such YAML, or the schema contradicts itself.
    """
    try:
        document = _File.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise BadInput(f"expected YAML with features, it cannot be read: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"schema {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}") from error
    features = tuple(
        Feature(name=name, **entry.model_dump(exclude={"renamed_from"})) for name, entry in document.features.items()
    )
    vectors = tuple(Vector(name=name, size=entry.size) for name, entry in document.vectors.items())
    entries: dict[str, _Feature | _Vector] = {**document.features, **document.vectors}
    renamed = {name: entry.renamed_from for name, entry in entries.items() if entry.renamed_from is not None}
    return DeclaredSchema(schema=Schema(features, document.relations, vectors), renamed=renamed)


def write_schema(schema: Schema, *, notes: dict[str, dict[str, str]] | None = None) -> str:
    """The YAML of a schema; `notes` are comments by feature and key.

    >>> print(write_schema(Schema((Feature(name="amount", kind=Kind.NUMERIC, unit="EUR", mutable=True),))), end="")
    features:
      amount:
        kind: numeric
        unit: EUR
        mutable: true
    """
    sent = [feature for feature in schema.features if feature.vector is None]
    lines = ["features:"] if sent else []
    for feature in sent:
        told = (notes or {}).get(feature.name, {})
        lines.append(f"  {_scalar(feature.name)}:{_note(told, 'name')}")
        for key, value in _entries(feature).items():
            lines.append(f"    {key}: {_scalar(value)}{_note(told, key)}")
    lines += ["vectors:"] if schema.vectors else []
    for vector in schema.vectors:
        told = (notes or {}).get(vector.name, {})
        lines += [f"  {_scalar(vector.name)}:", f"    size: {vector.size}{_note(told, 'size')}"]
    if schema.relations:
        lines += ["relations:", *(f"  - {_scalar(text)}" for text in schema.relations)]
    return "\n".join(lines) + "\n"


def _entries(feature: Feature) -> dict[str, Any]:
    """What is not as it is unless said otherwise; `mutable` is always said."""
    found: dict[str, Any] = {"kind": feature.kind.value}
    for key in ("unit", "lower", "upper", "levels", "mutable", "direction", "group", "formula", "transitions"):
        value = getattr(feature, key)
        if value != getattr(_PLAIN, key) or key == "mutable":
            found[key] = value.value if isinstance(value, Direction) else value
    return found


def _scalar(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, dict) else value
    written = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10**9)
    return written.removesuffix("...\n").strip()


def _note(told: dict[str, str], key: str) -> str:
    return f"  # {told[key]}" if key in told else ""
