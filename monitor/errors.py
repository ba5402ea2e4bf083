"""The exceptions of Holdfast: one class for each decision that a caller can take.

HoldfastError
├── BadInput              the caller can correct what it sent (CLI: exit code 2, HTTP: 422)
│   ├── SchemaMismatch    rows or columns do not fit the model's schema
│   ├── BinMismatch       two profiles were made with different references
│   ├── NotEnoughData     correct, but too little to judge; says how much is needed
│   ├── TooLarge          more than one request may hold: send it in several (HTTP: 413)
│   └── UnsafeArtefact    a file that can run code, or whose hash is wrong: never parsed
├── NotFound              no such model, version, proposal, …; the message lists what there is
├── StaleDecision         someone else decided first; read again
├── IllegalTransition     the state machine has no such step from here
├── NotAllowed            this person may not do this; someone else can
├── LeaseLost             another worker owns the job now: roll back and claim again
├── JobFailed             a piece of work crashed or outgrew its limits; it is tried again
├── JobCancelled          a person asked to stop it: not a failure
├── JobReleased           its worker is shutting down: another one takes it from the start
├── Unavailable           the database or a port cannot be reached; try again or mend it
└── SchemaVersionMismatch the database was migrated by a newer Holdfast, or not yet by this one
"""


class HoldfastError(Exception):
    """Every error that Holdfast raises on purpose."""


class BadInput(HoldfastError):
    """What came in cannot be used; the message says what was expected and what to do."""


class SchemaMismatch(BadInput):
    """Rows or columns do not fit the declared schema."""


class BinMismatch(BadInput):
    """Two profiles were made with different references."""

    def __init__(self, *, expected: int, got: int) -> None:
        super().__init__(f"expected counts over {expected} bins, got {got}: profile both with the same reference")


class NotEnoughData(BadInput):
    """Too few rows or windows to answer; never reported as "no drift"."""


class TooLarge(BadInput):
    """More than one request may hold."""


class UnsafeArtefact(BadInput):
    """A model file that could run code when loaded, or that is not the file that was registered."""


class NotFound(HoldfastError):
    """Nothing goes by this name."""


class StaleDecision(HoldfastError):
    """The row changed between reading and writing."""


class IllegalTransition(HoldfastError):
    """The state machine has no such step from the present state."""


class NotAllowed(HoldfastError):
    """The actor lacks the role, or may not decide on their own request."""


class LeaseLost(HoldfastError):
    """The job was taken over by another worker."""


class JobFailed(HoldfastError):
    """A piece of work crashed, ran too long or took too much memory."""


class JobCancelled(HoldfastError):
    """A person asked to stop this piece of work."""


class JobReleased(HoldfastError):
    """The worker is shutting down and gives the job back."""


class Unavailable(HoldfastError):
    """Something outside (database, port, endpoint) did not answer."""


class SchemaVersionMismatch(HoldfastError):
    """The database schema and the code are not of the same version."""
