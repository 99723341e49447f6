"""Weights that others have published: read without running code, fetched only when asked to.

A file of PyTorch may be a pickle, which names functions to call. Only plain tensors are taken out
of one; anything else is refused before it is called. This holds for the files in torch's cache,
too, which torchvision itself would unpickle with all that they name: on a shared machine others
may write there.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cycada.errors import CycadaError, DataError, reason

_HASH = re.compile(r"-([0-9a-f]{8,})\.")  # how torchvision names its files: the start of a SHA-256


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors from safetensors or from a state dict of PyTorch, without running code.

    Raises:
        DataError: The file is missing, damaged, or holds anything but named tensors.
    """
    try:
        found = read_state(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be loaded as PyTorch weights ({reason(error)}).") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a state dict, found {type(found).__name__}.")
    for name, value in found.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise DataError(
                f"{path}: expected a state dict of named tensors, found {type(value).__name__} as "
                f"{name!r}."
            )
    return found


def read_state(path: Path) -> Any:
    """Read a file of safetensors or PyTorch without running any code that it names.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is damaged, or names code; says which.
    """
    if path.suffix.lower() == ".safetensors":
        import safetensors.torch  # noqa: PLC0415 - only where it is needed

        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(reason(error)) from error
    try:
        with warnings.catch_warnings():  # of protocols that it does not read: they are refused
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever a broken file makes of the unpickler
        raise ValueError(_refusal(error)) from error


def downloaded(address: str, *, what: str, otherwise: str) -> Path:
    """Return the file in torch's cache that was downloaded from ``address`` before.

    Args:
        address: Where the weights are published.
        what: They are, for the error.
        otherwise: How to go on without them, for the error.

    Raises:
        DataError: It is not there; says how to get it.
    """
    file = _cached(address)
    if not file.is_file():
        raise DataError(
            f"{what} are not on this machine, and nothing is downloaded unasked: --download "
            f"fetches them from {address}; or put that file at {file}, or {otherwise}."
        )
    return file


def fetch(address: str) -> Path:
    """Download a file into torch's cache, unless it is there.

    Raises:
        CycadaError: It cannot be downloaded.
    """
    file = _cached(address)
    if file.is_file():
        return file
    named = _HASH.search(file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            address, str(file), hash_prefix=named and named[1], progress=False
        )
    except (OSError, RuntimeError) as error:  # of the network and the disk; another hash
        raise CycadaError(
            f"{address}: cannot be downloaded ({error}); fetch it elsewhere and put it at {file}."
        ) from error
    return file


def _cached(address: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / address.rpartition("/")[2]


def _refusal(error: Exception) -> str:
    """Return why a file was not read, without PyTorch's advice to read it all the same."""
    text = str(error)
    named = re.search(r"GLOBAL (\S+)", text) or re.search(
        r"Unsupported (?:global|class) (\S+)", text
    )
    if named:
        return (
            f"it is a pickle that names {named[1]}, which is no tensor; such a file can run any "
            "code, so it is not read. Get the weights as safetensors, or as a state dict of tensors"
        )
    if "Weights only load failed" in text:
        return (
            "it is no file of tensors, or a pickle that names something else, which could run any "
            "code; get the weights as safetensors, or as a state dict of tensors"
        )
    return reason(error)
