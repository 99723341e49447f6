"""What is handed on: wheel, source distribution, citation, and the checks of both CIs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import cycada

ROOT = Path(__file__).resolve().parents[1]
PACKAGED = ("cycada", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def run(*words: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, check=False, capture_output=True, text=True,
        timeout=300, env={name: os.environ[name] for name in os.environ if name != "PYTHONPATH"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a source distribution and the wheel that was made of it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, tree / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tree / name)
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree, cwd=tree)
    return out


def test_the_wheel_holds_every_file_of_the_package_and_no_other(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        facts = Parser().parsestr(archive.read(_one(archive, "METADATA")).decode("utf-8"))
        commands = archive.read(_one(archive, "entry_points.txt")).decode("utf-8")
        assert archive.read(_one(archive, "LICENSE")) == (ROOT / "LICENSE").read_bytes()
    wanted = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "cycada").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert held == wanted
    assert facts["Version"] == cycada.__version__
    assert facts["Requires-Python"] == ">=3.10"
    assert "cycada = cycada.cli:main" in commands


def _one(archive: zipfile.ZipFile, name: str) -> str:
    (found,) = (each for each in archive.namelist() if each.endswith(f"/{name}"))
    return found


def test_the_source_distribution_can_be_read_by_who_gets_it_alone(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "setup.cfg", "pyproject.toml", "cycada/py.typed"} <= names


def test_the_wheel_is_imported_where_nothing_else_is_installed(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    target = tmp_path / "site"
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target",
        target, wheel, cwd=tmp_path,
    )  # fmt: skip
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import cycada; "
        "print(cycada.__version__, cycada.__file__)"
    )
    version, file = run(sys.executable, "-I", "-S", "-c", code, cwd=tmp_path).split(maxsplit=1)
    assert version == cycada.__version__
    assert Path(file.strip()) == target / "cycada" / "__init__.py"
    # With what it needs, its own data are there: the page is made of them.
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import cycada.report.page as page; "
        "print(page.__file__); print(page.render_page(page.Page(title='Whole', sections=())))"
    )
    told = run(sys.executable, "-c", code, cwd=tmp_path)
    assert told.startswith(str(target))
    assert "<title>Whole</title>" in told


def test_the_citation_names_this_version_and_the_paper() -> None:
    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"authors", "cff-version", "message", "title"} <= set(facts)  # what the format requires
    assert facts["version"] == cycada.__version__
    assert facts["license"] == "MIT"
    assert "CyCADA" in facts["references"][0]["title"]


def test_the_changelog_has_a_section_for_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"(?m)^## {re.escape(cycada.__version__)}\b", text)


def test_the_workflow_runs_the_script_that_everybody_can_run() -> None:
    flow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = flow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    floor = re.search(r"python_requires = >=(\S+)", (ROOT / "setup.cfg").read_text())
    assert floor is not None
    assert floor[1] in job["strategy"]["matrix"]["python"]


def test_every_hook_before_a_commit_is_a_check_of_the_script() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    checks = {line.removeprefix("check ") for line in script if line.startswith("check ")}
    (repository,) = hooks["repos"]
    assert {hook["entry"] for hook in repository["hooks"]} == checks
    assert all(hook["language"] == "system" for hook in repository["hooks"])
