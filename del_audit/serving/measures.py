"""What /metrics says, in Prometheus' format: counts and times, by route, status and code."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True)
class Measures:
    """The measures of one process, in a registry of their own."""

    registry: CollectorRegistry
    requests: Counter
    tokens: Counter
    waiting: Gauge
    first: Histogram
    whole: Histogram
    open: Gauge

    @classmethod
    def of(cls, part: str) -> "Measures":
        """Returns new measures; part: server or proxy, the second word of every name."""
        made = CollectorRegistry()
        prefix = f"del_audit_{part}"
        return cls(
            made,
            Counter(f"{prefix}_requests", "Requests", ("route", "status", "code"), registry=made),
            Counter(f"{prefix}_tokens", "Tokens, by kind: released, clear, written", ("kind",), registry=made),
            Gauge(f"{prefix}_requests_open", "Requests that are not finished", registry=made),
            Histogram(f"{prefix}_first_seconds", "Until the first event", buckets=_SECONDS, registry=made),
            Histogram(f"{prefix}_seconds", "Until the last event", buckets=_SECONDS, registry=made),
            Gauge(f"{prefix}_open", "1 while the certificate holds", registry=made),
        )

    def text(self) -> bytes:
        """Returns the page."""
        return generate_latest(self.registry)
