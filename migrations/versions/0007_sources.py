"""Sources are read by schedule, say what went wrong, and keep a mark for each of their pieces."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COLUMNS = ("settings", "every_seconds", "paused", "due_at", "pulled_at", "failures", "last_error")


def upgrade() -> None:
    empty = sa.text("'{}'::jsonb")
    op.add_column("sources", sa.Column("settings", postgresql.JSONB(), server_default=empty, nullable=False))
    op.add_column("sources", sa.Column("every_seconds", sa.BigInteger(), nullable=True))
    op.add_column("sources", sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("sources", sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sources", sa.Column("pulled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sources", sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("sources", sa.Column("last_error", sa.String(), nullable=True))
    op.create_check_constraint(op.f("ck_sources_every_positive"), "sources", "every_seconds > 0")
    _rename_marks("files", "pieces")


def downgrade() -> None:
    _rename_marks("pieces", "files")
    op.drop_constraint(op.f("ck_sources_every_positive"), "sources", type_="check")
    for column in reversed(_COLUMNS):
        op.drop_column("sources", column)


def _rename_marks(before: str, after: str) -> None:
    renamed = sa.text(
        "UPDATE sources SET bookmark = (bookmark - :before) || jsonb_build_object(:after, bookmark->:before) "
        "WHERE jsonb_exists(bookmark, :before)"
    )
    text = {name: sa.bindparam(name, type_=sa.Text()) for name in ("before", "after")}
    op.get_bind().execute(renamed.bindparams(*text.values()), {"before": before, "after": after})
