"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("gtpt_requests", "Requests for poses", ["status"], registry=self.registry)
        self.people = Counter("gtpt_people", "People found", registry=self.registry)
        self.seconds = Histogram(
            "gtpt_request_seconds",
            "From a request to its answer",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.waited = Histogram(
            "gtpt_queue_seconds", "How long the oldest image of a batch waited", buckets=SECONDS, registry=self.registry
        )
        self.batch = Histogram("gtpt_batch_images", "Images that shared a run", buckets=SIZES, registry=self.registry)
        self.queue = Gauge("gtpt_queue_images", "Images that wait or are worked on", registry=self.registry)

    def ran(self, size: int, waited: float) -> None:
        self.batch.observe(size)
        self.waited.observe(waited)
