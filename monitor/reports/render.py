"""A report of a window as a page, as numbers, and as a snapshot that Evidently itself can open again."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from monitor.errors import BadInput
from monitor.reports import process
from monitor.reports.allowed import OUTCOMES, outcome_of
from monitor.reports.measure import frames_to
from monitor.reports.sanitise import Sanitised

LIMIT_SECONDS = 180


class Preset(StrEnum):
    """What a report is about; `all` is drift and summary, and performance where there are labels."""

    ALL = "all"
    DRIFT = "drift"
    SUMMARY = "summary"
    CLASSIFICATION = "classification"
    REGRESSION = "regression"

    @classmethod
    def named(cls, name: str, *, task: str) -> "Preset":
        """The preset of this name, where it fits the model's task.

        Raises:
            BadInput: there is none, or it is for models of the other task.

        >>> Preset.named("drift", task="regression")
        <Preset.DRIFT: 'drift'>
        """
        if name not in set(cls):
            raise BadInput(f"expected a preset among {', '.join(cls)}, got {name!r}")
        if name in OUTCOMES and name != outcome_of(task):
            raise BadInput(f"a {name} report is for {name} models; this one does {task}")
        return cls(name)

    @property
    def kind(self) -> str:
        """The word under which reports of this preset are kept."""
        return "evidently" if self is Preset.ALL else f"evidently:{self}"

    @classmethod
    def of_kind(cls, kind: str) -> "Preset":
        return cls(kind.partition(":")[2] or cls.ALL)


@dataclass(frozen=True, kw_only=True)
class About:
    """What a snapshot says of itself in Evidently's own pages."""

    name: str = "Holdfast"
    starts: str = "1970-01-01T00:00:00+00:00"
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The finished report: page, strict JSON, Evidently's own snapshot, and the features that it could not take."""

    html: bytes
    json: bytes
    snapshot: bytes
    left_out: dict[str, str]


def render(
    data: Sanitised, *, preset: Preset = Preset.ALL, regression: bool = False, positive: str | None = None,
    about: About | None = None,
) -> Rendered:  # fmt: skip
    """Run Evidently on `data` in a process of its own and read what it wrote.

    Raises:
        JobFailed: the process ended with an error or ran longer than three minutes.
    """
    said = about or About()
    with process.folder() as folder:
        plan: dict[str, Any] = frames_to(folder, data, regression=regression, positive=positive) | {
            "presets": ["drift", "summary", "outcome"] if preset is Preset.ALL else [str(preset)],
            "left_out": data.left_out, "name": said.name, "starts": said.starts, "tags": list(said.tags),
            "metadata": said.metadata,
        }  # fmt: skip
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        process.run("report", folder, limit_seconds=LIMIT_SECONDS)
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        files = {word: (folder / f"{name}").read_bytes() for word, name in _FILES.items()}
    return Rendered(**files, left_out=facts["left_out"])


_FILES = {"html": "report.html", "json": "report.json", "snapshot": "snapshot.json"}
