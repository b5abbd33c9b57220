"""Skeletons: the built-in ones against the data sets' constants, own files, and errors that name the problem."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtpt.core.skeleton import KeypointGroup, Skeleton, builtin_skeletons, load_skeleton
from gtpt.core.skeleton_file import DEFAULT_SIGMA

SKELETONS = {"body": "coco17", "wholebody": "coco_wholebody133"}


@pytest.fixture(scope="module")
def ops(golden):
    with np.load(golden / "ops.npz") as arrays:
        return dict(arrays)


@pytest.mark.integration
@pytest.mark.parametrize("kind", SKELETONS)
def test_constants_are_those_of_the_data_set(ops, kind):
    skeleton = load_skeleton(SKELETONS[kind])
    np.testing.assert_allclose(skeleton.sigmas, ops[f"sigmas_{kind}"], atol=1e-12)
    assert {frozenset(p) for p in skeleton.flip_pairs} == {frozenset(p) for p in ops[f"flip_pairs_{kind}"].tolist()}
    assert set(range(len(skeleton))) - set(skeleton.lower_body) == set(ops[f"upper_ids_{kind}"].tolist())


def test_wholebody_has_the_official_groups_parts_and_order():
    body, whole = load_skeleton("coco17"), load_skeleton("coco_wholebody133")
    assert whole.keypoints[:17] == body.keypoints
    assert [g.keypoints for g in whole.groups] == [tuple(range(5)), tuple(range(5, 11)), tuple(range(11, 17))]
    assert [g.keypoints for g in body.groups] == [g.keypoints for g in whole.groups]
    assert [len(g.fine) for g in whole.groups] == [68, 42, 6]
    starts = {part: (indices[0], len(indices)) for part, indices in whole.parts.items()}
    assert starts == {"body": (0, 17), "foot": (17, 6), "face": (23, 68), "left_hand": (91, 21), "right_hand": (112, 21)}
    assert sorted(i for indices in whole.parts.values() for i in indices) == list(range(133))
    assert [whole.part_of(i) for i in (0, 17, 20, 30, 91, 132)] == [
        *(None, "left_foot", "right_foot", "face", "left_hand", "right_hand")
    ]


def test_feet_are_the_first_23_of_wholebody():
    feet, whole = load_skeleton("coco_feet23"), load_skeleton("coco_wholebody133")
    assert feet.keypoints == whole.keypoints[:23] and feet.lower_body == whole.lower_body
    np.testing.assert_array_equal(feet.sigmas, whole.sigmas[:23])
    assert feet.edges == tuple(edge for edge in whole.edges if max(edge) < 23)
    assert feet.parts == {part: whole.parts[part] for part in ("body", "foot")}
    assert feet.groups[2] == whole.groups[2] and not feet.groups[0].fine


@pytest.mark.parametrize("name", [*SKELETONS.values(), "coco_feet23"])
def test_flip_index_is_its_own_inverse_and_swaps_sides(name):
    skeleton = load_skeleton(name)
    flip = skeleton.flip_index
    np.testing.assert_array_equal(flip[flip], np.arange(len(skeleton)))
    sides = [(k, skeleton.keypoints[flip[i]]) for i, k in enumerate(skeleton.keypoints) if k.startswith("left_")]
    assert sides and all(left.replace("left_", "right_") == right for left, right in sides)
    assert all(0 <= i < len(skeleton) for edge in skeleton.edges for i in edge)


@pytest.mark.parametrize("name", SKELETONS.values())
def test_dict_round_trip(name):
    skeleton = load_skeleton(name)
    assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton != load_skeleton("coco_feet23")


@pytest.mark.parametrize(
    "change",
    [
        {"keypoints": {"right": 0.1, "left": 0.1}},
        {"groups": {"b": {"keypoints": ["right"]}, "a": {"keypoints": ["left"]}}},
        {"keypoints": {"left": 0.1, "right": 0.2}},
    ],
)
def test_order_counts(change):
    form = {
        "name": "hands",
        "keypoints": {"left": 0.1, "right": 0.1},
        "groups": {"a": {"keypoints": ["left"]}, "b": {"keypoints": ["right"]}},
    }
    assert Skeleton.from_dict(form) == Skeleton.from_dict(form) != Skeleton.from_dict(form | change)


def test_without_mirror_pairs_it_is_another():
    paired = Skeleton.from_dict({"name": "hands", "keypoints": ["left", "right"]})
    assert replace(paired, flip_pairs=()) != paired == replace(paired, flip_pairs=((1, 0),))


@st.composite
def skeletons(draw):
    names = draw(st.lists(st.from_regex(r"(left_|right_)?[a-z]{1,3}", fullmatch=True), min_size=1, unique=True))
    name = st.sampled_from(names)
    cut = draw(st.integers(1, len(names)))
    free = [n for n in names if not n.startswith(("left_", "right_"))]
    return {
        "name": "drawn",
        "keypoints": {n: draw(st.floats(0.001, 0.2)) for n in names},
        "edges": draw(st.lists(st.lists(name, min_size=2, max_size=4), max_size=3)),
        "flip_pairs": [free[i : i + 2] for i in range(0, len(free) - 1, 2)],
        "groups": {"a": {"keypoints": names[:cut], **({"parts": {"tail": names[cut:]}} if names[cut:] else {})}},
        "lower_body": draw(st.lists(name, unique=True)),
        "parts": {"some": draw(st.lists(name, min_size=1, unique=True))},
    }


@settings(max_examples=30, deadline=None)
@given(skeletons())
def test_dict_round_trip_of_any_skeleton(data):
    skeleton = Skeleton.from_dict(data)
    again = Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict())))
    assert again == skeleton
    assert again.flip_pairs == skeleton.flip_pairs and again.edges == skeleton.edges
    np.testing.assert_array_equal(skeleton.flip_index[skeleton.flip_index], np.arange(len(skeleton)))


def test_short_file_gets_defaults_and_mirror_pairs(tmp_path):
    path = tmp_path / "bird.yaml"
    path.write_text("name: bird\nkeypoints: [beak, left_wing, right_wing]\nedges: [[left_wing, beak, right_wing]]\n")
    bird = load_skeleton(path)
    assert bird.sigmas.tolist() == [DEFAULT_SIGMA] * 3
    assert bird.flip_pairs == ((1, 2),) and bird.edges == ((1, 0), (0, 2))
    assert bird.groups == (KeypointGroup("all", (0, 1, 2)),)
    assert load_skeleton(bird) is bird


def test_changed_file_is_read_again(tmp_path):
    path = tmp_path / "worm.yaml"
    for second, names in enumerate(["[head]", "[head, tail]"], start=1):
        path.write_text(f"name: worm\nkeypoints: {names}\n")
        os.utime(path, (second, second))
        assert len(load_skeleton(str(path))) == second


def test_from_coco_category():
    category = {"name": "stick", "keypoints": ["top", "left_end", "right_end"], "skeleton": [[1, 2], [1, 3]]}
    stick = Skeleton.from_coco_category(category)
    assert stick.edges == ((0, 1), (0, 2)) and stick.flip_pairs == ((1, 2),)
    with pytest.raises(ValueError, match=r"'dog' has no 'keypoints'"):
        Skeleton.from_coco_category({"name": "dog"})
    with pytest.raises(ValueError, match=r"'dog' has no 'keypoints' list of names"):
        Skeleton.from_coco_category({"name": "dog", "keypoints": "nose"})
    for edges in (*([[1, 2], edge] for edge in ([0, 1], [1, 4], [1], [1, 2, 3], 5, [1, "2"], None)), 5):
        with pytest.raises(
            ValueError, match=r"COCO category 'stick': .* the edge .*from 1 to 3: COCO counts keypoints from 1"
        ):
            Skeleton.from_coco_category({**category, "skeleton": edges})
    assert Skeleton.from_coco_category({**category, "skeleton": None}).edges == ()


def test_lookup_by_name():
    body = load_skeleton("coco17")
    assert body.index("left_knee") == 13
    with pytest.raises(ValueError, match=r"'coco17': no keypoint 'tail'; known: \['nose'"):
        body.index("tail")


def test_unknown_skeleton_names_the_known_ones(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"'coco18': give a YAML file or one of \['coco17', 'coco_feet23', 'coco_wholebody133'\]"
    ):
        load_skeleton("coco18")
    assert set(SKELETONS.values()) <= set(builtin_skeletons())
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [unclosed")
    with pytest.raises(ValueError, match=r"broken\.yaml is not YAML"):
        load_skeleton(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": ["a", "b", "a"]}, r"must be unique, twice: \['a'\]"),
        ({"keypoints": []}, "has no keypoints"),
        ({"keypoints": {"a": 0.1, "b": -1}}, "sigmas must be 2 positive numbers"),
        ({"bones": []}, r"unknown keys \['bones'\]; allowed: "),
        ({"edges": [["a", "z"]]}, r"no keypoint 'z'; known: \['a', 'b', 'left_c', 'right_c'\]"),
        ({"parts": {"all": "z*"}}, r"no keypoint matches 'z\*'"),
        ({"flip_pairs": [["a"]]}, r"a flip pair is two keypoint names, got \['a'\]"),
        ({"flip_pairs": [["a", "b"], ["a", "left_c"]]}, r"one flip pair only, twice: "),
        ({"groups": {"g": {"keypoints": ["a", "b"]}}}, r"exactly one group, not so: \['left_c', 'right_c'\]"),
        (
            {"groups": {"g": {"keypoints": ["a", "b"]}, "h": {"parts": {"c": "*_c"}}}},
            r"group 'h' needs at least one coarse keypoint",
        ),
        ({"keypoints": "abc"}, r"keypoints: must be a list of names or a mapping of names to sigmas, got 'abc'"),
        ({"keypoints": None}, r"keypoints: must be a list of names or .*, got None"),
        ({"keypoints": ["a", None]}, r"keypoints: must be names, None "),
        ({"keypoints": ["a", True]}, r"keypoints: must be names, True .*needs quotes"),
        ({"keypoints": [["a"]]}, r"keypoints: must be names, \['a'\] "),
        ({"keypoints": {"a": None}}, r"keypoints\.a: must be a number, the OKS sigma, got None"),
        ({"keypoints": {"a": "wide"}}, r"keypoints\.a: must be a number, the OKS sigma, got 'wide'"),
        ({"keypoints": {"a": float("nan")}}, "sigmas must be 1 positive numbers"),
        ({"keypoints": {True: 0.1}}, r"keypoints\..*: must be a name; .*quotes in YAML, got True"),
        ({"name": None}, "name: must be a name; .*, got None"),
        ({"edges": [1]}, r"edges\.0: must be a list, got 1"),
        ({"edges": 5}, r"edges: must be a list, got 5"),
        ({"edges": ["a", "b"]}, r"edges are lists of two keypoint names or more, got \['a'\]"),
        ({"edges": [["a", 1.5]]}, r"edges\.0\.1: must be a name; .*, got 1\.5"),
        ({"edges": [["a", 7]]}, r"no keypoint '7'; known"),
        ({"groups": [{"keypoints": ["a"]}]}, r"groups: must be a mapping, got \[\{'keypoints'"),
        ({"groups": {"g": ["a", "b"]}}, r"groups\.g: must be a mapping with 'keypoints' and 'parts', got \['a', 'b'\]"),
        ({"groups": {"g": {"keypoint": ["a"]}}}, r"groups\.g\.keypoint: is no key here; allowed: 'keypoints', 'parts'"),
        ({"groups": {"g": {"keypoints": ["*"], "parts": {"p": []}}}}, r"part 'p' of group 'g' has no keypoints"),
        ({"flip_pairs": [3]}, r"flip_pairs\.0: must be a list, got 3"),
        ({"lower_body": {"a": 1}}, r"lower_body: must be a list, got \{'a': 1\}"),
        ({"parts": ["a"]}, r"parts: must be a mapping, got \['a'\]"),
        ({"parts": {"some": []}}, r"part 'some' has no keypoints; name some or leave it out"),
        ({1: 2}, r"unknown keys \['1'\]"),
    ],
)
def test_errors_name_the_problem(change, message):
    data = {"name": "mine", "keypoints": ["a", "b", "left_c", "right_c"]} | change
    with pytest.raises(ValueError, match=message) as error:
        Skeleton.from_dict(data, "mine.yaml")
    assert str(error.value).startswith("mine.yaml: ")


def test_empty_entries_and_numbers_are_fine():
    """As YAML has them: `edges:` is null, `keypoints: [1, 2]` are numbers."""
    data = {"name": 3, "keypoints": [1, 2], "edges": [[1, 2]], "lower_body": "2", "parts": {"all": "*"}}
    numbers = Skeleton.from_dict(data)
    assert (numbers.name, numbers.keypoints, numbers.edges, numbers.lower_body) == ("3", ("1", "2"), ((0, 1),), (1,))
    assert numbers.parts == {"all": (0, 1)}
    stars = Skeleton.from_dict({"name": "sky", "keypoints": ["a*", "ab"], "edges": [["a*", "ab"]]})
    assert stars.edges == ((0, 1),)  # a name, not a pattern
    assert Skeleton.from_dict(
        dict.fromkeys(["edges", "flip_pairs", "groups", "lower_body", "parts"])
        | {"name": "3", "keypoints": {1: "0.05", "2": 0.05}}
    ) == Skeleton("3", ("1", "2"), np.full(2, 0.05))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": ()}, "has no keypoints"),
        ({"keypoints": ("a", "a")}, r"keypoint names must be unique, twice: \['a'\]"),
        ({"sigmas": (0.05, 0)}, "sigmas must be 2 positive numbers"),
        ({"sigmas": 0.05}, "sigmas must be 2 positive numbers"),
        ({"edges": ((0, 2),)}, "edges: no keypoint 2, allowed are the indices 0 to 1"),
        ({"edges": ((0, -1),)}, "edges: no keypoint -1"),
        ({"edges": ((0,),)}, r"edges must be pairs of indices, got \(0,\)"),
        ({"flip_pairs": ((0, 5),)}, "flip_pairs: no keypoint 5"),
        ({"lower_body": (2,)}, "lower_body: no keypoint 2"),
        ({"lower_body": ("a",)}, "lower_body: no keypoint 'a'"),
        ({"parts": {"p": (0, 9)}}, "part 'p': no keypoint 9"),
        ({"parts": {"p": ()}}, "part 'p' has no keypoints"),
        ({"groups": (KeypointGroup("g", (0, 1, 2)),)}, "group 'g': no keypoint 2"),
        ({"groups": (KeypointGroup("g", (0,), (("p", (3,)),)),)}, "part 'p' of group 'g': no keypoint 3"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=f"skeleton 'two':? {message}"):
        Skeleton(**{"name": "two", "keypoints": ("a", "b"), "sigmas": np.full(2, 0.05)} | change)


def test_errors_of_a_file_name_it(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nkeypoints: {a: 0.1, b: -1}\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: skeleton 'mine': sigmas must be 2 positive numbers"):
        load_skeleton(path)


def test_missing_keys_and_other_types_are_named():
    with pytest.raises(ValueError, match=r"mine\.yaml: missing keys \['name'\]"):
        Skeleton.from_dict({"keypoints": ["a"]}, "mine.yaml")
    with pytest.raises(ValueError, match=r"mine\.yaml: .*got list"):
        Skeleton.from_dict(["a"], "mine.yaml")


def test_importing_gtpt_does_not_import_pydantic():
    """It is loaded with the first skeleton that is read."""
    code = "import sys, gtpt; print('pydantic' in sys.modules); gtpt.load_skeleton('coco17')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_ear", "right_ear"),
        ("ear_left", "ear_right"),
        ("Left Ear", "Right Ear"),
        ("L_ear", "R_ear"),
        ("leftEar", "rightEar"),
        ("l_ear", "r_ear"),
        ("LEar", "REar"),
        ("earL", "earR"),
        ("ear.l", "ear.r"),
        ("EAR-LEFT", "EAR-RIGHT"),
        ("leftear", "rightear"),
        ("ear left 2", "ear right 2"),
        ("paw_L_front", "paw_R_front"),
        ("L1", "R1"),
        ("ear_left", "right_ear"),
        ("l_ear", "ear_right"),
        ("左 left", "左 right"),
        ("左目", "右目"),
        ("linkes Auge", "rechtes Auge"),
        ("ojo_izquierdo", "ojo_derecho"),
        ("ojo izq", "ojo der"),
        ("Левый глаз", "Правый глаз"),
    ],
)
def test_left_and_right_by_any_name(left, right):
    """Alone, and beside other keypoints in both orders."""
    for names in ([left, right], ["nose", right, "tail", left], [left, "left_knee", right, "right_knee"]):
        skeleton = Skeleton.from_coco_category({"name": "animal", "keypoints": names})
        a, b = names.index(left), names.index(right)
        assert skeleton.flip_index[a] == b and skeleton.flip_index[b] == a
        assert not skeleton.unpaired and Skeleton.from_dict(skeleton.to_dict()) == skeleton


def test_names_that_are_no_pair():
    """No guess where a partner is missing or there are two; names that look sided are told."""
    names = ["nose", "left_ear", "l_eye", "R_paw", "tail", "right_hip", "hip_right", "hip_left", "left_right_axis", "l"]
    joined = ["leftfin1", "rightfin2", "leftwing", "righttoe"]
    skeleton = Skeleton.from_coco_category({"name": "animal", "keypoints": names + joined})
    assert skeleton.flip_pairs == ((7, 6),)
    assert skeleton.unpaired == ("left_ear", "l_eye", "R_paw", "right_hip", *joined)
    listed = Skeleton.from_dict({"name": "x", "keypoints": ["l_eye", "r_i"], "flip_pairs": [["l_eye", "r_i"]]})
    assert not listed.unpaired and listed.flip_index.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("left", "right"), [("lshoulder", "rshoulder"), ("lf_paw", "rf_paw"), ("paw_fl", "paw_fr"), ("LSHO", "RSHO")]
)
def test_one_letter_is_no_pair_but_told(left, right):
    skeleton = Skeleton.from_coco_category({"name": "animal", "keypoints": [left, "nose", "tail", right, "lamp"]})
    assert not skeleton.flip_pairs and skeleton.unpaired == (left, right)


def test_skeletons_that_would_take_for_ever():
    """50,000 keypoints, or patterns that are matched with each of them."""
    names = [f"k{i}" for i in range(50_000)]
    for keypoints in (names, dict.fromkeys(names, 0.1)):
        with pytest.raises(ValueError, match=r"50,000 keypoints, allowed are 1,000"):
            Skeleton.from_dict({"name": "big", "keypoints": keypoints})
    with pytest.raises(ValueError, match=r"50,000 keypoints, allowed are 1,000"):
        Skeleton("big", tuple(names), np.full(50_000, 0.1))
    many = [["k*", "k*"]] * 20_000
    with pytest.raises(ValueError, match="flip pair"):
        Skeleton.from_dict({"name": "big", "keypoints": names[:1000], "flip_pairs": many})


def test_a_name_twice_in_a_file(tmp_path):
    (tmp_path / "twice.yaml").write_text("name: x\nkeypoints:\n  nose: 0.1\n  ear: 0.1\n  nose: 0.2\n")
    with pytest.raises(ValueError, match=r"twice\.yaml is not YAML: the key 'nose' is there twice"):
        load_skeleton(tmp_path / "twice.yaml")


def test_a_shared_skeleton_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load_skeleton("coco17").sigmas[0] = 1
