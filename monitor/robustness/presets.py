"""What an attacker or a fault may change, guessed by domain from the names of features: a start to be corrected."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from monitor.errors import BadInput
from monitor.schema import Direction, Feature, Schema


@dataclass(frozen=True, kw_only=True)
class Preset:
    """`moves` and `stands` are patterns over names; `stands` wins, and what neither names moves when `others` says so.

    `upwards` may only grow. Categories move only where `moves` names them.
    """

    says: str
    moves: str
    stands: str
    upwards: str = r"(?!)"
    others: bool = False


_PERSON = r"\b(id|uuid|age|birth|dob|gender|sex|race|ethnic\w*|nationality|marital|marriage|education|name|ssn)\b"

PRESETS: Mapping[str, Preset] = {
    "fraud": Preset(
        says="amounts, counts, times and places can be chosen by a fraudster; who the person is cannot",
        moves=r"amount|value|price|total|count|num|n |payments|transactions|hour|time|minute|day|velocity|distance|"
        r"merchant|channel|device|currency|country",
        stands=_PERSON + r"|account age|since|tenure|history|label|trust|risk|score",
    ),
    "credit": Preset(
        says="what an applicant states or can arrange moves, income and employment only upwards; the person and the "
        "record of past payments stand",
        moves=r"amount|loan|income|bill|balance|installment|term|purpose|employment|emp length|limit|housing",
        stands=_PERSON + r"|delinq|default|past due|pay \d|score|history|records|inquir",
        upwards=r"income|employment|emp length",
    ),
    "sensors": Preset(
        says="every reading can be off; what kind of machine it is stands", moves=r"(?!)", stands=r"\bid\b|serial",
        others=True,
    ),
    "generic": Preset(
        says="every number that does not describe a person can move; categories stand", moves=r"(?!)", stands=_PERSON,
        others=True,
    ),
}  # fmt: skip


def with_preset(schema: Schema, name: str) -> Schema:
    """The schema with `mutable` as a preset guesses it; derived features never move by themselves.

    A direction that was declared stays, unless the preset has one of its own.

    Raises:
        BadInput: there is no preset of this name.
    """
    if name not in PRESETS:
        raise BadInput(f"expected a preset among {', '.join(PRESETS)}, got {name!r}")
    return replace(schema, features=tuple(_guessed(feature, PRESETS[name]) for feature in schema.features))


def _guessed(feature: Feature, preset: Preset) -> Feature:
    if feature.formula is not None:
        return feature
    words = re.sub(r"[^a-z0-9]+", " ", re.sub(r"([a-z])([A-Z])", r"\1 \2", feature.name).lower()).strip()
    named = re.search(preset.moves, words) is not None
    other = preset.others and not feature.is_categorical
    mutable = (named or other) and re.search(preset.stands, words) is None
    upwards = mutable and not feature.is_categorical and re.search(preset.upwards, words) is not None
    return replace(feature, mutable=mutable, direction=Direction.UP if upwards else feature.direction)
