"""What versions a model has, which of them serves, and where each came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.registry import Model, Version, model_named, versions
from monitor.db.retraining import Envelope, Freeze, Proposal

_PRIVATE = ("champion_webhook", "trainer")


@dataclass(frozen=True, kw_only=True)
class VersionEntry:
    """A version with its lineage; what nobody recorded is None."""

    id: int
    number: int
    name: str
    state: str
    flavour: str
    manifest_sha256: str
    weights_sha256: str | None
    parent: str | None  # the champion that its retraining was meant to take over from
    replaced: str | None  # the champion it took over from
    proposal_id: int | None
    recipe: str | None
    snapshot_sha256: str | None
    trained_rows: int | None
    metric: Mapping[str, Any] | None
    robust_auc: float | None
    robust_accuracy: float | None  # of several classes, which have no AUC
    created_at: datetime
    promoted_at: datetime | None
    confirmed_at: datetime | None

    @property
    def origin(self) -> str:
        """Where it came from, in words."""
        if self.proposal_id is None:
            return "registered by hand"
        return f"proposal #{self.proposal_id}: {self.recipe}, over {self.parent}"


@dataclass(frozen=True, kw_only=True)
class SignedEnvelope:
    """What policy may decide at tier 0."""

    limits: Mapping[str, Any]
    signed_by: str
    reason: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class RegistryPage:
    """A model's versions, the newest first."""

    model: str
    owner: str
    task: str
    tier: int
    solo: bool
    frozen: bool
    everything_frozen: bool
    retired_at: datetime | None
    serving: str | None
    envelope: SignedEnvelope | None
    versions: tuple[VersionEntry, ...]

    @property
    def headline(self) -> str:
        """The answer to: what serves, and what else is there?"""
        if self.retired_at is not None:
            return f"{self.model} is retired since {self.retired_at:%-d %b %Y}"
        if self.serving is None:
            return f"No version of {self.model} serves"
        others = len([one for one in self.versions if one.state != "retired"]) - 1
        beside = {0: "no other version is kept", 1: "1 other version is kept"}
        return f"{self.serving} of {self.model} serves; {beside.get(others, f'{others} other versions are kept')}"

    def entry(self, name: str) -> VersionEntry | None:
        return next((one for one in self.versions if one.name == name), None)


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model as the settings list it."""

    name: str
    owner: str
    task: str
    tier: int
    solo: bool
    frozen: bool
    retired_at: datetime | None
    settings: Mapping[str, Any]


def registry_page(session: Session, model: str) -> RegistryPage:
    """A model with all its versions."""
    row = model_named(session, model)
    found = versions(session, row)
    names = {version.id: version.name for version in found}
    made = select(Proposal).where(Proposal.model_id == row.id, Proposal.candidate_id.is_not(None)).order_by(Proposal.id)
    proposals = {proposal.candidate_id: proposal for proposal in session.scalars(made)}
    return RegistryPage(
        model=row.name, owner=row.owner, task=row.task, tier=row.tier, solo=row.solo, frozen=row.frozen,
        everything_frozen=all_frozen(session), retired_at=row.retired_at, serving=names.get(row.champion_id or 0),
        envelope=_envelope(session, row),
        versions=tuple(_entry(version, proposals.get(version.id), names) for version in reversed(found)),
    )  # fmt: skip


def _envelope(session: Session, model: Model) -> SignedEnvelope | None:
    chosen = select(Envelope).where(Envelope.model_id == model.id, Envelope.revoked_at.is_(None))
    row = session.scalar(chosen)
    if row is None:
        return None
    return SignedEnvelope(
        limits=row.document, signed_by=row.signed_by, reason=row.reason, expires_at=row.expires_at
    )  # fmt: skip


def model_entries(session: Session) -> tuple[ModelEntry, ...]:
    """Every model with what was declared of it, retired ones last."""
    rows = session.scalars(select(Model).order_by(Model.retired_at.is_not(None), Model.name))
    return tuple(
        ModelEntry(
            name=row.name, owner=row.owner, task=row.task, tier=row.tier, solo=row.solo, frozen=row.frozen,
            retired_at=row.retired_at, settings=_without_secrets(row.settings),
        )
        for row in rows
    )  # fmt: skip


def all_frozen(session: Session) -> bool:
    """Whether every automatic act is stopped, for all models."""
    return session.scalar(select(Freeze.id).where(Freeze.lifted_at.is_(None)).limit(1)) is not None


def _without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Addresses of the owner's own services may hold keys: whether there is one is all that others read."""
    return {name: "declared" if name in _PRIVATE and value else value for name, value in settings.items()}


def _entry(version: Version, proposal: Proposal | None, names: Mapping[int, str]) -> VersionEntry:
    provenance = version.manifest.get("provenance") or {}
    return VersionEntry(
        id=version.id,
        number=version.number,
        name=version.name,
        state=version.state,
        flavour=version.flavour,
        manifest_sha256=version.manifest_sha256,
        weights_sha256=_weights(version.manifest),
        parent=names.get(proposal.champion_id) if proposal is not None else None,
        replaced=names.get(version.replaced_id or 0),
        proposal_id=proposal.id if proposal is not None else None,
        recipe=proposal.recipe if proposal is not None else (provenance.get("recipe") or {}).get("name"),
        snapshot_sha256=proposal.snapshot.get("sha256") if proposal is not None else provenance.get("data_sha256"),
        trained_rows=(proposal.snapshot if proposal is not None else provenance).get("rows"),
        metric=version.baseline.get("metric"),
        robust_auc=(version.baseline.get("stress") or {}).get("robust_auc"),
        robust_accuracy=(version.baseline.get("stress") or {}).get("robust_accuracy"),
        created_at=version.created_at,
        promoted_at=version.promoted_at,
        confirmed_at=version.confirmed_at,
    )


def _weights(manifest: Mapping[str, Any]) -> str | None:
    """The hash of the weights as the training told it, else of the artefact's one file."""
    told = (manifest.get("provenance") or {}).get("weights_sha256")
    files = list((manifest.get("files") or {}).values())
    return told or (files[0]["sha256"] if len(files) == 1 else None)
