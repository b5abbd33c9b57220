"""Poses of very many photos and films, on one machine or a cluster: Ray schedules and retries, here is what it maps."""

from gtpt.batch.run import batch
from gtpt.batch.table import read_batch

__all__ = ["batch", "read_batch"]
