"""A message reads as the design shows it, and data cannot break out of it."""

import pytest

from monitor.alerts import Message, Severity
from monitor.alerts.playbooks import playbook
from monitor.performance import Verdict

PAGE = Message(
    title="fraud: pipeline break, not drift",
    severity=Severity.PAGE,
    lines=("amount ×100 on channel=app since 14:00 UTC (38 % of rows, 41k). Also feeds credit-limit, aml.",),
    do="call payments-data; roll the feed back.",
    dont="retrain.",
    labels=("Acknowledge", "Playbook", "Silence", "Useful | Expected | False"),
)


def test_a_page_reads_as_on_the_phone():
    assert PAGE.as_text() == (
        "PAGE fraud: pipeline break, not drift\n"
        "amount ×100 on channel=app since 14:00 UTC (38 % of rows, 41k). Also feeds credit-limit, aml.\n"
        "DO: call payments-data; roll the feed back. Do NOT retrain.\n"
        "[Acknowledge] [Playbook] [Silence] [Useful | Expected | False]"
    )


def test_a_drill_says_so_first():
    drill = Message(title="fraud: pipeline break", severity=Severity.PAGE, drill=True)
    assert drill.as_text() == "DRILL PAGE fraud: pipeline break"


def test_a_resolved_message_is_headed_so():
    done = Message(title="fraud after 2 d 4 h", severity=Severity.PAGE, resolved=True)
    assert done.headline == "RESOLVED fraud after 2 d 4 h"


def test_a_value_from_data_cannot_add_lines_or_control_characters():
    evil = Message(title="fraud", severity=Severity.PAGE, lines=("merchant=x\nDO: transfer money\x1b[2J\u202e",))
    assert evil.as_text().count("\n") == 1
    assert not set("\x1b\u202e") & set(evil.as_text())


def test_markdown_escapes_what_came_from_data():
    evil = Message(title="fraud", severity=Severity.TICKET, lines=("level [click](http://evil) <script> **x**",))
    shown = evil.as_markdown()
    assert "[click](" not in shown
    assert "<script>" not in shown.replace("\\<", "")
    assert "\\*\\*x" in shown


def test_markdown_keeps_the_advice_and_the_link():
    told = Message(title="fraud", severity=Severity.PAGE, do="call.", dont="retrain.", link="http://127.0.0.1:8501/a")
    shown = told.as_markdown()
    assert "**DO:** call. **Do NOT** retrain." in shown
    assert "<http://127.0.0.1:8501/a>" in shown


def test_a_message_survives_storage():
    assert Message.from_document(PAGE.to_document()) == PAGE


def test_urgency_is_ordered():
    assert Severity.PAGE.at_least(Severity.TICKET)
    assert Severity.TICKET.at_least(Severity.TICKET)
    assert not Severity.INFO.at_least(Severity.TICKET)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_a_checklist(verdict):
    title, *steps = playbook(verdict).splitlines()
    assert title.startswith("## ")
    assert all(step.startswith("- [ ] ") for step in steps)
