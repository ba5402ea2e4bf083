"""Where a long campaign puts down what it found, so that a crash costs one attack and not the night."""

from typing import Protocol

from monitor.schema import FloatArray


class Bank(Protocol):
    """Arrays by key, kept until the campaign is done. What comes back is scored and checked again."""

    def get(self, key: str) -> dict[str, FloatArray] | None:
        """What was put under this key, or None."""

    def put(self, key: str, arrays: dict[str, FloatArray]) -> None:
        """Keep it: after this returns, a crash does not lose it."""


class NoBank:
    """Keeps nothing: for campaigns of seconds."""

    def get(self, key: str) -> dict[str, FloatArray] | None:
        return None

    def put(self, key: str, arrays: dict[str, FloatArray]) -> None:
        return None
