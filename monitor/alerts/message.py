"""What a person reads: one problem, on a phone, with what to do and what not to do."""

from dataclasses import asdict, dataclass, field
from typing import Any

from monitor.alerts.rules import Severity

_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>#|"})


@dataclass(frozen=True, kw_only=True)
class Message:
    """A title, what happened line by line, what to do, what not to do, and where to look.

    >>> print(Message(
    ...     title="fraud: pipeline break, not drift", severity=Severity.PAGE,
    ...     lines=("amount ×100 on channel=app since 14:00 UTC (38 % of rows).",),
    ...     do="call payments-data; roll the feed back.", dont="retrain.",
    ... ).as_text())
    PAGE fraud: pipeline break, not drift
    amount ×100 on channel=app since 14:00 UTC (38 % of rows).
    DO: call payments-data; roll the feed back. Do NOT retrain.
    """

    title: str
    severity: Severity
    lines: tuple[str, ...] = ()
    do: str = ""
    dont: str = ""
    link: str = ""
    drill: bool = False
    resolved: bool = False
    labels: tuple[str, ...] = field(default=())  # buttons: Acknowledge, Playbook, …

    @property
    def headline(self) -> str:
        """The first line: DRILL, how urgent or RESOLVED, and the title."""
        urgency = "RESOLVED" if self.resolved else self.severity.upper()
        return f"{'DRILL ' if self.drill else ''}{urgency} {_one_line(self.title)}"

    @property
    def body(self) -> str:
        """All but the headline, as plain text."""
        parts = [*(_one_line(line) for line in self.lines), self._advice(), self.link, self._buttons()]
        return "\n".join(part for part in parts if part)

    def as_text(self) -> str:
        """For a console, a log or a text message."""
        return f"{self.headline}\n{self.body}".rstrip()

    def as_markdown(self) -> str:
        """The same with emphasis; whatever came from data is escaped."""
        parts = [f"**{_escaped(self.headline)}**", *(_escaped(line) for line in self.lines)]
        if self.do:
            parts.append(f"**DO:** {_escaped(self.do)}" + (f" **Do NOT** {_escaped(self.dont)}" if self.dont else ""))
        elif self.dont:
            parts.append(f"**Do NOT** {_escaped(self.dont)}")
        if self.link:
            parts.append(f"<{self.link}>")
        return "\n\n".join(parts)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "lines": list(self.lines), "labels": list(self.labels)}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Message":
        """The message that `to_document` wrote."""
        sequences = {name: tuple(document.get(name, ())) for name in ("lines", "labels")}
        return cls(**{**document, **sequences, "severity": Severity(document["severity"])})

    def _advice(self) -> str:
        do = f"DO: {self.do}" if self.do else ""
        dont = f"Do NOT {self.dont}" if self.dont else ""
        return " ".join(part for part in (do, dont) if part)

    def _buttons(self) -> str:
        return " ".join(f"[{label}]" for label in self.labels)


def _one_line(text: str) -> str:
    """Data values cannot add lines, or control characters, to a message."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _escaped(text: str) -> str:
    return _one_line(text).translate(_MARKDOWN)
