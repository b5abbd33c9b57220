"""Requests drawn from the server's own OpenAPI, valid ones and invalid ones: never an error of the server.

GTPT_FUZZ=10000 pytest tests/serve/test_openapi.py
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from gtpt import PoseEstimator
from gtpt.detect import WholeImage

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("fastapi")
from gtpt.serve import Limits, create_app  # noqa: E402

pytestmark = pytest.mark.integration

REQUESTS = int(os.environ.get("GTPT_FUZZ", "300"))
LIMITS = Limits(max_bytes=100_000, max_pixels=100_000, max_boxes=3, max_images=3)


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_whatever_the_openapi_allows_or_not_is_answered(mode: str) -> None:
    app = create_app(PoseEstimator(threads=1), WholeImage(), limits=LIMITS)
    operation = schemathesis.openapi.from_asgi("/openapi.json", app)["/v1/poses"]["POST"]
    documented = {200, *map(int, operation.definition.raw["responses"])}
    answers: Counter[int] = Counter()

    @settings(
        max_examples=REQUESTS // 2,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        database=None,
        derandomize=True,
    )
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
    def ask(case: schemathesis.Case) -> None:
        answer = case.call()
        answers[answer.status_code] += 1
        assert answer.status_code in documented and answer.status_code < 500, answer.content[:300]
        if answer.status_code >= 400:
            assert answer.json()["detail"], "it says what is wrong"

    ask()
    assert sum(answers.values()) >= REQUESTS // 2 - 1
    assert min(answers) == 200 if mode == "POSITIVE" else max(answers) >= 400
