"""What of a row nobody needs to read: hashed before anything else sees it, or counted and not stored."""

import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from monitor.batch import Batch
from monitor.db.registry import ModelSettings
from monitor.intake.fields import Records, Rows, Taken, frame_of, names_of

WITHHELD = "withheld: the text is no JSON object, and the model has features that are not stored as they are"
HASH_DIGITS = 16  # of a value: 64 bits, enough that no two levels of a feature meet


def with_hashes(rows: Rows, hashed: Collection[str], key: str) -> Rows:
    """The same rows with the values of some fields replaced by keyed hashes: equal values stay equal, no more.

    >>> frame = pd.DataFrame({"city": ["Ulm", "Bonn", "Ulm", None]})
    >>> told = with_hashes(frame, ["city"], "k")["city"].tolist()
    >>> told[0] == told[2] != told[1], told[3]
    (True, None)
    """
    names = [name for name in names_of(rows) if name in hashed]
    if not names:
        return rows
    columns = {name: [_hashed(value, key) for value in Taken.of(rows, name).objects] for name in names}
    if isinstance(rows, Records):
        return Records({**rows.columns, **columns}, len(rows))
    if isinstance(rows, pa.Table):
        for name, values in columns.items():
            rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, pa.string()))
        return rows
    return frame_of(rows).assign(**{name: pd.Series(v, rows.index, dtype=object) for name, v in columns.items()})


def private_raw(raw: str, settings: ModelSettings, *, hashed: bool) -> str:
    """The text of a refused row as it may be kept: nothing of unstored features, and hashes of hashed ones.

    Text that is no object might hold any of their values, so nothing of it is kept where a model has such features.

    Args:
        hashed: whether the row's fields were hashed before.
    """
    if not (settings.unstored or settings.hashed):
        return raw
    try:
        fields = json.loads(raw)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        return WITHHELD
    for name in settings.hashed:
        if not hashed and name in fields:
            fields[name] = _hashed(fields[name], settings.hash_key)
    return json.dumps({name: value for name, value in fields.items() if name not in settings.unstored})


def private_reason(reason: str, unstored: Collection[str]) -> str:
    """Why a row was refused, without the value of a feature that is not stored.

    >>> private_reason("note: expected one value, got ['Ada', 'Lovelace']", ["note"])
    'note: expected one value, got what is not stored'
    """
    told, got, _ = reason.partition(", got ")
    return (
        f"{told}{got}what is not stored" if got and told.startswith(tuple(f"{name}: " for name in unstored)) else reason
    )


def without_unstored(batch: Batch, unstored: Collection[str]) -> Batch:
    """The same rows as they are stored: of some features nothing."""
    kept: Mapping[str, np.ndarray | pa.Array] = {
        name: column for name, column in batch.features.items() if name not in unstored
    }
    vectors = {name: column for name, column in batch.vectors.items() if name not in unstored}
    same = len(kept) == len(batch.features) and len(vectors) == len(batch.vectors)
    return batch if same else replace(batch, features=kept, vectors=vectors)


def _hashed(value: object, key: str) -> str | None:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    text = str(value).encode(errors="backslashreplace")
    return hmac.new(key.encode(), text, hashlib.sha256).hexdigest()[:HASH_DIGITS]
