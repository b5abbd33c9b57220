"""What one request may cost, and how many may wait."""

from __future__ import annotations

from dataclasses import dataclass, fields

from gtpt.core.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Checked before work starts; each is a positive number.

    Attributes:
        max_bytes: of the body of a request.
        max_pixels: of an image, read from its header before it is decoded.
        max_images: of a request.
        max_boxes: of an image.
        max_batch: images that share one run.
        max_queue: images that wait or are worked on; more are refused with 429.
        upload_s: seconds in which a body must have arrived.
        answer_s: seconds in which the people of a request must have been found, waiting included.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 25_000_000
    max_images: int = 16
    max_boxes: int = 200
    max_batch: int = 8
    max_queue: int = 64
    upload_s: float = 30.0
    answer_s: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise InputError(f"{field.name} must be positive, got {getattr(self, field.name)}")
        if self.max_images > self.max_queue:
            raise InputError(
                f"max_images={self.max_images} of one request do not fit into max_queue={self.max_queue}: no such request "
                f"would ever be answered"
            )
