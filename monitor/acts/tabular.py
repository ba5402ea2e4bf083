"""Which models can have an artefact: those whose rows are a table, without vectors."""

from sqlalchemy.orm import Session

from monitor.db.registry import Model, feature_schema, schema_of
from monitor.errors import BadInput

WITHOUT_ARTEFACT = "which stress tests and retraining cannot work on; drift, quality and performance are watched"


def is_tabular(session: Session, model: Model) -> bool:
    """Whether the model's rows hold no vectors."""
    return not schema_of(feature_schema(session, model)).vectors


def require_tabular(session: Session, model: Model) -> None:
    """What takes a model's rows as a table cannot take vectors.

    Raises:
        BadInput: there are some.
    """
    if not is_tabular(session, model):
        raise BadInput(f"expected table features alone, {model.name} has vectors, {WITHOUT_ARTEFACT}")
