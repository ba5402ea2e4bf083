"""The producer's side of intake: log from a serving process without waiting. Needs the standard library alone."""

from monitor.client.counters import Counters
from monitor.client.logger import TraceLogger
from monitor.client.transport import Answer, Transport

__all__ = ["Answer", "Counters", "TraceLogger", "Transport"]
