"""The network computes what the authors' code computes: recorded outputs of all six variants."""

import json

import numpy as np
import pytest
import torch

from gtpt.model.official import from_official_state

pytestmark = pytest.mark.integration
TOLERANCE = 2e-5
VARIANTS = [f"{size}_{data}" for data in ("coco", "wholebody") for size in "tsb"]


@pytest.fixture(scope="module", params=VARIANTS)
def recorded(request, golden, golden_rule, official_state):
    """State dict, input and recorded arrays of a variant."""
    arrays = np.load(golden / f"{request.param}.npz")
    meta = json.loads(str(arrays["meta"]))
    images = torch.from_numpy(golden_rule.make_input(meta["input_seed"], meta["batch"]))
    return official_state(request.param), images, arrays, meta.get("bin_step", 1)


def assert_logits(out, arrays, prefix, step):
    for axis, logits in (("x", out.x), ("y", out.y)):
        np.testing.assert_allclose(logits[..., ::step], arrays[f"{prefix}pred_{axis}"], rtol=0, atol=TOLERANCE)


def assert_kept(kept, arrays, prefix):
    """The same patches survive each prune, in each group."""
    assert set(kept) == {"coarse3", "entry", "group3"}
    np.testing.assert_array_equal(kept["coarse3"][0], arrays[f"{prefix}keep_coarse3"])
    for stage in ("entry", "group3"):
        assert len(kept[stage]) == 3
        for group, ids in enumerate(kept[stage]):
            name = f"{prefix}keep_{stage}"
            expected = arrays[name][:, group] if name in arrays else arrays[f"{name}_g{group}"]
            np.testing.assert_array_equal(ids, expected, err_msg=f"{stage}, group {group}")


@torch.inference_mode()
def test_all_variants_agree_with_the_authors_outputs(recorded):
    state, images, arrays, step = recorded
    for branch, prefix in (("ema", ""), ("live", "train_")):
        net = from_official_state(state, branch)
        out = net(images, return_kept=True)
        assert_logits(out, arrays, prefix, step)
        assert_kept(out.kept, arrays, prefix)
    out = net(images, "entire", return_kept=True)
    assert_logits(out, arrays, "train_entire_", step)
    for group, ids in enumerate(out.kept.get("entry", [])):  # whole-body: fine keypoints displace patches even here
        np.testing.assert_array_equal(ids, arrays[f"entire_keep_entry_g{group}"])
    assert ("entry" in out.kept) == ("entire_keep_entry_g0" in arrays)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_all_variants_stay_finite_in_half_precision(recorded, dtype):
    state, images, *_ = recorded
    assert all(torch.isfinite(axis).all() for axis in from_official_state(state).to(dtype)(images[:1].to(dtype)))
