"""One row before its prediction: would it be refused, and would a quality check count it as faulty?"""

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa

from monitor.batch import Batch
from monitor.errors import HoldfastError
from monitor.intake.fields import names_of, short
from monitor.intake.formats import LINES, read
from monitor.intake.plan import IntakePlan
from monitor.intake.validate import KNOWN, validate
from monitor.schema import Feature


def reasons_against(line: bytes, plan: IntakePlan, *, now: datetime) -> tuple[str, ...]:
    """What speaks against a trace, each reason a sentence: why it is refused, or else what in it is faulty.

    Refused is what `validate` refuses. Faulty are a feature that is not there, what is no finite number, and what lies
    outside of the declared bounds and levels; a value that is missing (null, NaN) is not.
    """
    try:
        received = read(line, LINES)
        found = validate(
            received.rows, plan.schema, oldest=plan.oldest, latest=now + plan.ahead, version=plan.serving
        )  # fmt: skip
    except HoldfastError as error:
        return (str(error),)
    if refused := (*received.bad, *found.bad):
        return tuple(row.reason for row in refused)
    unknown = [name for name in names_of(received.rows) if name not in KNOWN and name not in plan.schema.fields]
    plain = (feature for feature in plan.schema.features if not feature.vector)  # else it is computed, never sent
    faults = [fault for feature in plain for fault in _faults(feature, found.good, plan)]
    absent = [vector.name for vector in plan.schema.vectors if vector.name not in found.good.vectors]
    faults += [f"{name}: expected a vector, the row has no such field" for name in absent]
    return (*faults, *(f"{name}: the model's schema has no such feature" for name in unknown))


def _faults(feature: Feature, row: Batch, plan: IntakePlan) -> Iterator[str]:
    """What is wrong with a feature of a batch of one row."""
    name, column = feature.name, row.features.get(feature.name)
    if column is None:
        yield f"{name}: expected a value, the row has no such field"
    elif name in row.unread:
        yield f"{name}: expected a number, got something else"
    elif isinstance(column, pa.Array):
        value = column[0].as_py()
        if feature.levels and name not in plan.hashed and value is not None and value not in feature.levels:
            yield f"{name}: expected one of the {len(feature.levels):,} declared levels, got {short(value)}"
    elif column.ndim == 1 and np.isinf(column[0]):
        yield f"{name}: expected a finite number, got {column[0]}"
    elif column.ndim == 1:
        if feature.lower is not None and column[0] < feature.lower:
            yield f"{name}: expected at least {feature.lower:g}, got {column[0]:g}"
        if feature.upper is not None and column[0] > feature.upper:
            yield f"{name}: expected at most {feature.upper:g}, got {column[0]:g}"
