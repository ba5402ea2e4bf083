"""What can be said of a setting, a command or a word is said in docs/."""

import inspect
from dataclasses import fields
from pathlib import Path

import typer.main

from monitor.acts.schema_files import read_schema
from monitor.cli.app import app
from monitor.client import Counters, TraceLogger
from monitor.settings import Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_every_setting_is_documented():
    page = (DOCS / "how-to" / "install.md").read_text()
    assert [name for name in Settings.model_fields if f"`{name}`" not in page] == []


def test_every_option_of_backtest_is_documented():
    page = (DOCS / "how-to" / "backtest.md").read_text()
    command = typer.main.get_command(app).commands["backtest"]
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    undocumented = {name for name in options if f"`{name}" not in page}
    assert undocumented <= {"--seed", "--home"}


def test_every_option_of_monitor_and_report_is_documented():
    page = (DOCS / "how-to" / "evidently.md").read_text()
    groups = typer.main.get_command(app).commands
    for command in (groups["monitor"].commands["add"], *groups["report"].commands.values()):
        options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
        assert {name for name in options if name not in page} <= {"--home"}, command.name


def test_every_option_of_check_is_documented():
    page = (DOCS / "how-to" / "drift-acts.md").read_text()
    command = typer.main.get_command(app).commands["check"]
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert {name for name in options if f"`{name}" not in page} == set()


def test_every_option_of_stress_is_documented():
    page = (DOCS / "how-to" / "stress.md").read_text()
    command = typer.main.get_command(app).commands["stress"]
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert {name for name in options if f"`{name}" not in page} == set()


def test_every_command_of_governance_is_documented():
    pages = "".join((DOCS / "how-to" / name).read_text() for name in ("govern.md", "audit.md"))
    groups = typer.main.get_command(app).commands
    named = [f"holdfast {name}" for name in ("rollback", "freeze", "unfreeze")]
    named += [f"{group} {name}" for group in ("proposal", "user", "token", "audit") for name in groups[group].commands]
    assert [name for name in named if name not in pages] == []


def test_every_command_and_option_of_source_is_documented():
    page = (DOCS / "how-to" / "sources.md").read_text()
    commands = typer.main.get_command(app).commands["source"].commands
    assert [name for name in commands if f"holdfast source {name}" not in page] == []
    options = {name for parameter in commands["add"].params for name in parameter.opts if name.startswith("--")}
    assert {name for name in options if f"`{name}" not in page} <= {"--home", "--as"}


def test_every_command_and_option_of_schema_is_documented():
    page = (DOCS / "how-to" / "schema.md").read_text()
    for name, command in typer.main.get_command(app).commands["schema"].commands.items():
        options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
        assert {word for word in {f"holdfast schema {name}", *options} if word not in page} <= {"--home", "--as"}


def test_the_schema_that_is_shown_can_be_read():
    shown = (DOCS / "how-to" / "schema.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    assert read_schema(shown).renamed == {"amount_eur": "amount"}


def test_every_setting_and_counter_of_the_client_is_documented():
    page = (DOCS / "how-to" / "python-client.md").read_text()
    names = {*inspect.signature(TraceLogger).parameters, *(field.name for field in fields(Counters))}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_a_newcomer_sends_traces_by_a_page_of_fifty_lines():
    assert len((DOCS / "how-to" / "send-traces.md").read_text().splitlines()) <= 50


def test_every_decision_note_is_numbered_once():
    numbers = [path.name[:4] for path in sorted((DOCS / "decisions").glob("0*.md"))]
    assert numbers == [f"{n:04d}" for n in range(1, len(numbers) + 1)]
