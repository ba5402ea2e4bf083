"""The database itself refuses what the governed loop does not allow: see 0005_guards.sql, which is run as it is."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().connection.cursor().execute(script)  # past SQLAlchemy, to which a percent sign is a parameter


def downgrade() -> None:
    op.execute("DROP SCHEMA guard CASCADE")  # and every trigger that calls a function of it
    op.drop_index("ix_proposals_model_id_id", "proposals")
    op.drop_index("ix_proposals_candidate_id", "proposals")
    op.drop_index("ix_audit_txid", "audit")
