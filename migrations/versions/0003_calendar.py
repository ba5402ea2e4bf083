"""The calendar of expected events, snoozes, how a person ended an alert, and segments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KINDS = ("drift", "quality", "performance", "stress", "evidently")


def upgrade() -> None:
    op.create_table(
        "calendar_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("starts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends", sa.DateTime(timezone=True), nullable=False),
        sa.Column("yearly", sa.Boolean(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("starts < ends", name=op.f("ck_calendar_events_event_forward")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_calendar_events_model_id_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendar_events")),
        sa.UniqueConstraint(
            "model_id",
            "name",
            "starts",
            "ends",
            name=op.f("uq_calendar_events_model_id_name_starts_ends"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "segment_references",
        sa.Column("reference_id", sa.BigInteger(), nullable=False),
        sa.Column("segment", sa.String(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["reference_id"], ["references.id"], name=op.f("fk_segment_references_reference_id_references")
        ),
        sa.PrimaryKeyConstraint("reference_id", "segment", name=op.f("pk_segment_references")),
    )
    _allow_kinds((*_KINDS, "segment"))
    op.add_column("alerts", sa.Column("resolution", sa.String(), nullable=True))
    op.add_column("silences", sa.Column("alert_id", sa.BigInteger(), nullable=True))
    op.add_column("silences", sa.Column("feature", sa.String(), nullable=True))
    op.add_column("silences", sa.Column("woken_at", sa.DateTime(timezone=True), nullable=True))
    op.create_foreign_key(op.f("fk_silences_alert_id_alerts"), "silences", "alerts", ["alert_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_silences_feature_of_a_model"), "silences", "feature IS NULL OR model_id IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DELETE FROM check_runs WHERE kind = 'segment'")
    op.execute("DELETE FROM monitors WHERE kind = 'segment'")
    _allow_kinds(_KINDS)
    op.drop_table("segment_references")
    op.drop_constraint(op.f("ck_silences_feature_of_a_model"), "silences", type_="check")
    op.drop_constraint(op.f("fk_silences_alert_id_alerts"), "silences", type_="foreignkey")
    for column in ("woken_at", "feature", "alert_id"):
        op.drop_column("silences", column)
    op.drop_column("alerts", "resolution")
    op.drop_table("calendar_events")


def _allow_kinds(kinds: tuple[str, ...]) -> None:
    words = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f("ck_monitors_kind_known"), "monitors", type_="check")
    op.create_check_constraint(op.f("ck_monitors_kind_known"), "monitors", f"kind IN ({words})")
