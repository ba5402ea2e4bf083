"""`holdfast threat`: what an attacker or a fault may change in a model's rows, and what must hold between features."""

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import look
from monitor.cli.deciding import ModelArgument
from monitor.cli.models import MutableOption, open_door
from monitor.cli.platform import HomeOption
from monitor.errors import BadInput
from monitor.schema import Direction, Feature, Schema

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from monitor.db.registry import Model
    from monitor.robustness import ThreatModel

app = typer.Typer(help="What may change in rows, and what must hold between features.", no_args_is_help=True)

_LEVELS = ("S1", "S2", "S3")


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a person said; None where nothing was."""

    preset: str | None = None
    mutable: tuple[str, ...] | None = None
    directions: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    relations: tuple[str, ...] | None = None
    formulas: tuple[str, ...] = ()
    swaps: tuple[str, ...] = ()

    def applied_to(self, schema: Schema) -> Schema:
        """The schema with the declaration: a preset first, then what is said of single features, then relations."""
        from monitor.robustness.presets import with_preset

        schema = schema if self.preset is None else with_preset(schema, self.preset)
        schema = schema if self.mutable is None else schema.with_mutable(self.mutable)
        changed = {feature.name: feature for feature in schema.features}
        for text in self.directions:
            name, value = _pair(text, "age=up", schema)
            changed[name] = replace(changed[name], direction=_direction(value, text))
        for text in self.bounds:
            name, value = _pair(text, "amount=0:20000", schema)
            lower, upper = _range(value, text)
            changed[name] = replace(changed[name], lower=lower, upper=upper)
        for text in self.formulas:
            name, value = _pair(text, "ratio=amount/income", schema)
            changed[name] = replace(changed[name], formula=value or None, mutable=changed[name].mutable and not value)
        for name, texts in _by_name(self.swaps, schema).items():
            changed[name] = replace(changed[name], transitions=_transitions(changed[name], texts))
        relations = schema.relations if self.relations is None else tuple(text for text in self.relations if text)
        return Schema(tuple(changed.values()), relations)


@app.command()
def show(model: ModelArgument, home: HomeOption = None) -> None:
    """What may change at each level in raw units, what stands and why, and the relations."""
    with open_door(home) as door, door.transaction() as session:
        from monitor.db.registry import feature_schema, model_named, schema_of

        row = model_named(session, model)
        schema = schema_of(feature_schema(session, row))
        threats = _threats(session, row, schema)
    for line in _lines(schema, threats):
        print(line)


@app.command()
def declare(
    model: ModelArgument,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="Guess by names: fraud, credit, sensors, generic.", show_default=False),
    ] = None,
    mutable: MutableOption = None,
    direction: Annotated[
        list[str] | None, typer.Option("--direction", help="age=up, down or any. Repeat.", show_default=False)
    ] = None,
    bounds: Annotated[
        list[str] | None,
        typer.Option("--bounds", help="amount=0:20000; a side may be empty. Repeat.", show_default=False),
    ] = None,
    relation: Annotated[
        list[str] | None,
        typer.Option("--relation", help="'paid <= billed'. Repeat; replaces all; '' for none.", show_default=False),
    ] = None,
    formula: Annotated[
        list[str] | None,
        typer.Option("--formula", help="'ratio=amount/income': it moves with its parts. Repeat.", show_default=False),
    ] = None,
    swap: Annotated[
        list[str] | None,
        typer.Option(
            "--swap", help="'tier=basic>plus:1': a change and its cost; 'tier=': any. Repeat.", show_default=False
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Say it; stress tests keep to it from now on, and the champion is registered anew under it."""
    from monitor.acts.registry import declare_threats
    from monitor.cli.actor import COMMAND_LINE
    from monitor.cli.attaching import registered_anew
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    said = Declaration(
        preset=preset, mutable=None if mutable is None else look.names(mutable), directions=tuple(direction or ()),
        bounds=tuple(bounds or ()), relations=None if relation is None else tuple(relation),
        formulas=tuple(formula or ()), swaps=tuple(swap or ()),
    )  # fmt: skip
    if said == Declaration():
        raise BadInput(f"expected something to declare, such as --preset fraud; to look: holdfast threat show {model}")
    with open_door(home) as door, door.transaction() as session:
        row = model_named(session, model)
        schema = declare_threats(session, row, said.applied_to, by=COMMAND_LINE, now=database_now(session))
        threats = _threats(session, row, schema)
        told = registered_anew(session, door.tools, row, schema)
    for line in [*_lines(schema, threats), *told]:
        print(line)


def _threats(session: "Session", row: "Model", schema: Schema) -> "list[ThreatModel]":
    """The threat at each level by the spread of the reference, or of what has come so far."""
    from monitor.cli.attaching import known_rows
    from monitor.db.registry import champion
    from monitor.robustness import ThreatModel

    rows = schema.encode(known_rows(session, row, champion(session, row)))
    return [ThreatModel.from_schema(schema, rows, level=level) for level in _LEVELS]


def _lines(schema: Schema, threats: "list[ThreatModel]") -> list[str]:
    wide = max(len(name) for name in schema.names) + 2
    budgets = [{budget.feature: budget.text for budget in threat.raw_budget()} for threat in threats]
    lines = [f"{'feature':<{wide}}{''.join(f'{level:<24}' for level in _LEVELS)}".rstrip()]
    for feature in schema.features:
        said = [_said(feature, budget, threat) for budget, threat in zip(budgets, threats, strict=True)]
        cells = [said[0]] if len(set(said)) == 1 else said
        lines.append(f"{feature.name:<{wide}}{''.join(f'{cell:<24}' for cell in cells)}".rstrip())
    changes = sorted({f"{threat.level}: {threat.swaps:g}" for threat in threats if threat.groups})
    if changes:
        lines.append(f"changes of categories and counts may cost in all {', '.join(changes)}")
    lines += [f"must hold: {text}" for text in schema.relations]
    return lines


def _said(feature: Feature, budget: dict[str, str], threat: "ThreatModel") -> str:
    if feature.name in budget:
        return budget[feature.name].removeprefix(feature.name).lstrip(": ")
    if feature.formula is not None:
        return f"= {feature.formula}"
    return threat.frozen.get(feature.name, "stands")


def _pair(text: str, example: str, schema: Schema) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise BadInput(f"expected FEATURE=… such as {example}, got {text!r}")
    return schema[name.strip()].name, value.strip()


def _direction(value: str, text: str) -> Direction:
    if value not in set(Direction):
        raise BadInput(f"expected up, down or any, got {text!r}")
    return Direction(value)


def _range(value: str, text: str) -> tuple[float | None, float | None]:
    low, sign, high = value.partition(":")
    try:
        if not sign:
            raise ValueError
        lower, upper = (float(low) if low else None), (float(high) if high else None)
        if not all(math.isfinite(side) for side in (lower, upper) if side is not None):
            raise ValueError
        return lower, upper
    except ValueError:
        raise BadInput(f"expected bounds such as amount=0:20000 or amount=0:, got {text!r}") from None


def _by_name(texts: tuple[str, ...], schema: Schema) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        name, value = _pair(text, "tier=basic>plus:1", schema)
        found.setdefault(name, []).append(value)
    return found


def _transitions(feature: Feature, texts: list[str]) -> dict[str, dict[str, float]] | None:
    """The changes that were said; None, which allows any, for an empty text."""
    if texts == [""] and feature.is_categorical:
        return None
    found: dict[str, dict[str, float]] = {}
    for text in texts:
        parts = re.fullmatch(r"(.+)>(.+?)(?::([0-9]+\.?[0-9]*|\.[0-9]+))?", text)
        if parts is None or not feature.is_categorical:
            raise BadInput(f"expected a change of a category such as tier=basic>plus:1, got {feature.name}={text}")
        found.setdefault(parts[1].strip(), {})[parts[2].strip()] = float(parts[3] or 1)
    return found
