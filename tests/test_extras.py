"""What an installation without an extra does: it says which one to install, and the rest works."""

from __future__ import annotations

import configparser
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from PIL import Image

from cycada.cli import main
from cycada.stages.doctor import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
FOR_DEVELOPERS = {"test", "dev", "docs"}


class Given(NamedTuple):
    """What the commands can be given."""

    faces: Path  # an index
    detector: Path  # a run
    translator: Path  # a run
    folder: Path  # the test's own


def _file(given: Given, name: str, content: bytes = b"") -> str:
    (given.folder / name).write_bytes(content)
    return str(given.folder / name)


def _radiometric(given: Given) -> str:
    """Return a JPEG with a segment in which FLIR's cameras keep their file."""
    shown = io.BytesIO()
    Image.new("RGB", (8, 8)).save(shown, "jpeg")
    body = b"FLIR\0\x01\0\0FFF\0".ljust(80, b"\0")
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    jpeg = shown.getvalue()
    return _file(given, "a.jpg", jpeg[:2] + segment + jpeg[2:])


def _cropping(given: Given, how: str) -> list[str]:
    return ["index", "--rgb", str(given.faces / "rgb"), "--crop", how, "--out", _out(given)]


def _out(given: Given, name: str = "out") -> str:
    return str(given.folder / name)


class Case(NamedTuple):
    """A command that needs a package of an extra."""

    extra: str
    module: str  # what the package is imported as
    words: Callable[[Given], list[str]]


CASES = (
    Case("faces", "dlib", lambda given: _cropping(given, "dlib")),
    Case("yunet", "cv2", lambda given: _cropping(given, _file(given, "a.onnx"))),
    Case("tflite", "ai_edge_litert", lambda given: _cropping(given, _file(given, "a.tflite"))),
    Case(
        "cptv", "cptv",
        lambda given: ["convert", _file(given, "a.cptv"), "--out", _out(given)],
    ),
    Case("flir", "flyr", lambda given: ["convert", _radiometric(given), "--out", _out(given)]),
    Case(
        "video", "av",
        lambda given: ["detect", str(given.detector), _file(given, "a.mp4"), "--domain", "rgb",
                       "--out", _out(given)],
    ),
    *(
        Case(
            "onnx", module,
            lambda given: ["export", str(given.translator), "--out", _out(given, "a.onnx")],
        )
        for module in ("onnx", "onnxruntime", "onnxscript")
    ),
    Case(
        "sheet", "matplotlib",
        lambda given: ["sheet", str(given.faces), "--out", _out(given, "a.png")],
    ),
    *(
        Case(
            "sheet", module,
            lambda given: ["sheet", str(given.faces), "--out", _out(given, "a.mp4")],
        )
        for module in ("av", "cv2")
    ),
    *(
        Case(
            "view", module,
            lambda given: ["view", str(given.faces), "--port", "0", "--no-browser",
                           "--device", "cpu"],
        )
        for module in ("starlette", "uvicorn")
    ),
    Case(
        "webdataset", "webdataset",
        lambda given: ["translate", str(given.translator), _file(given, "a.tar"), "--out",
                       _out(given)],
    ),
)  # fmt: skip
"""At least one for each package of each extra."""


def _extras() -> set[str]:
    """Return the extras of setup.cfg that users install and that bring packages themselves."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    found = set()
    for name, listed in setup["options.extras_require"].items():
        lines = [line for line in listed.splitlines() if line and line[0] != "#"]
        if name not in FOR_DEVELOPERS and any(Requirement(line).name != "cycada" for line in lines):
            found.add(name)
    return found


def test_every_package_of_every_extra_has_a_command_that_needs_it() -> None:
    """Who adds an extra adds a line to ``CASES``."""
    assert {case.extra for case in CASES} == _extras()
    for extra in EXTRAS:
        needed = {case.module for case in CASES if case.extra == extra.name}
        assert needed == set(extra.packages.values()), extra.name


@pytest.mark.parametrize("case", CASES, ids=[f"{case.extra}-{case.module}" for case in CASES])
def test_without_an_extra_its_verb_is_one_sentence_with_the_command_that_installs_it(
    case: Case, faces: Path, detector_run: Path, translator_run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    words = case.words(Given(faces, detector_run, translator_run, tmp_path))
    before = sorted(tmp_path.rglob("*"))
    for name in [name for name in sys.modules if name.startswith(f"{case.module}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, case.module, None)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith(f": pip install 'cycada[{case.extra}]'.\n")
    assert result.stderr.count("\n") == 1
    assert f"package {case.module} " in result.stderr or f"package {case.module}:" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


BARE = """
import importlib, json, pkgutil, sys
from importlib.machinery import PathFinder

absent, server, out = set(sys.argv[1].split()), set(sys.argv[2].split()), sys.argv[3]


class Bare(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.partition(".")[0] in absent:
            return None
        return PathFinder.find_spec(fullname, path, target)


sys.meta_path[:] = [Bare if each is PathFinder else each for each in sys.meta_path]

from cycada.cli import VERBS, main

for words in (["--help"], *([verb, "--help"] for verb in VERBS)):
    main(words, standalone_mode=False)

import cycada

for each in pkgutil.walk_packages(cycada.__path__, "cycada."):
    if each.name not in {"cycada.__main__", *server}:
        importlib.import_module(each.name)

from pathlib import Path
from cycada.progress import Progress
from cycada.stages import demo
from cycada.stages.demo_jobs import Plan
from cycada.stages.report import report

plan = Plan(
    20, 1, translator_steps=6, plain_steps=1, detector_steps=2, pixel_steps=1, feature_steps=1,
    alignment_steps=1, teaching_steps=1, ceiling_steps=1, wide=False,
)
quiet = Progress(shown=False)
wanted = {
    "phantom", "structure", "translator", "translated", "evaluation/structure",
    "evaluation/translator",
}
out = Path(out)
for job in demo._jobs(out, plan, size=16, seed=0):
    if job.name in wanted:
        wanted.remove(job.name)
        job.act(progress=quiet)
        assert job.done(), job.name
assert not wanted, wanted
report([out], out / "report.html", title="bare", count=4, progress=quiet)
found = absent & {name.partition(".")[0] for name, each in sys.modules.items() if each}
sys.exit(f"imported {sorted(found)}" if found else 0)
"""

SERVER = ("cycada.stages.view_guard", "cycada.stages.view_server")


def test_without_any_extra_the_demo_works_and_every_verb_explains_itself(tmp_path: Path) -> None:
    """The demo's ways from faces to the page; all modules but the server's can be imported."""
    absent = {module for extra in EXTRAS for module in extra.packages.values()}
    done = subprocess.run(
        [sys.executable, "-c", BARE, " ".join(absent), " ".join(SERVER), str(tmp_path / "demo")],
        check=False, capture_output=True, text=True, timeout=900, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "<html" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
