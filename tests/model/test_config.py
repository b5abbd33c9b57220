import json
import math

import pytest

from gtpt.model.config import SIZES, GTPTConfig, make_config


def test_the_table_of_sizes():
    assert list(SIZES) == ["gtpt-t", "gtpt-s", "gtpt-b"]
    body, whole = make_config("gtpt-t"), make_config("gtpt-t", "coco_wholebody133")
    assert body.keep_counts() == (256, 179, 76, 25) and whole.keep_counts() == (256, 179, 128, 76)
    assert make_config("gtpt-t", "coco_feet23").keep_rates == whole.keep_rates != body.keep_rates  # any fine keypoints
    assert body.bins == (384, 512) and body.grid == (16, 16)
    assert (body.num_keypoints, body.num_parts, whole.num_keypoints, whole.num_parts) == (17, 0, 133, 5)
    assert [len(g.fine) for g in whole.groups] == [68, 42, 6]


@pytest.mark.parametrize("skeleton", ["coco17", "coco_wholebody133"])
def test_round_trip_through_json(skeleton):
    config = make_config("gtpt-b", skeleton, input_size=(288, 384), simcc_split=1.5)
    assert GTPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (200, 256)}, r"200x256.*multiples of 12 and 16"),
        ({"input_size": (192, -256)}, "192x-256.*multiples"),
        ({"input_size": (0, 256)}, "0x256.*multiples"),
        ({"input_size": (48, 512), "simcc_split": 0.03}, r"leaves \(1, 15\) bins"),
        ({"keep_rates": (1, 0.7, 0.3)}, "four numbers"),
        ({"keep_rates": (1, 0.7, 0.3, 0)}, r"in \(0, 1\]"),
        ({"keep_rates": (1.5, 0.7, 0.3, 0.1)}, r"in \(0, 1\]"),
        ({"keep_rates": (1, 0.3, 0.7, 0.1)}, "must not rise"),
        ({"keep_rates": (1, 0.7, 0.3, 0.003)}, r"keeps 0 of 256 patches.*use a rate of 0\.004 or more"),
        ({"stem": "resnet"}, "plain.*pyramid.*resnet"),
        ({"dim": 100}, "multiple of heads=8"),
        ({"dim": 6, "heads": 2}, "multiple of heads=2, and of 4"),
        ({"dim": 128.5}, "dim must be whole and at most 4096"),
        ({"dim": 4104}, "dim must be whole and at most 4096"),
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"dim": -8}, "dim must be at least 1, got -8"),
        ({"mlp_ratio": 0}, "mlp_ratio must be at least 1, got 0"),
        ({"patch": (0, 3)}, r"patch must be at least 1, got \(0, 3\)"),
        ({"patch": (4, 5)}, "192x256.*multiples of 20 and 16"),
        ({"coarse_layers": 5}, "coarse_layers=5 must be even"),
        ({"coarse_layers": 2}, "coarse_layers=2 must be even and at least 4"),
        ({"group_layers": 3}, "group_layers=3 must be even"),
        ({"group_layers": 0}, "group_layers=0 must be even and at least 2"),
        ({"simcc_split": 0}, "positive"),
        ({"simcc_split": "2"}, "positive"),
        ({"depth": 12}, r"unknown GTPTConfig fields \['depth'\]; known: \['name'"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_config("gtpt-t", **changes)


def test_keep_rates_have_three_forms():
    config = make_config("gtpt-t", keep_rates=(1, 0.8, 0.6, 0.5))
    assert config.choose_keep_rates(None) == (1, 0.8, 0.6, 0.5)
    assert config.choose_keep_rates("1,.6, .25,0.1") == config.choose_keep_rates([1, 0.6, 0.25, 0.1]) == (1, 0.6, 0.25, 0.1)
    assert config.choose_keep_rates("accurate") == make_config("gtpt-t").keep_rates
    for wrong in ("quick", "1,.5", "", "1,.5,x,.1", [1, 0.5], [None] * 4, 0.5):
        with pytest.raises(ValueError, match=r"four numbers.*'entire', 'accurate', 'balanced', 'fast'\], got"):
            config.choose_keep_rates(wrong)
    for wrong, message in (("1,.5,.6,.1", "must not rise"), ("1,.5,.4,nan", r"in \(0, 1\]"), ("1,.5,.4,0", r"in \(0, 1\]")):
        with pytest.raises(ValueError, match=message):
            config.choose_keep_rates(wrong)
    with pytest.raises(ValueError, match=r"has 68 fine keypoints and needs at least 69"):
        make_config("gtpt-t", "coco_wholebody133").choose_keep_rates("fast")


def test_b_needs_multiples_of_its_stride():
    assert make_config("gtpt-t", input_size=(180, 240)).grid == (15, 15)
    with pytest.raises(ValueError, match="multiples of 48 and 16"):
        make_config("gtpt-b", input_size=(180, 240))


def test_an_input_size_fits_stem_and_patches():
    """In B the stem divides by 16 and the patches by 4 times their sides: both must come out even."""
    with pytest.raises(ValueError, match=r"192x256.*multiples of 48 and 48"):
        make_config("gtpt-b", patch=(3, 3))
    assert make_config("gtpt-b", patch=(3, 3), input_size=(192, 288)).grid == (24, 16)
    assert make_config("gtpt-b", patch=(2, 2), input_size=(176, 208)).grid == (26, 22)
    wide = make_config("gtpt-t", patch=(3, 3), input_size=(180, 252), heads=1, mlp_ratio=1, simcc_split=0.5)
    assert (wide.grid, wide.num_patches, wide.bins) == ((21, 15), 315, (90, 126))


def test_fine_keypoints_need_room_beside_a_patch():
    """69 tokens for the 68 points of the face; the message names a rate that works."""
    with pytest.raises(ValueError, match=r"needs at least 69: use a rate of 0\.27 or more"):
        make_config("gtpt-t", "coco_wholebody133", keep_rates=(1, 0.7, 0.5, 0.25))
    make_config("gtpt-t", "coco_wholebody133", keep_rates=(1, 0.7, 0.5, 0.27))
    with pytest.raises(ValueError, match="no GTPT size 'gtpt-x'"):
        make_config("gtpt-x")


def test_suggested_rate_always_works():
    for patches_side in (4, 5, 7, 12, 16):
        size = (12 * patches_side, 16 * patches_side)
        for needed in range(1, patches_side**2):
            rate = math.ceil(1000 * needed / patches_side**2) / 1000
            if rate <= 1:
                assert make_config("gtpt-t", input_size=size, keep_rates=(1, 1, 1, rate)).keep_counts()[3] >= needed
