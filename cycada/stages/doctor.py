"""What is installed, what it runs on, and what is missing for which verb.

Nothing here but the standard library is imported before it is tried: an installation that is
broken is to be told of, not to break this as well.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

import cycada
from cycada.errors import reason

State = Literal["installed", "missing", "broken", "too old"]

REQUIRED: Mapping[str, str] = {
    "torch": "torch", "torchvision": "torchvision", "accelerate": "accelerate", "kornia": "kornia",
    "lpips": "lpips", "safetensors": "safetensors", "numpy": "numpy", "scipy": "scipy",
    "pillow": "PIL", "psutil": "psutil", "click": "click", "jinja2": "jinja2", "tqdm": "tqdm",
    "tensorboard": "tensorboard", "huggingface-hub": "huggingface_hub",
    **({"tomli": "tomli"} if sys.version_info < (3, 11) else {}),
}  # fmt: skip
"""Packages that every installation has, and what they are imported as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """An extra of this package."""

    name: str
    packages: Mapping[str, str]  # and what they are imported as
    brings: str  # what is done with it
    verbs: tuple[str, ...]  # that do it
    needed: tuple[str, ...] = ()  # verbs that do nothing without it


_FACES = ("index", "detect", "monitor")
_RECORDINGS = ("convert", *_FACES, "sheet")

EXTRAS = (
    Extra(
        name="faces", packages={"dlib-bin": "dlib"}, brings="faces found in RGB frames",
        verbs=(*_FACES, "view"),
    ),
    Extra(
        name="yunet", packages={"opencv-python-headless": "cv2"},
        brings="faces, eyes and mouths found by YuNet", verbs=_FACES,
    ),
    Extra(
        name="tflite", packages={"ai-edge-litert": "ai_edge_litert"},
        brings="faces found by a detector in TFLite", verbs=_FACES,
    ),
    Extra(name="cptv", packages={"cptv": "cptv"}, brings="CPTV recordings", verbs=_RECORDINGS),
    Extra(
        name="flir", packages={"flyr": "flyr"}, brings="FLIR's radiometric JPEGs",
        verbs=_RECORDINGS,
    ),
    Extra(
        name="video", packages={"av": "av"}, brings="videos, read and written", verbs=_RECORDINGS
    ),
    Extra(
        name="onnx",
        packages={"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
        brings="exports to ONNX, and the engine that runs them",
        verbs=("export", "translate", "detect"),
    ),
    Extra(
        name="sheet",
        packages={"matplotlib": "matplotlib", "opencv-python-headless": "cv2", "av": "av"},
        brings="sheets and videos for papers and talks", verbs=("sheet",), needed=("sheet",),
    ),
    Extra(
        name="view", packages={"starlette": "starlette", "uvicorn": "uvicorn"},
        brings="the server", verbs=("view",), needed=("view",),
    ),
    Extra(
        name="webdataset", packages={"webdataset": "webdataset"},
        brings="WebDataset shards, read and written", verbs=("translate",),
    ),
)  # fmt: skip
"""What is not installed unless asked for. ``camera`` is ``cptv``, ``flir`` and ``video``."""

_FOLDERS = re.compile(
    # Addresses are no folders; names of folders may hold spaces.
    r"""(?<![\w/\\])(?:file:/*|(?:~[\w.-]*|\.{1,2}|[A-Za-z]:)?(?!(?<=:)//)[/\\]{1,2})"""
    r"""(?:[^/\\\n:;,'"]+[/\\]+)*"""
)
_SMALL = 256 << 20  # bytes of shared memory in which a loader's images may not have room
_GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package of this installation."""

    name: str
    state: State
    version: str = ""
    why: str = ""  # it is not as it should be


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundExtra:
    """Whether an extra is there."""

    name: str
    state: State
    brings: str
    verbs: tuple[str, ...]
    install: str  # the command
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found; no name of a person, a machine or a folder unless asked for."""

    cycada: str
    python: str
    system: str
    packages: tuple[Package, ...]
    devices: Mapping[str, Any]
    space: Mapping[str, Any]
    extras: tuple[FoundExtra, ...]
    verbs: Mapping[str, tuple[str, ...]]  # what each lacks
    broken: tuple[str, ...]  # sentences; none if the installation is whole
    notes: tuple[str, ...]  # sentences about what is no fault but may surprise
    folders: Mapping[str, str]  # empty unless asked for
    seconds: float

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(asdict(self), indent=1)


def examine(verbs: Sequence[str], *, folders: bool = False) -> Diagnosis:
    """Look at this installation and this machine; nothing is written or fetched.

    Args:
        verbs: All that there are.
        folders: Also name the folders of the installation and the cache.
    """
    began = time.monotonic()
    floors = _floors()
    notes = [] if floors else [_UNCHECKED]
    packages = tuple(_package(name, module, floors) for name, module in REQUIRED.items())
    extras = tuple(_extra(extra, floors) for extra in EXTRAS)
    wrong = [each for each in packages if each.state != "installed"]
    broken = [
        f"{each.name} {_IS[each.state]}{f' ({each.why})' if each.why else ''}." for each in wrong
    ]
    if wrong:
        names = " ".join(each.name for each in wrong)
        broken.append(
            f"The installation is broken: pip install --upgrade --force-reinstall {names}"
        )
    notes += _video_notes(extras)
    devices, told = _devices()
    notes += told
    try:
        space, told = _space()
    except Exception as error:  # noqa: BLE001 - whatever an odd place raises
        space, told = {}, [f"The disks cannot be asked for room ({_plain(error)})."]
    notes += told
    lacking = {
        verb: tuple(
            f"{extra.brings}{' (all it does)' if verb in known.needed else ''}: {extra.install}"
            for extra, known in zip(extras, EXTRAS, strict=True)
            if verb in extra.verbs and extra.state != "installed"
        )
        for verb in verbs
    }
    return Diagnosis(
        cycada=cycada.__version__,
        python=f"{platform.python_version()} ({platform.python_implementation()})",
        system=_system(),
        packages=packages, devices=devices, space=space, extras=extras, verbs=lacking,
        broken=tuple(broken), notes=tuple(notes),
        folders=_folders() if folders else {},
        seconds=round(time.monotonic() - began, 1),
    )  # fmt: skip


_IS: Mapping[State, str] = {
    "missing": "is missing", "broken": "cannot be imported", "too old": "is too old",
    "installed": "is installed",
}  # fmt: skip


_UNCHECKED = (
    "This copy of cycada was not installed, so whether its packages are new enough is not checked."
)


def _floors() -> Mapping[str, Any]:
    """Return the versions that are needed, by package; empty if this installation tells none."""
    try:
        from packaging.requirements import Requirement  # noqa: PLC0415 - may be what is missing

        own = metadata.distribution("cycada")
        here = Path(cycada.__file__).resolve().parent
        places = [Path(str(own.locate_file("cycada"))).resolve()]
        direct = json.loads(own.read_text("direct_url.json") or "{}")
        if direct.get("dir_info", {}).get("editable"):
            clone = url2pathname(urlsplit(direct["url"]).path)
            places.append(Path(clone).resolve() / "cycada")
        if here not in places:  # another copy's, which was installed before
            return {}
        needs = [Requirement(text) for text in own.requires or ()]
    except (ImportError, OSError, ValueError, KeyError):
        return {}
    return {each.name: each.specifier for each in needs if each.specifier}


_NO_H264 = (
    "This PyAV cannot write H.264 (libx264), so `detect --overlay` and `sheet` write no MP4: "
    "pip install --force-reinstall av"
)


def _video_notes(extras: Sequence[FoundExtra]) -> list[str]:
    """Tell whether the libraries of FFmpeg that PyAV brings can write what we write."""
    if not any(each.name == "video" and each.state == "installed" for each in extras):
        return []
    import av  # noqa: PLC0415 - it was imported a moment ago

    if "libx264" in av.codecs_available:
        return []
    return [_NO_H264]


def _package(name: str, module: str, floors: Mapping[str, Any]) -> Package:
    """Try to import a package, and compare its version."""
    version = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version(name)
    try:
        with _quiet():
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == module:
            return Package(name=name, state="missing")
        return Package(name=name, state="broken", version=version, why=_plain(error))
    except Exception as error:  # noqa: BLE001 - whatever a broken package raises
        return Package(name=name, state="broken", version=version, why=_plain(error))
    if version and name in floors and not floors[name].contains(version, prereleases=True):
        why = f"{version}, where {floors[name]} is needed"
        return Package(name=name, state="too old", version=version, why=why)
    return Package(name=name, state="installed", version=version)


def _extra(extra: Extra, floors: Mapping[str, Any]) -> FoundExtra:
    packages = tuple(_package(name, module, floors) for name, module in extra.packages.items())
    worst: State = next((each.state for each in packages if each.state != "installed"), "installed")
    return FoundExtra(
        name=extra.name, state=worst, brings=extra.brings, verbs=extra.verbs, packages=packages,
        install=f"pip install 'cycada[{extra.name}]'",
    )  # fmt: skip


def _devices() -> tuple[dict[str, Any], list[str]]:
    """Return what is there to compute on, in words and GB, and what may surprise."""
    found: dict[str, Any] = {"processor": platform.processor() or platform.machine()}
    notes: list[str] = []
    with contextlib.suppress(Exception):  # told of among the packages
        import psutil  # noqa: PLC0415

        memory = psutil.virtual_memory()
        found |= {
            "memory_gb": _gb(memory.total), "memory_free_gb": _gb(memory.available),
        }  # fmt: skip
    try:
        with _quiet():
            import torch  # noqa: PLC0415

            from cycada.training.launch import multiplies_in_bf16  # noqa: PLC0415
            from cycada.training.machine import cores, processor  # noqa: PLC0415

            found |= {
                "processor": processor(), "cores": cores(), "threads": torch.get_num_threads(),
                "cuda": torch.version.cuda, "gpus": _gpus(torch), "bf16": multiplies_in_bf16(),
            }  # fmt: skip
            if torch.version.cuda and not found["gpus"]:
                notes.append(
                    f"PyTorch is built for CUDA {torch.version.cuda} and finds no GPU. If there is "
                    "one, its driver is missing or older than that (nvidia-smi tells)."
                )
            if not found["bf16"]:
                notes.append(
                    "Nothing here multiplies in bfloat16, so all is computed in float32: the demo "
                    "may take an hour."
                )
    except Exception as error:  # noqa: BLE001 - whatever a broken package raises
        notes.append(f"PyTorch cannot be asked for devices ({_plain(error)}).")
    return found, notes


def _gpus(torch: Any) -> list[dict[str, Any]]:
    found = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(number)
        gpu = {
            "name": facts.name, "memory_gb": _gb(facts.total_memory),
            "capability": f"{facts.major}.{facts.minor}",
        }  # fmt: skip
        with contextlib.suppress(RuntimeError):  # one that is full, or kept by another process
            gpu["memory_free_gb"] = _gb(torch.cuda.mem_get_info(number)[0])
        found.append(gpu)
    return found


def _space() -> tuple[dict[str, Any], list[str]]:
    """Return how much room there is where weights are kept and where the user is, in GB."""
    cache = _cache()
    files = [file for file in _files(cache / "checkpoints") if os.path.isfile(file)]  # noqa: PTH113
    found: dict[str, Any] = {
        "cache_free_gb": _free(cache),
        "cache_used_gb": _gb(sum(file.stat().st_size for file in files)),
        "cache_files": len(files),
        "cache_writable": os.access(_existing(cache), os.W_OK),
        "here_free_gb": _free(Path()),
    }
    notes = []
    if not found["cache_writable"]:
        notes.append(
            "The folder for downloaded weights cannot be written to, so --download fails; set "
            "TORCH_HOME to one that can."
        )
    shared = Path("/dev/shm")  # noqa: S108 - asked for its size
    if shared.is_dir() and shutil.disk_usage(shared).total < _SMALL:
        notes.append(
            "Shared memory is small, as in a container, so processes that decode images may die: "
            "give the container more (docker run --shm-size 2g), or set workers=0."
        )
    return found, notes


def _cache() -> Path:
    """Return the folder of downloaded weights, as torch has it, without torch."""
    home = os.environ.get("TORCH_HOME")
    usual = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    # Path.expanduser raises where nobody tells the home.
    return Path(os.path.expanduser(home or f"{usual}/torch"), "hub")  # noqa: PTH111


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _existing(path: Path) -> Path:
    """Return the nearest folder that is there."""
    # Path.exists raises below a folder that may not be entered.
    places = (path, *path.absolute().parents)
    return next(each for each in places if os.path.exists(each))  # noqa: PTH110


def _free(path: Path) -> float:
    return _gb(shutil.disk_usage(_existing(path)).free)


def _folders() -> dict[str, str]:
    return {
        "python": sys.executable, "cycada": str(Path(cycada.__file__).parent),
        "cache": str(_cache()),
    }  # fmt: skip


def _system() -> str:
    return f"{platform.system()} {platform.machine()}"


def _gb(count: float) -> float:
    return round(count / _GB, 1)


def _plain(error: BaseException) -> str:
    """Return what is wrong, without the folders of this machine."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    for folder in _own_folders():  # whole ones, before what is too long is cut off
        text = text.replace(folder, "")
    return _FOLDERS.sub("", reason(Exception(text)))


def _own_folders() -> list[str]:
    """Return folders of this machine that messages may name, the longest first."""
    package = Path(cycada.__file__).parent
    found = {os.path.expanduser("~"), sys.prefix, sys.base_prefix, str(_cache())}  # noqa: PTH111
    found |= {str(package), str(package.parent)}
    with contextlib.suppress(OSError):  # it may have gone
        found.add(str(Path.cwd()))
    return sorted((each for each in found if len(each) > 1), key=len, reverse=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what packages print and warn of, when they are imported, out of the answer."""
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
