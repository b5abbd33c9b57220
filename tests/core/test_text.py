"""JSON and YAML of strangers: plain data or one kind of error, in no time."""

import json

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gtpt.core.errors import GtptError, InputError, WeightsError
from gtpt.core.text import YAML_BYTES, parse_json, parse_yaml, read_yaml

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_data_comes_back(data):
    assert parse_json(json.dumps(data), "x") == data
    assert parse_yaml(yaml.safe_dump(data), "x") == data


@given(st.text(alphabet="[]{}:,-&*<!?|>'\"#%@` \n\t0123456789abnull.~e+", max_size=60) | st.binary(max_size=60))
@example("!!timestamp x")
@example("!!int ''")
@example("!!bool maybe")
@example("a: 1\na: 2")
@example("&a [*a]")
@example("? [1]\n: 2")
@example("2001-99-99")
@example("!!python/object/apply:os.getcwd []")
@example("1" * 5000)
def test_anything_else_is_one_kind_of_error(text):
    for parse in (parse_json, parse_yaml):
        try:
            parse(text, "x")
        except GtptError as error:
            assert str(error).startswith("x is not ")


def test_an_empty_file_holds_nothing():
    assert parse_yaml("", "x") is parse_yaml("# nothing yet\n", "x") is None


def test_dates_are_texts():
    assert parse_yaml("day: 2024-01-31", "x") == {"day": "2024-01-31"}


def test_anchors_and_merges_work():
    text = "usual: &usual {lr: 1, clip: 2}\nmine: {<<: *usual, lr: 3}\nagain: *usual"
    assert parse_yaml(text, "x")["mine"] == {"lr": 3, "clip": 2}


BOMBS = {
    "aliases": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
    "merges": "a0: &a0 {x0: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12)),
    "inside itself": "&a [*a]",
    "flow depth": "[" * 20_000,
    "block depth": "".join("  " * i + "a:\n" for i in range(300)),
    "depth of keys": "{" * 20_000,
    "length": "a" * YAML_BYTES + "a",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_yaml_bombs_do_not_go_off(text, tmp_path):
    """Without the limits this takes minutes and gigabytes."""
    (tmp_path / "bomb.yaml").write_text(text)
    with pytest.raises(InputError, match=r"bomb\.yaml (is not YAML|has more than 256 kB)"):
        read_yaml(tmp_path / "bomb.yaml")


def test_a_key_twice_is_no_silent_loss():
    with pytest.raises(InputError, match=r"the key 'nose' is there twice in one mapping, line 2"):
        parse_yaml("keypoints:\n  nose: 0.1\n  ear: 0.1\n  nose: 0.2", "x")
    with pytest.raises(WeightsError, match=r"header is not JSON: the key 'a' is there twice"):
        parse_json('{"a": 1, "a": 2}', "header", WeightsError, strict=True)
    assert parse_json('{"a": 1, "b": {"a": 2}}', "x", strict=True) == {"a": 1, "b": {"a": 2}}
    assert parse_json('{"a": 1, "a": 2}', "x") == {"a": 2}


def test_json_bombs():
    for text in ("[" * 200_000, '{"a":' * 200_000, "9" * 5000):
        with pytest.raises(InputError, match="x is not JSON"):
            parse_json(text, "x")
