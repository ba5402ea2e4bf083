"""How a benchmark prints: a table for people, then one JSON object with every figure, the goals and the machine."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A goal that the benchmark can judge: the exit code does not depend on it."""

    name: str
    target: str
    value: float
    met: bool


def report(
    name: str,
    figures: Mapping[str, Any],
    *,
    goals: Sequence[Goal] = (),
    peers: Mapping[str, Any] | None = None,
    shown: Mapping[str, Any] | None = None,
) -> None:
    """Print the figures (or those `shown` in their place), the peers', met and missed goals, and the JSON."""
    shown = figures if shown is None else shown
    width = max(map(len, shown), default=0)
    for key, value in shown.items():
        print(f"{key:<{width}}  {value:,.4g}" if isinstance(value, float) else f"{key:<{width}}  {value}")
    for peer, measured in (peers or {}).items():
        print(f"{peer}: {measured}")
    for goal in goals:
        print(f"{'met   ' if goal.met else 'MISSED'} {goal.name}: {goal.value:.4g} (goal {goal.target})")
    machine = {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count()}
    print(
        json.dumps(
            {
                "name": name,
                "figures": dict(figures),
                "peers": dict(peers or {}),
                "machine": machine,
                "goals": [asdict(goal) for goal in goals],
            }
        )
    )
