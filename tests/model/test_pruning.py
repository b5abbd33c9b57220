import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from gtpt.model.pruning import patch_scores, take, top_patches


def test_score_is_softmax_pooling():
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    scores = patch_scores(logits)
    for person in range(2):
        for patch in range(5):
            a = logits[person, :, :, patch].flatten().numpy()
            weights = np.exp(a) / np.exp(a).sum()
            assert abs(scores[person, patch].item() - (weights * a).sum()) < 1e-6


def test_one_interested_keypoint_is_enough():
    """Pooling is closer to a maximum than to a mean: a patch that one keypoint wants beats one that all find lukewarm."""
    logits = torch.zeros(1, 8, 17, 2)
    logits[..., 0] = 1.0
    logits[0, 3, 5, 1] = 12.0
    scores = patch_scores(logits)
    assert scores[0, 1] > scores[0, 0] and logits[..., 1].mean() < logits[..., 0].mean()


@given(st.integers(1, 4), st.integers(1, 30), st.data())
def test_the_best_stay(batch, patches, data):
    keep = data.draw(st.integers(1, patches))
    scores = torch.randperm(batch * patches).view(batch, patches).float()
    index = top_patches(scores, keep)
    assert index.shape == (batch, keep)
    kept, dropped = scores.gather(1, index), scores.scatter(1, index, -1)
    assert (kept.min(dim=1).values > dropped.max(dim=1).values).all()
    tokens = torch.randn(batch, patches, 3)
    for person in range(batch):
        assert torch.equal(take(tokens, index)[person], tokens[person, index[person]])


def test_half_precision_logits_are_pooled_in_float32():
    logits = torch.randn(1, 8, 17, 50) * 20
    exact, half = patch_scores(logits.bfloat16().float()), patch_scores(logits.bfloat16())
    assert half.dtype == torch.float32 and torch.equal(exact, half)
