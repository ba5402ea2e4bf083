"""Noise and faults: what sensors, pipelines and people do to rows without meaning harm. Five severities each.

Faults do not ask what an attacker may change: numbers are disturbed in every numeric feature, categories in every
categorical one. Sizes are in robust σ of the reference, shares are of the cells. Drift, lag, stuck sensors and
drop-outs follow the order of the rows: hand them in as they came.
"""

from collections.abc import Mapping

import numpy as np

from monitor.errors import BadInput
from monitor.robustness.noise import sensors, tables
from monitor.robustness.noise.surroundings import Family, Surroundings
from monitor.schema import FloatArray

__all__ = ["FAMILIES", "SEVERITIES", "Family", "Surroundings", "corrupt"]

SEVERITIES = 5

# A family's place here seeds its draws in stored campaigns: add new ones at the end.
FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (*sensors.FIRST, *tables.FIRST, *sensors.SECOND, *tables.SECOND)
}


def corrupt(
    family: str, rows: FloatArray, severity: int, surroundings: Surroundings, rng: np.random.Generator
) -> FloatArray:
    """A disturbed copy of rows (n, d); severity 1 (mild) to 5."""
    if family not in FAMILIES or not 1 <= severity <= SEVERITIES:
        known = ", ".join(FAMILIES)
        raise BadInput(f"expected a noise family among {known} and severity 1 to 5, got {family!r}, {severity}")
    chosen = FAMILIES[family]
    return chosen.apply(rows, chosen.strengths[severity - 1], surroundings, rng)
