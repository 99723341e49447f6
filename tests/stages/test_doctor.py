"""What `cycada doctor` says, of this installation and of broken ones."""

from __future__ import annotations

import configparser
import getpass
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from click.testing import CliRunner
from packaging.requirements import Requirement

from cycada.cli import VERBS, main
from cycada.stages import doctor

ROOT = Path(__file__).resolve().parents[2]
UNLOADABLE = (
    'raise ImportError("/home/alice/lib/libtorch_cpu.so: cannot open shared object file")\n'
)


def told(*words: str) -> Any:
    return CliRunner().invoke(main, ["doctor", *words])


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    """Return a folder whose modules come before those that are installed; torch does not load."""
    folder = tmp_path / "shadow"
    folder.mkdir()
    (folder / "torch.py").write_text(UNLOADABLE)
    return folder


def told_apart(*folders: Path, words: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Return what a process says that finds modules in some folders first."""
    return subprocess.run(
        [sys.executable, "-m", "cycada", "doctor", *words], check=False, text=True, timeout=120,
        capture_output=True, cwd=folders[0],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))},
    )  # fmt: skip


def of_setup(section: str, key: str) -> list[Requirement]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = [line for line in setup[section][key].splitlines() if line and line[0] != "#"]
    return [Requirement(line) for line in lines]


def test_all_that_is_needed_is_looked_at() -> None:
    needed = {
        each.name for each in of_setup("options", "install_requires")
        if each.marker is None or each.marker.evaluate()
    }  # fmt: skip
    assert set(doctor.REQUIRED) == needed


def test_every_extra_is_known_with_all_of_its_packages() -> None:
    """Who adds an extra adds it to ``EXTRAS`` in cycada/stages/doctor.py."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    names = set(setup["options.extras_require"]) - {"camera", "docs", "test", "dev"}
    assert {extra.name for extra in doctor.EXTRAS} == names
    for extra in doctor.EXTRAS:
        pending, packages = of_setup("options.extras_require", extra.name), set()
        for each in pending:
            if each.name == "cycada":  # one that brings others
                for other in each.extras:
                    pending += of_setup("options.extras_require", other)
            else:
                packages.add(each.name)
        assert set(extra.packages) == packages, extra.name
        assert {*extra.verbs, *extra.needed} <= set(VERBS)


def test_versions_are_those_that_are_installed_and_a_whole_installation_ends_with_0() -> None:
    found = told("--json")
    assert found.exit_code == 0
    facts = json.loads(found.output)
    assert facts["broken"] == []
    assert {each["name"]: each["version"] for each in facts["packages"]} == {
        name: metadata.version(name) for name in doctor.REQUIRED
    }
    assert list(facts["verbs"]) == list(VERBS)
    assert facts["devices"]["memory_gb"] == round(psutil.virtual_memory().total / 1e9, 1)
    plain = told()
    assert plain.exit_code == 0
    assert f"torch {torch.__version__.partition('+')[0]}" in plain.output
    assert plain.output.splitlines()[-1] == "The installation is whole."


def test_no_folder_and_no_name_is_told_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "alice" / "weights"))
    monkeypatch.setenv("USER", "alice")
    private = ("alice", os.uname().nodename, str(tmp_path), sys.prefix, str(ROOT))
    for output in (told().output, told("--json").output):
        assert not [word for word in private if word in output]
        assert not re.search(r"(?<![\w.:])/\w+/", output)
        assert getpass.getuser() not in output.split()
    assert str(tmp_path / "alice" / "weights" / "hub") in told("--paths").output


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("/home/Jane Doe/lib/a.so: cannot open", "a.so: cannot open"),
        ("no `/home/Jane Doe/lib/a.so`", "no `a.so`"),
        ("error:/home/Jane Doe/a.so", "error:a.so"),
        ("at file:///home/Jane Doe/a.so", "at a.so"),
        ("at ../Jane Doe/a.so", "at a.so"),
        ("a|/home/Jane Doe/a.so", "a|a.so"),
        ("in C:\\Users\\Jane Doe\\a.dll", "in a.dll"),
        ("see https://a.org/b", "see https://a.org/b"),
        ("HOME", ""),
        (f"{'x' * 190} HOME/a.so", f"{'x' * 190} a.so"),
    ],
)
def test_reasons_lose_the_folders_of_this_machine(
    said: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/Jane van Doe")
    found = doctor._plain(ImportError(said.replace("HOME", "/home/Jane van Doe")))
    assert found == (left or "Exception")


def test_a_missing_extra_is_told_with_its_command_and_the_verbs_that_want_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("starlette", "dlib"):
        monkeypatch.setitem(sys.modules, name, None)
    found = told("--json")
    assert found.exit_code == 0
    verbs = json.loads(found.output)["verbs"]
    server = "the server (all it does): pip install 'cycada[view]'"
    faces = "faces found in RGB frames: pip install 'cycada[faces]'"
    assert verbs["view"] == [faces, server]
    assert verbs["index"] == verbs["detect"] == verbs["monitor"] == [faces]
    assert verbs["demo"] == verbs["train-detector"] == []
    lines = told().output.splitlines()
    assert f"  view without {server}" in lines
    assert re.search(r"(?m)^  view +missing +the server$", "\n".join(lines))
    assert re.search(r"(?m)^  sheet +yes ", "\n".join(lines))


def test_a_library_that_cannot_be_loaded_breaks_the_installation_not_the_answer(
    shadow: Path,
) -> None:
    found = told_apart(shadow, ROOT)
    assert found.returncode == 1
    assert found.stderr == ""
    assert "torch cannot be imported (libtorch_cpu.so: cannot open shared object" in found.stdout
    assert "alice" not in found.stdout
    assert "pip install --upgrade --force-reinstall torch " in found.stdout.splitlines()[-1]
    assert f"numpy {metadata.version('numpy')}" in found.stdout
    facts = json.loads(told_apart(shadow, ROOT, words=("--json",)).stdout)
    states = {each["name"]: each["state"] for each in facts["packages"]}
    assert states["torch"] == states["torchvision"] == "broken"
    assert states["numpy"] == "installed"


def test_a_package_that_is_too_old_is_told_by_the_versions_that_the_wheel_asks_for(
    shadow: Path,
) -> None:
    facts = shadow / "cycada-9.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: cycada\nVersion: 9\n"
        "Requires-Dist: numpy>=99\nRequires-Dist: pillow>=1\n"
    )
    # Beside a package that it does not belong to, it tells nothing.
    unchecked = told_apart(shadow, ROOT)
    assert "numpy is too old" not in unchecked.stdout
    assert "was not installed" in unchecked.stdout
    (shadow / "cycada").symlink_to(ROOT / "cycada")
    found = told_apart(shadow)
    assert f"numpy is too old ({metadata.version('numpy')}, where >=99 is needed)." in found.stdout
    assert "pillow is too old" not in found.stdout
    assert "was not installed" not in found.stdout
    assert found.returncode == 1


def test_what_was_downloaded_is_counted_where_torch_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert doctor._cache() == Path(torch.hub.get_dir())
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("a.pth", "b.pth"):
        with (folder / name).open("wb") as stream:
            stream.truncate(350_000_000)
    space = json.loads(told("--json").output)["space"]
    assert (space["cache_files"], space["cache_used_gb"]) == (2, 0.7)
    assert space["cache_writable"]


def test_a_place_that_cannot_be_looked_at_is_a_note_and_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    def homeless(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("TORCH_HOME", "~/nowhere")
    with monkeypatch.context() as patched:  # as pathlib does below a folder of others
        patched.setattr(Path, "exists", refuse)
        patched.setattr(Path, "is_file", refuse)
        patched.setattr(Path, "expanduser", homeless)
        assert doctor._space()[0]["here_free_gb"] > 0
    monkeypatch.setattr(doctor.shutil, "disk_usage", refuse)
    found = doctor.examine(list(VERBS))
    assert found.space == {}
    assert "The disks cannot be asked for room (Permission denied)." in found.notes
    assert told().exit_code == 0


def test_gpus_are_listed_with_their_memory_and_a_full_one_without_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No GPU here: the facts that torch gives of two are put in its place."""

    def free(number: int) -> tuple[int, int]:
        if number:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 70_000_000_000, 85_000_000_000

    facts = SimpleNamespace(name="NVIDIA H100", total_memory=85_000_000_000, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    lines = told().output.splitlines()
    card = "  NVIDIA H100, compute capability 9.0, 85.0 GB"
    assert card in lines
    assert f"{card}, 70.0 GB free" in lines
    assert "  no GPU" not in lines


def test_a_pyav_without_h264_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    told_of = "This PyAV cannot write H.264"
    assert told_of not in told().output
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    assert told_of in told().output
