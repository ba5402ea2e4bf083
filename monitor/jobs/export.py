"""A model's kept reports, and what Holdfast itself found, as a workspace that `evidently ui` opens."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.artifacts import Store
from monitor.db.checks import Report
from monitor.db.read_drift import drift_history
from monitor.db.registry import Model
from monitor.errors import NotEnoughData
from monitor.reports.workspace import Moved, OwnWindow, fill

MOST_WINDOWS = 1_000


@dataclass(frozen=True, kw_only=True)
class Export:
    """How many runs are new in the workspace, how many were there, and how many reports cannot be exported."""

    new: int
    there: int
    without_snapshot: int


def export_reports(
    session: Session, store: Store, model: Model, workspace: Path, *, with_findings: bool = False
) -> Export:
    """Write every ready report of a model into the workspace's project of the same name; a second time adds the new.

    With `with_findings` each window that was checked for drift is a run too: how far each feature moved.

    Raises:
        NotEnoughData: the model has nothing yet that could be exported.
        BadInput: the workspace's folder cannot be written.
    """
    ready = Report.model_id == model.id, Report.state == "ready"
    kept = list(
        session.scalars(select(Report).where(*ready, Report.snapshot_sha256.is_not(None)).order_by(Report.starts))
    )
    total = session.scalar(select(func.count()).select_from(Report).where(*ready)) or 0
    windows = own_windows(session, model) if with_findings else []
    if not kept and not windows:
        raise NotEnoughData(f"{model.name} has no report that can be exported: make one with `holdfast report`")
    done = fill(
        workspace,
        project=model.name,
        description=f"Reports of {model.name}, kept by Holdfast",
        files=[store.path(report.snapshot_sha256 or "") for report in kept],
        windows=windows,
    )
    return Export(new=done.new, there=done.there, without_snapshot=total - len(kept))


def own_windows(session: Session, model: Model) -> list[OwnWindow]:
    """The newest windows of the drift check, each with the distance of every feature."""
    cells = drift_history(session, model.name, last=MOST_WINDOWS).cells
    return [
        OwnWindow(
            name=f"{model.name} {starts:%Y-%m-%d %H:%M}, by Holdfast",
            starts=starts.isoformat(),
            metadata={"holdfast_report": f"findings:{model.id}:{starts.isoformat()}", "model": model.name},
            findings=tuple(
                Moved(
                    column=row["feature"], value=float(row["magnitude"]), fired=bool(row["fired"]),
                    sentence=row["sentence"],
                )
                for row in window.to_dict("records")
            ),
        )
        for starts, window in ((frame["starts"].iloc[0], frame) for _, frame in cells.groupby("starts"))
    ]  # fmt: skip
