"""Facial Action Units in infrared: unpaired RGB-to-thermal translation and domain adaptation.

The Python API is as small as the command line: :class:`cycada.Translator` and
:class:`cycada.ActionUnitDetector`. They are loaded when they are first named, and torch with them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cycada.api.detector import ActionUnitDetector
    from cycada.api.table import Detections
    from cycada.api.translator import ThermalImage, Translator

__version__ = "0.1.0"

__all__ = ["ActionUnitDetector", "Detections", "ThermalImage", "Translator", "__version__"]

_HOMES = {
    "ActionUnitDetector": "cycada.api.detector",
    "Detections": "cycada.api.table",
    "ThermalImage": "cycada.api.translator",
    "Translator": "cycada.api.translator",
}


if not TYPE_CHECKING:  # a name that is not there stays a fault for type checkers

    def __getattr__(name: str) -> Any:
        """Return a class of the API, loading it."""
        if name not in _HOMES:
            raise AttributeError(f"module 'cycada' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return what there is, loaded or not."""
    return sorted({*globals(), *_HOMES})
