"""Models of several classes: a third task beside two classes and values."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _admit("'classification', 'multiclass', 'regression'")


def downgrade() -> None:
    """Refused by the database while a model of several classes is registered."""
    _admit("'classification', 'regression'")


def _admit(tasks: str) -> None:
    name = op.f("ck_models_task_known")
    op.drop_constraint(name, "models", type_="check")
    op.create_check_constraint(name, "models", f"task IN ({tasks})")
