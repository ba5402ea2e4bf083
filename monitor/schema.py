"""The declared features of a model: kinds, bounds, levels, and what an attacker or a fault may change."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.errors import SchemaMismatch
from monitor.formula import Formula, Relation
from monitor.vectors import Vector, read, vectors_in

FloatArray = NDArray[np.float64]
MAX_LEVELS = 1_000  # beyond this a column is an identifier or free text, not a category
MAX_FEATURES = 900  # a PostgreSQL page holds 1,010 doubles
MAX_VECTORS = 16


class Kind(StrEnum):
    """What a feature's values are."""

    NUMERIC = "numeric"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORICAL = "categorical"


class Direction(StrEnum):
    """Which way an attacker can move a mutable feature."""

    ANY = "any"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One input of a model.

    `lower` and `upper` are hard bounds in raw units (None: unbounded). `levels` are the known categories, most frequent
    first. `mutable` says that an attacker may change it; `group` that fairness is measured over it. A derived feature
    equals its `formula` over other features (monitor/formula.py) and moves with them. `transitions` says into which
    levels a mutable category may turn and at what cost, level → {level: cost}; without it into any, each at cost 1.
    `vector` names the vector that this is a summary of (monitor/vectors.py): such a feature is computed, never sent.
    """

    name: str
    kind: Kind
    unit: str | None = None
    lower: float | None = None
    upper: float | None = None
    levels: tuple[str, ...] = ()
    mutable: bool = False
    direction: Direction = Direction.ANY
    group: bool = False
    formula: str | None = None
    transitions: Mapping[str, Mapping[str, float]] | None = None
    vector: str | None = None

    @property
    def is_categorical(self) -> bool:
        return self.kind is Kind.CATEGORICAL


@dataclass(frozen=True)
class Schema:
    """The ordered features of a model, and `relations` that hold between them, such as `paid <= billed`.

    Rows carry `vectors` too. Of each vector its summaries are features, the last ones unless they are given.

    >>> schema = Schema.infer(pd.DataFrame({"amount": [1.5, 2.5], "channel": ["app", "web"]}))
    >>> schema.names
    ('amount', 'channel')
    >>> schema.encode(pd.DataFrame({"amount": ["3", None], "channel": ["web", "fax"]}))
    array([[ 3.,  1.],
           [nan,  2.]])
    """

    features: tuple[Feature, ...]
    relations: tuple[str, ...] = ()
    vectors: tuple[Vector, ...] = ()
    _by_name: dict[str, Feature] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", _with_summaries(self.features, self.vectors))
        names = [*(feature.name for feature in self.features), *(vector.name for vector in self.vectors)]
        if not names:
            raise SchemaMismatch("expected at least one feature, got none")
        if len(names) > MAX_FEATURES or len(self.vectors) > MAX_VECTORS:
            raise SchemaMismatch(
                f"expected at most {MAX_FEATURES} features, {MAX_VECTORS} of them vectors, got {len(names)} and "
                f"{len(self.vectors)}: numbers that belong together can be one vector (docs/how-to/schema.md)"
            )
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise SchemaMismatch(f"expected distinct feature names, got {', '.join(repeated)} more than once")
        object.__setattr__(self, "_by_name", {feature.name: feature for feature in self.features})
        _check_declared(self)

    def __getitem__(self, name: str) -> Feature:
        try:
            return self._by_name[name]
        except KeyError:
            raise SchemaMismatch(f"no feature {name!r}; there are {', '.join(self.names)}") from None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names under which a row carries values: features that are no summaries, and vectors."""
        sent = (feature.name for feature in self.features if feature.vector is None)
        return (*sent, *(vector.name for vector in self.vectors))

    def kind_of(self, name: str) -> str:
        """What a field is, in words."""
        sizes = {vector.name: vector.size for vector in self.vectors}
        return f"vector of {sizes[name]:,} numbers" if name in sizes else str(self[name].kind)

    @classmethod
    def infer(cls, frame: pd.DataFrame, *, mutable: Iterable[str] = ()) -> Self:
        """Guess the schema from a reference frame: bounds are left open, and an all-null column is numeric.

        A column of lists of numbers, all of one size, is a vector.
        """
        repeated = sorted(set(frame.columns[frame.columns.duplicated()].map(str)))
        if repeated:
            raise SchemaMismatch(f"expected distinct column names, got {', '.join(repeated)} more than once")
        chosen = frozenset(mutable)
        unknown = chosen - set(map(str, frame.columns))
        if unknown:
            raise SchemaMismatch(f"mutable names columns that are not there: {', '.join(sorted(unknown))}")
        vectors = vectors_in(frame)
        fixed = [vector.name for vector in vectors if vector.name in chosen]
        if fixed:
            raise SchemaMismatch(f"expected mutable features that are no vectors, got {', '.join(fixed)}")
        others = [name for name in frame.columns if str(name) not in {vector.name for vector in vectors}]
        features = tuple(_infer_feature(str(name), frame[name], str(name) in chosen) for name in others)
        return cls(features, vectors=vectors)

    def with_mutable(self, names: Iterable[str]) -> "Schema":
        """The same schema with exactly `names` mutable."""
        chosen = {self[name].name for name in names}
        return replace(
            self, features=tuple(replace(feature, mutable=feature.name in chosen) for feature in self.features)
        )

    def with_threats_of(self, declared: "Schema") -> "Schema":
        """The same features, with what another schema of theirs declares about changing them.

        These are mutability, direction, bounds, formulas, transitions between known levels, and relations. A formula or
        relation that names a feature which is not here is left out; a feature that had the formula then stands.
        """
        known = tuple(
            feature
            if feature.formula is None or _names_only(Formula.parse(feature.formula, declared.names), self)
            else replace(feature, formula=None)
            for feature in declared.features
        )
        by_name = {feature.name: feature for feature in known}
        features = tuple(
            _threatened(feature, by_name[feature.name]) if feature.name in by_name else feature
            for feature in self.features
        )
        relations = (text for text in declared.relations if _names_only(Relation.parse(text, declared.names), self))
        return replace(self, features=features, relations=tuple(relations))

    def summarised(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the summaries of those of its columns that are vectors; NaN where a value is no such vector.

        >>> Schema((), vectors=(Vector(name="v", size=1),)).summarised(pd.DataFrame({"v": [[2.0], None]}))
               v  v.norm  v.p1
        0  [2.0]     2.0  -2.0
        1   None     NaN   NaN
        """
        found = {
            name: column
            for vector in self.vectors
            if vector.name in frame.columns
            for name, column in zip(vector.summaries, read(frame[vector.name], vector.size).summaries().T, strict=True)
        }
        return frame.assign(**found)

    def conform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The schema's columns in order: numbers as float64 (unparseable → NaN), categories as str objects with None.

        A column that the frame lacks comes back all-missing; extra columns are left out, and of vectors all but their
        summaries.
        """
        frame = self.summarised(frame)
        columns = {feature.name: _conform(frame, feature) for feature in self.features}
        return pd.DataFrame(columns, index=frame.index)

    def encode(self, frame: pd.DataFrame) -> FloatArray:
        """Rows as floats in raw units, shape (n, d); a category is its level's code, an unseen one len(levels)."""
        encoded = np.empty((len(frame), len(self)), dtype=np.float64)
        for j, name in enumerate(self.names):
            encoded[:, j] = self.encode_column(frame, name)
        return encoded

    def encode_column(self, frame: pd.DataFrame, name: str) -> FloatArray:
        """One column of `encode`, shape (n,); it may be the frame's own memory: read it only."""
        feature = self[name]
        if name not in frame.columns:
            return np.full(len(frame), np.nan)
        if feature.is_categorical:
            return _codes(frame[name], feature.levels)
        return np.asarray(_numbers(frame[name], feature).to_numpy(np.float64))

    def decode(self, rows: FloatArray) -> pd.DataFrame:
        """The inverse of `encode`; an unseen category comes back as None."""
        columns: dict[str, Any] = {}
        for j, feature in enumerate(self.features):
            values = np.asarray(rows, dtype=np.float64)[:, j]
            columns[feature.name] = _levels(values, feature.levels) if feature.is_categorical else values
        return pd.DataFrame(columns)

    @staticmethod
    def with_codes(frame: pd.DataFrame) -> pd.DataFrame:
        """The same frame with its texts as pandas categories, for whoever reads it more than once."""
        texts = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.StringDtype)]
        return frame.astype(dict.fromkeys(texts, "category"))

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        features = [
            {name: value for name, value in asdict(feature).items() if value is not None or name not in _OPTIONAL}
            for feature in self.features
        ]
        relations = {"relations": list(self.relations)} if self.relations else {}
        return (
            {"features": features} | relations | ({"vectors": list(map(asdict, self.vectors))} if self.vectors else {})
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The schema that `to_document` wrote."""
        try:
            features = tuple(_feature_from(entry) for entry in document["features"])
            vectors = tuple(Vector(**entry) for entry in document.get("vectors", ()))
            return cls(features, tuple(document.get("relations", ())), vectors)
        except (KeyError, TypeError, ValueError) as error:
            raise SchemaMismatch(f"expected a schema document with features of name and kind: {error}") from error


def _names_only(said: Formula | Relation, schema: Schema) -> bool:
    return set(said.names) <= set(schema.names)


def _threatened(feature: Feature, declared: Feature) -> Feature:
    known = set(feature.levels)
    transitions = declared.transitions and {
        level: {goal: cost for goal, cost in costs.items() if goal in known}
        for level, costs in declared.transitions.items()
        if level in known
    }
    return replace(
        feature, mutable=declared.mutable, direction=declared.direction, lower=declared.lower, upper=declared.upper,
        formula=declared.formula, transitions=transitions,
    )  # fmt: skip


def _with_summaries(features: tuple[Feature, ...], vectors: tuple[Vector, ...]) -> tuple[Feature, ...]:
    there = {feature.name: feature.vector for feature in features}
    summaries = {name: vector.name for vector in vectors for name in vector.summaries}
    for name, vector in summaries.items():
        if name in there and there[name] != vector:
            raise SchemaMismatch(f"expected no feature {name}: it is a summary of the vector {vector}; rename it")
    lacking = (
        Feature(name=name, kind=Kind.NUMERIC, vector=vector) for name, vector in summaries.items() if name not in there
    )
    return (*features, *lacking)


def _check_declared(schema: Schema) -> None:
    """Formulas, relations and transitions must speak of what is there, and a formula of no other formula."""
    numeric = [f.name for f in schema.features if not f.is_categorical]
    derived = {f.name for f in schema.features if f.formula is not None}
    for feature in schema.features:
        if feature.lower is not None and feature.upper is not None and feature.lower > feature.upper:
            raise SchemaMismatch(
                f"expected the bounds of {feature.name} in order, got lower {feature.lower:g} above {feature.upper:g}"
            )
        if feature.vector is not None and (feature.mutable or feature.formula is not None):
            raise SchemaMismatch(
                f"expected {feature.name} as it is computed of the vector {feature.vector}: not mutable"
            )
        if feature.formula is not None:
            _check_derived(feature, numeric, derived)
        for level, costs in (feature.transitions or {}).items():
            unknown = [name for name in (level, *costs) if name not in feature.levels]
            if unknown or not all(cost > 0 for cost in costs.values()):
                raise SchemaMismatch(
                    f"expected transitions of {feature.name} between its levels at costs above 0, got {level}: {costs}"
                )
    for text in schema.relations:
        Relation.parse(text, numeric)


def _check_derived(feature: Feature, numeric: list[str], derived: set[str]) -> None:
    if feature.is_categorical or feature.mutable:
        raise SchemaMismatch(
            f"expected the derived feature {feature.name} to be a number that is not mutable: it moves with its parts"
        )
    parsed = Formula.parse(feature.formula or "", numeric)
    if not parsed.names:
        raise SchemaMismatch(f"expected the formula of {feature.name} over other features, got {feature.formula!r}")
    nested = sorted(derived & set(parsed.names))
    if nested:
        raise SchemaMismatch(
            f"expected the formula of {feature.name} over features that are not derived, got {', '.join(nested)}: "
            "write their formulas out"
        )


_OPTIONAL = ("formula", "transitions", "vector")


def _feature_from(entry: Mapping[str, Any]) -> Feature:
    known = dict(entry)
    known["kind"] = Kind(known["kind"])
    known["direction"] = Direction(known.get("direction", Direction.ANY))
    known["levels"] = tuple(known.get("levels", ()))
    return Feature(**known)


def _infer_feature(name: str, column: pd.Series, mutable: bool) -> Feature:
    if pd.api.types.is_bool_dtype(column.dtype):
        return Feature(name=name, kind=Kind.BOOLEAN, mutable=mutable)
    if pd.api.types.is_integer_dtype(column.dtype):
        return Feature(name=name, kind=Kind.INTEGER, mutable=mutable)
    if pd.api.types.is_numeric_dtype(column.dtype):
        whole = _are_whole(column.iloc[:1_000]) and _are_whole(column) and bool(column.notna().any())
        return Feature(name=name, kind=Kind.INTEGER if whole else Kind.NUMERIC, mutable=mutable)
    if not column.notna().any():
        return Feature(name=name, kind=Kind.NUMERIC, mutable=mutable)
    if not isinstance(column.dtype, pd.StringDtype) and set(column.dropna().unique()) <= {True, False}:
        return Feature(name=name, kind=Kind.BOOLEAN, mutable=mutable)
    codes, texts = _texts(column)
    counts = Counter[str]()
    for text, count in zip(texts, np.bincount(codes[codes >= 0], minlength=len(texts)).tolist(), strict=True):
        counts[text] += count
    ordered = sorted((text for text in counts if counts[text]), key=lambda level: (-counts[level], level))
    return Feature(name=name, kind=Kind.CATEGORICAL, levels=tuple(ordered[:MAX_LEVELS]), mutable=mutable)


def _are_whole(column: "pd.Series[Any]") -> bool:
    values = column.dropna().to_numpy(np.float64)
    return bool(np.isfinite(values).all()) and bool((values == np.floor(values)).all())


def _conform(frame: pd.DataFrame, feature: Feature) -> "pd.Series[Any]":
    if feature.name not in frame.columns:
        missing: Any = None if feature.is_categorical else np.nan
        return pd.Series(missing, index=frame.index, dtype=object if feature.is_categorical else np.float64)
    column = frame[feature.name]
    if not feature.is_categorical:
        return _numbers(column, feature)
    codes, texts = _texts(column)
    return pd.Series(np.array([*texts, None], dtype=object)[codes], index=frame.index, dtype=object)


def _numbers(column: "pd.Series[Any]", feature: Feature) -> "pd.Series[Any]":
    if column.dtype == np.float64:
        return column
    if column.dtype == object and feature.kind is Kind.BOOLEAN:
        column = column.map(lambda value: _BOOLEANS.get(str(value).lower(), value))
    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def _texts(column: "pd.Series[Any]") -> tuple[NDArray[np.integer[Any]], list[str]]:
    """Each row's position in a list of texts, −1 where missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), [str(category) for category in column.cat.categories]
    if not _has_one_text_a_value(column):
        column = column.astype(object).map(str, na_action="ignore")
    codes, distinct = pd.factorize(column)
    return codes, [str(value) for value in distinct]


def _has_one_text_a_value(column: "pd.Series[Any]") -> bool:
    """Whether equal values have equal texts: 1, 1.0 and True are equal, and so are 0.0 and −0.0."""
    if column.dtype == object:
        return pd.api.types.infer_dtype(column, skipna=True) == "string"
    return isinstance(column.dtype, pd.StringDtype) or column.dtype.kind in "iub"


_BOOLEANS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "1": 1.0, "0": 0.0}


def _codes(column: "pd.Series[Any]", levels: tuple[str, ...]) -> FloatArray:
    places, texts = _texts(column)
    known = {level: float(code) for code, level in enumerate(levels)}
    codes = np.array([*(known.get(text, float(len(levels))) for text in texts), np.nan])
    return np.asarray(codes[places])


def _levels(codes: FloatArray, levels: tuple[str, ...]) -> NDArray[np.object_]:
    table = np.array([*levels, None], dtype=object)
    known = np.where(np.isfinite(codes), codes, len(levels)).astype(int)
    return np.asarray(table[np.clip(known, 0, len(levels))], dtype=object)
