"""The form of a skeleton file, checked by pydantic; imported when a file is read, so that `import gtpt` stays light."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from gtpt.core.errors import InputError

DEFAULT_SIGMA = 0.05  # between a COCO wrist (0.062) and an elbow of a small animal; stated in docs/skeletons.md

EXPECTED = {  # pydantic's error types in words that name what is allowed
    "string_type": "must be a name; a word such as yes or 1.5 needs quotes in YAML",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping with 'keypoints' and 'parts'",
    "float_type": "must be a number, the OKS sigma",
    "float_parsing": "must be a number, the OKS sigma",
    "extra_forbidden": "is no key here; allowed: 'keypoints', 'parts'",
}

SHOWN = 10  # problems in one message


def _as_name(value: Any) -> Any:
    """Numbers may be names: `keypoints: [1, 2, 3]`."""
    return str(value) if type(value) is int else value


def _as_list(value: Any) -> Any:
    """One name or pattern may stand for a list of one."""
    return [value] if isinstance(value, str) else value


def _or_empty(kind: type) -> BeforeValidator:
    """An empty entry of a YAML file is null."""
    return BeforeValidator(lambda value: kind() if value is None else value)


def _with_sigmas(value: Any) -> Any:
    """A bare list of names gets sigmas by default."""
    if not isinstance(value, (list, tuple)):
        if not isinstance(value, Mapping):
            raise InputError("must be a list of names or a mapping of names to sigmas")
        return value
    names = [_as_name(name) for name in value]
    if odd := [name for name in names if not isinstance(name, str)]:
        raise InputError(f"must be names, {odd[0]!r} {EXPECTED['string_type'].partition('; ')[2]}")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise InputError(f"keypoint names must be unique, twice: {twice}")
    return dict.fromkeys(names, DEFAULT_SIGMA)


Name = Annotated[str, BeforeValidator(_as_name)]
Names = Annotated[list[Name], BeforeValidator(_as_list), _or_empty(list)]
Parts = Annotated[dict[Name, Names], _or_empty(dict)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupForm(_Strict):
    keypoints: Names = []
    parts: Parts = {}


class SkeletonForm(_Strict):
    """What a file may hold; names are looked up by `Skeleton.from_dict`."""

    name: Name
    keypoints: Annotated[dict[Name, float], BeforeValidator(_with_sigmas)]
    edges: Annotated[list[Names], _or_empty(list)] = []
    flip_pairs: Annotated[list[Names], _or_empty(list)] = []
    groups: Annotated[dict[Name, GroupForm], _or_empty(dict)] = {}
    lower_body: Names = []
    parts: Parts = {}


def read_form(data: Any, source: str) -> SkeletonForm:
    """The content of a skeleton file; ValueError names the file, the key, the value and what is allowed."""
    if not isinstance(data, Mapping):
        raise InputError(f"{source}: a skeleton must be a mapping with 'name' and 'keypoints', got {type(data).__name__}")
    allowed = set(SkeletonForm.model_fields)
    if unknown := sorted(map(str, set(data) - allowed)):
        raise InputError(f"{source}: unknown keys {unknown}; allowed: {sorted(allowed)}")
    if missing := sorted({"name", "keypoints"} - set(data)):
        raise InputError(f"{source}: missing keys {missing}")
    try:
        return SkeletonForm.model_validate(dict(data))
    except ValidationError as error:
        problems = error.errors()
        shown = [f"{source}: {_explain(problem)}" for problem in problems[:SHOWN]]
        if len(problems) > SHOWN:
            shown.append(f"{source}: and {len(problems) - SHOWN} more")
        raise InputError("\n".join(shown)) from None


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    if problem["type"] == "value_error":
        return f"{where}: {problem['ctx']['error']}, got {problem['input']!r:.60}"
    return f"{where}: {EXPECTED.get(problem['type'], problem['msg'])}, got {problem['input']!r:.60}"
