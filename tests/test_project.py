"""What the public sees beside the code: workflows, the docs site, what a wheel and a source archive hold."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import gtpt

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
ADDRESS = re.search(r'^Repository = "(.+)"$', PROJECT, re.M)[1]
pytestmark = pytest.mark.skipif(not (ROOT / "mkdocs.yml").is_file(), reason="not a checkout")


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", "workflows/*.yml"),
        ("vendor.dependabot", "dependabot.yml"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/[!c]*.yml"),
    ],
)
def test_github_understands_our_files(schema, pattern):
    files = sorted(map(str, (ROOT / ".github").glob(pattern)))
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_workflows_cover_what_is_promised():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    classifiers = re.search(r'^requires-python = ">=3\.(\d+)"', PROJECT, re.M)
    matrix = jobs["test"]["strategy"]["matrix"]
    assert len(matrix["os"]) == 3 and matrix["python"][0] == f"3.{classifiers[1]}"
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    used = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / ".github/workflows/ci.yml").read_text()))
    assert used <= made


def test_the_address_stands_in_one_file():
    """It is not known yet: whoever learns it changes pyproject.toml."""
    assert set(re.findall(r"https://github\.com/gtpt[\w-]*/gtpt", PROJECT)) == {ADDRESS}
    listed = subprocess.run(["git", "grep", "-lF", ADDRESS], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert set(listed) <= {"pyproject.toml"}


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == gtpt.__version__
    assert f"## {gtpt.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "\nversion =" not in PROJECT, "the version stands in src/gtpt/__init__.py"


@pytest.mark.integration
def test_the_docs_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=_environment())
    assert done.returncode == 0, done.stderr + done.stdout
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert f"{ADDRESS}/blob/main/" in start and 'src="images/' in start
    assert "gtpt.PoseEstimator" in (tmp_path / "api/poses/index.html").read_text(encoding="utf-8")
    cards = (tmp_path / "cards/index.html").read_text(encoding="utf-8")
    for name in gtpt.weights.registry.load_registry():
        assert f'id="{name}"' in cards


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


@pytest.mark.integration
def test_the_wheel_holds_what_a_user_needs_offline(archives):
    with zipfile.ZipFile(archives[0]) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(n for n in names if n.endswith("METADATA"))).decode()
    for needed in (
        "gtpt/py.typed",
        "gtpt/web/site/index.html",
        "gtpt/web/site/js/engine.worker.js",
        "gtpt/weights/files/gtpt_t_coco17.onnx",
        "gtpt/weights/files/gtpt_t_coco17.safetensors",
        "gtpt/weights/files/gtpt_t_feet23.onnx",
    ):
        assert needed in names
    assert not [n for n in names if not n.startswith(("gtpt/", f"gtpt-{gtpt.__version__}.dist-info/"))]
    assert not [n for n in names if "__pycache__" in n or "/tests/" in n]
    body = metadata.partition("\n\n")[2]
    assert "](docs/" not in body and "](src/" not in body and f"{ADDRESS}/raw/main/docs/images/" in body
    assert archives[0].stat().st_size < 22e6


@pytest.mark.integration
def test_the_source_archive_can_be_tested(archives):
    with tarfile.open(archives[1]) as source:
        names = {n.partition("/")[2] for n in source.getnames()}
    for needed in ("tests/test_project.py", "Makefile", "LICENSE", "NOTICE", "README.md", "mkdocs.yml", "docs/guide.md"):
        assert needed in names
    assert not [n for n in names if n.startswith((".venv", "runs", "out", "dist"))]
