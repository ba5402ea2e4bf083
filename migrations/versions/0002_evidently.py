"""Monitors of kind `evidently`: any number a model, each by its name; their alerts; snapshots of reports."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MONITORS = ("drift", "quality", "performance", "stress")
_ALERTS = ("drift", "quality", "performance", "robustness")


def upgrade() -> None:
    op.add_column("monitors", sa.Column("name", sa.String(), nullable=True))
    op.execute("UPDATE monitors SET name = kind")
    op.alter_column("monitors", "name", nullable=False)
    op.drop_constraint(op.f("uq_monitors_model_id_kind"), "monitors", type_="unique")
    op.create_unique_constraint(op.f("uq_monitors_model_id_name"), "monitors", ["model_id", "name"])
    _allow_kinds("monitors", (*_MONITORS, "evidently"))
    _allow_kinds("alerts", (*_ALERTS, "evidently"))
    op.add_column("reports", sa.Column("snapshot_sha256", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("reports", "snapshot_sha256")
    op.execute("DELETE FROM outbox WHERE alert_id IN (SELECT id FROM alerts WHERE kind = 'evidently')")
    op.execute("UPDATE reports SET alert_id = NULL WHERE alert_id IN (SELECT id FROM alerts WHERE kind = 'evidently')")
    op.execute("DELETE FROM alerts WHERE kind = 'evidently'")
    op.execute("DELETE FROM check_runs WHERE kind = 'evidently'")
    op.execute("DELETE FROM monitors WHERE kind = 'evidently'")
    _allow_kinds("alerts", _ALERTS)
    _allow_kinds("monitors", _MONITORS)
    op.drop_constraint(op.f("uq_monitors_model_id_name"), "monitors", type_="unique")
    op.create_unique_constraint(op.f("uq_monitors_model_id_kind"), "monitors", ["model_id", "kind"])
    op.drop_column("monitors", "name")


def _allow_kinds(table: str, kinds: tuple[str, ...]) -> None:
    words = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f(f"ck_{table}_kind_known"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_kind_known"), table, f"kind IN ({words})")
