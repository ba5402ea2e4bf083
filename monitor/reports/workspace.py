"""Snapshots into a workspace of Evidently's, by its own API in a process of its own."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from monitor.errors import BadInput
from monitor.reports import process
from monitor.reports.series import escaped

LIMIT_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How far one feature moved in a window, and whether the detector held it responsible."""

    column: str
    value: float
    fired: bool
    sentence: str


@dataclass(frozen=True, kw_only=True)
class OwnWindow:
    """Holdfast's own findings of a window, to be a run among Evidently's."""

    name: str
    starts: str
    findings: tuple[Moved, ...]
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The project in the workspace, and how many runs are new in it."""

    project: str
    new: int
    there: int


def fill(
    workspace: Path, *, project: str, description: str, files: Sequence[Path], windows: Sequence[OwnWindow] = ()
) -> Filled:
    """Add the runs that the workspace's project lacks; the project is made when it is not there.

    Raises:
        BadInput: the folder cannot be written.
        JobFailed: Evidently could not write the workspace.
    """
    try:
        workspace.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"expected a folder that can be written, got {workspace}: {error.strerror}") from error
    plan = {
        "workspace": str(workspace.resolve()),
        "project": project,
        "description": description,
        "snapshots": [str(file.resolve()) for file in files],
        "windows": [escaped(asdict(window)) for window in windows],
    }
    with process.folder() as folder:
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        process.run("export", folder, limit_seconds=LIMIT_SECONDS)
        return Filled(**json.loads((folder / "exported.json").read_text(encoding="utf-8")))
