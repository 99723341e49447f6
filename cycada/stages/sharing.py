"""Hand a trained network on: a small run in a folder or on the Hugging Face Hub, with its card.

::

    config.json            settings without paths
    000100/about.json      what a user of the weights must know
    000100/*.safetensors   weights
    000100/SHA256SUMS
    README.md              the model card

It is a run without its training, so every verb reads it, and its weights have the same fingerprint.
"""

from __future__ import annotations

import dataclasses
import glob
import re
import shutil
import tempfile
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from cycada.data.subjects import DIGESTS_KEY, seen_digests
from cycada.errors import RunError, UsageError, reason
from cycada.files import sync, temporary_beside
from cycada.report.card import model_card
from cycada.settings import to_dict
from cycada.stages.model_facts import (
    CONFIGS,
    SHARED_KEY,
    WRONG_FACTS,
    card_of,
    facts_are_wrong,
    plain_json,
    shared_facts,
)
from cycada.training.checkpoint import read_json, write_for_use
from cycada.training.run_reading import (
    CONFIG_NAME,
    FOREIGN_KEY,
    TRAINED_WITH_KEY,
    Kind,
    finished_checkpoint,
    run_config,
    run_kind,
)

Loaded = TypeVar("Loaded")

CARD_NAME = "README.md"

_KEPT = (
    "step", "action_units", "classes", "landmarks", "channels", "source_domains", "window", "unit",
    "faces", "expected", "chosen_step", "validation", "thresholds", "calibration", "intensity",
    "kept", "judged", FOREIGN_KEY,
)  # fmt: skip
"""Facts about the weights that are handed on; no other may hold a name or a path unseen."""

_WORDS = ("none", "imagenet")  # of ``pretrained``, else a file

_PREFIX = "hf://"
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_FETCHED = (CONFIG_NAME, CARD_NAME, "*/about.json", "*/SHA256SUMS", "*/*.safetensors")


class Place(NamedTuple):
    """Where a network is, on this machine."""

    root: Path
    step: int


def located(given: str | Path, kind: Kind, *, revision: str | None = None) -> Place:
    """Return the run in a folder, or on the Hub, which is downloaded into its cache.

    Args:
        given: A folder; ``OWNER/NAME`` or ``hf://OWNER/NAME`` on the Hub.
        kind: What is needed.
        revision: Branch, tag or commit on the Hub.

    Raises:
        RunError: There is no finished run of this kind, or it cannot be fetched.
        UsageError: A revision of a folder.
    """
    path = Path(given)
    if path.is_dir():
        if revision is not None:
            raise UsageError(f"{path}: is a folder, which has no revision {revision}.")
        root = path
    else:
        root = _fetched(_hub_id(given), revision)
    run_config(root, kind, CONFIGS[kind])
    return Place(root, finished_checkpoint(root).step)


def opened(load: Callable[..., Loaded], place: Place, device: torch.device) -> Loaded:
    """Load a network; what a stranger's files lack or have wrong is an error in words.

    Raises:
        RunError: It cannot be used.
    """
    try:
        return load(place.root, device, step=place.step)
    except (*WRONG_FACTS, IndexError, RuntimeError) as error:
        raise RunError(
            f"{place.root}: holds no network that this version of cycada can use "
            f"({type(error).__name__}: {reason(error)})."
        ) from error


def save_model(
    root: Path, folder: Path, *, step: int, licence: str = "", subject_digests: bool = True,
    evaluations: Sequence[Path] = (), place: str = "",
) -> Path:  # fmt: skip
    """Write a network into a new folder, whole or not at all.

    Args:
        root: Run.
        folder: Must not hold anything.
        step: Of the checkpoint.
        licence: Of the weights.
        subject_digests: Hand on the digests of the subjects that it has learned from.
        evaluations: Folders of ``cycada evaluate``, beside those that are found.
        place: What the card says that ``from_pretrained`` is to be given; empty: the folder.

    Returns:
        The folder.

    Raises:
        RunError: The folder holds something or cannot be written, the run has gone, or an
            evaluation is of other weights.
    """
    if folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None):
        raise RunError(f"{folder}: is not empty; choose another folder.")
    kind = run_kind(root)
    config: Any = run_config(root, kind, CONFIGS[kind])
    checkpoint = finished_checkpoint(root, step=step)
    card = card_of(
        root, checkpoint, config, kind=kind, place=place or folder.name, licence=licence,
        evaluations=evaluations, digests=subject_digests,
    )  # fmt: skip
    facts = checkpoint.about()
    about = {name: facts[name] for name in _KEPT if name in facts}
    about[DIGESTS_KEY] = sorted(seen_digests(facts)) if subject_digests else []
    about[SHARED_KEY] = shared_facts(card)
    head = read_json(root / CONFIG_NAME)
    told: dict[str, Any] = {
        name: head[name] for name in ("kind", "version", "torch", TRAINED_WITH_KEY) if name in head
    }
    part = temporary_beside(folder)
    try:
        part.mkdir(parents=True)
        write_for_use(checkpoint, part, about=about)
        (part / CONFIG_NAME).write_text(
            plain_json({**told, "settings": _without_paths(config), "inputs": {}}), encoding="utf-8"
        )
        (part / CARD_NAME).write_text(model_card(card), encoding="utf-8")
        sync((part / CONFIG_NAME, part / CARD_NAME))
        part.replace(folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({reason(error)}).") from error
    except WRONG_FACTS as error:
        if SHARED_KEY not in facts:
            raise  # a fault of ours
        raise facts_are_wrong(checkpoint, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def publish(
    root: Path, repo_id: str, *, step: int, private: bool = True, licence: str = "",
    subject_digests: bool = True, evaluations: Sequence[Path] = (), message: str = "",
) -> str:  # fmt: skip
    """Put what :func:`save_model` writes on the Hugging Face Hub; return where.

    Raises:
        RunError: As :func:`save_model`; the Hub refuses, or cannot be reached; what is to be
            private is there and public.
        UsageError: ``repo_id`` is no name on the Hub.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415 - a second, for those who publish
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # noqa: PLC0415

    name = repo_id.removeprefix(_PREFIX)
    if not _HUB_ID.fullmatch(name):
        raise UsageError(f"{repo_id}: is no name on the Hugging Face Hub; expected OWNER/NAME.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_model(
            root, Path(temporary, "model"), step=step, licence=licence,
            subject_digests=subject_digests, evaluations=evaluations, place=name,
        )  # fmt: skip
        api = HfApi(library_name="cycada")
        try:
            api.create_repo(name, private=private, exist_ok=True)
            if private and not api.model_info(name).private:
                raise RunError(
                    f"{name}: is there already, and public; give private=False to publish, or "
                    "another name."
                )
            made = api.upload_folder(
                repo_id=name, folder_path=folder,
                delete_patterns=_stale(api.list_repo_files(name)),
                commit_message=message or "Share the network with its model card",
            )  # fmt: skip
        except (OSError, ValueError, HTTPError) as error:
            raise RunError(
                f"{name}: cannot be put on the Hugging Face Hub ({_told(error)}); log in with "
                "`hf auth login` as someone who may write there."
            ) from error
    return made.commit_url


def _stale(files: Iterable[str]) -> list[str]:
    """Return patterns of checkpoints of an earlier push, of which the highest step would be used.

    Folders of others whose names only begin with a digit stay.
    """
    return [glob.escape(file) for file in files if file.partition("/")[0].isdigit()]


def _hub_id(given: str | Path) -> str:
    """Return the name on the Hub that was meant.

    Raises:
        RunError: None was: a folder that is not there.
    """
    text = str(given)
    name = text.removeprefix(_PREFIX)
    owner = Path(text.partition("/")[0])
    if isinstance(given, Path) or not _HUB_ID.fullmatch(name):
        raise RunError(
            f"{text}: there is no such folder, and it is no name on the Hugging Face Hub, which "
            "are OWNER/NAME."
        )
    if name == text and owner.is_dir():  # a mistyped path must not fetch what a stranger called so
        raise RunError(
            f"{text}: there is no such folder in {owner}; if you mean a name on the Hugging Face "
            f"Hub, write {_PREFIX}{text}."
        )
    return name


def _fetched(name: str, revision: str | None) -> Path:
    """Download a run from the Hub, but no file of another kind than runs for use have."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - a second, for those who fetch
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # noqa: PLC0415
        EntryNotFoundError,
        HTTPError,
    )

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(_FETCHED), library_name="cycada"
            )
        )
    except (OSError, ValueError, EntryNotFoundError, HTTPError) as error:
        raise RunError(
            f"{name}: there is no such folder, and it cannot be fetched from the Hugging Face Hub "
            f"({_told(error)}). Check the name and the connection; for a private model, log in "
            "with `hf auth login`; or fetch it elsewhere and give its folder."
        ) from error


def _told(error: Exception) -> str:
    """Return what went wrong on the Hub, in a few words."""
    from huggingface_hub import errors  # noqa: PLC0415

    if isinstance(error, errors.GatedRepoError):
        return "its owner has to let you in first"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such model, or you may not see it"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "the Hub cannot be reached, and it was not fetched before"
    return reason(error)


def _without_paths(config: Any) -> dict[str, Any]:
    """Return settings without those that are free texts, which are paths."""
    hints = typing.get_type_hints(type(config))
    free: dict[str, Any] = {
        name: "" if hint is str else ()
        for name, hint in hints.items()
        if hint in (str, tuple[str, ...]) and getattr(config, name) not in _WORDS
    }
    return to_dict(dataclasses.replace(config, **free))
