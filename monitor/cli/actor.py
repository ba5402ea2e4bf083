"""Who acts when a command is typed: the operating-system user that owns the data."""

from monitor.governance.roles import Actor, Role

COMMAND_LINE = Actor(id="cli", name="command line", roles=frozenset({Role.ADMIN, Role.OPERATOR}))
