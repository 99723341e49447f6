"""What a training is watched by while it goes on: TensorBoard, and others that Accelerate knows.

What they get is in ``metrics.jsonl`` and ``samples/`` already. So a tracker that fails ends no
training, and TensorBoard's files are written anew from those whenever a training goes on: each
step is in them once, whatever became of the process before.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import threading
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator
from accelerate.tracking import (
    LOGGER_TYPE_TO_CLASS,
    GeneralTracker,
    TensorBoardTracker,
    get_available_trackers,
)
from accelerate.utils import LoggerType

from cycada import image_reading
from cycada.config import DEFAULT_TRACKERS
from cycada.errors import ConfigError, CycadaError, DataError, RunError, UsageError, reason
from cycada.training.checkpoint import cannot_be_written

FOLDER = "tensorboard"
"""Of a run, for TensorBoard's event files."""

_EVENTS = "events.out.tfevents.*"
_PROJECT = "cycada"  # what the others file their runs under
_PACKAGES = {"comet_ml": "comet-ml"}  # to install, where it is not the name
_TIMES = frozenset({"step", "seconds"})

_log = logging.getLogger(__name__)


def chosen_trackers(names: Sequence[str], root: Path) -> list[str | GeneralTracker]:
    """Return what Accelerate is to log with.

    TensorBoard, where nothing else was asked for, may be missing: :meth:`Trackers.begin` tells so.

    Args:
        names: As in the settings.
        root: Run directory.

    Raises:
        ConfigError: Accelerate knows no such tracker.
        UsageError: Its package is not installed.
    """
    packaged = {str(each) for each in LoggerType}  # others were registered by who has them
    installed = {str(each) for each in get_available_trackers()}
    if importlib.util.find_spec("tensorboard") is None:
        installed.discard("tensorboard")  # Accelerate takes tensorboardX for it
    chosen: list[str | GeneralTracker] = []
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ConfigError(
                f"trackers: Accelerate knows no {name!r}; it knows "
                f"{', '.join(sorted(LOGGER_TYPE_TO_CLASS))}."
            )
        if name in packaged and name not in installed:
            if tuple(names) != DEFAULT_TRACKERS:
                raise UsageError(f"trackers: {name} is not installed: {_command(name)}.")
            continue
        # Accelerate would give all trackers one name, which is a folder's to one and a project's
        # to another.
        chosen.append(TensorBoardTracker(FOLDER, str(root)) if name == "tensorboard" else name)
    return chosen


def _command(name: str) -> str:
    return f"pip install {_PACKAGES.get(name, name)}"


def sharable_settings(config: Any) -> dict[str, Any]:
    """Return the numbers and choices among settings, by dotted name.

    Texts are left out: they are paths, which may name people.
    """
    return dict(_sharable(config, ""))


def _sharable(config: Any, prefix: str) -> Iterable[tuple[str, Any]]:
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value, kind = getattr(config, item.name), hints[item.name]
        if dataclasses.is_dataclass(value):
            yield from _sharable(value, f"{prefix}{item.name}.")
        elif kind in (int, float, bool) or typing.get_origin(kind) is Literal:
            yield prefix + item.name, value


class Trackers:
    """Those of the Accelerator of a run; the process that writes alone has them."""

    def __init__(self, accelerator: Accelerator, root: Path, *, kind: str, config: Any) -> None:
        """Take what is to be told; nothing is begun yet.

        Args:
            accelerator: Made with :func:`chosen_trackers`.
            root: Run directory.
            kind: What is trained; figures are filed under it.
            config: Settings of the training.
        """
        self._accelerator, self._root, self._kind, self._config = accelerator, root, kind, config
        self._before: Any = None
        self._told = False

    def begin(
        self, lines: Iterable[Mapping[str, float]], samples: Iterable[tuple[int, Path]]
    ) -> None:
        """Begin, or begin again where a training has gone back to a checkpoint.

        Args:
            lines: Of ``metrics.jsonl``, which TensorBoard gets; the others have had them.
            samples: The grids so far, by step; likewise.

        Raises:
            RunError: One does not start.
        """
        self.finish()
        if not self._accelerator.log_with:
            self._tell_of_missing()
            return
        self._hush()
        try:
            self._forget_events()
            self._accelerator.init_trackers(_PROJECT)
        except Exception as error:
            self._accelerator.trackers.clear()
            if isinstance(error, CycadaError):
                raise
            if isinstance(error, OSError) and self._root in Path(error.filename or "").parents:
                raise cannot_be_written(self._root / FOLDER, reason(error)) from error
            names = ", ".join(self._config.trackers)
            raise RunError(f"trackers: {names}: cannot be started ({reason(error)}).") from error
        self._each(self._tell_settings)
        for line in lines:
            self._each(partial(self._log, line=line), _is_local)
        for step, file in samples:
            self.show(step, file, only=_is_local)

    def log(self, line: Mapping[str, float]) -> None:
        """Take a line of ``metrics.jsonl``."""
        self._each(partial(self._log, line=line))

    def show(
        self, step: int, file: Path, *, only: Callable[[GeneralTracker], bool] | None = None
    ) -> None:
        """Take the grid of sample translations of a step.

        It shows faces: what may be a server elsewhere gets it where the settings say so alone.
        """
        if only is None and not self._config.share_samples:
            only = _is_local
        try:
            size = image_reading.read_size(file)
        except DataError as error:
            _log.warning("%s It is left out of what trackers show.", error)
            return
        self._each(
            partial(_show, name=f"{self._kind}/samples", file=file, size=size, step=step), only
        )

    def finish(self) -> None:
        """End them; they have got all."""
        self._each(lambda tracker: tracker.finish())
        self._accelerator.trackers.clear()
        if self._before is not None:
            threading.excepthook, self._before = self._before, None

    def _log(self, tracker: GeneralTracker, line: Mapping[str, float]) -> None:
        figures = {
            f"{self._kind}/{name}": value for name, value in line.items() if name not in _TIMES
        }
        when = {"walltime": line.get("seconds")} if _is_local(tracker) else {}
        tracker.log(figures, step=line["step"], **when)

    def _tell_settings(self, tracker: GeneralTracker) -> None:
        settings = sharable_settings(self._config)
        if not _is_local(tracker):
            tracker.store_init_configuration(settings)
            return
        # Accelerate's way makes another run in TensorBoard, of hyperparameters alone.
        rows = "".join(f"| {name} | {value} |\n" for name, value in settings.items())
        table = f"| setting | value |\n|---|---|\n{rows}"
        tracker.tracker.add_text(f"{self._kind}/settings", table, global_step=0)

    def _each(
        self,
        act: Callable[[GeneralTracker], None],
        only: Callable[[GeneralTracker], bool] | None = None,
    ) -> None:
        """Do it with each tracker; one that fails is given up with a word."""
        for tracker in tuple(self._accelerator.trackers):
            if only is not None and not only(tracker):
                continue
            try:
                act(tracker)
            except Exception as error:  # noqa: BLE001  # of any library, and no reason to stop
                self._accelerator.trackers.remove(tracker)
                _log.warning(
                    "%s: the tracker %s has failed (%s), and is told nothing more; the training "
                    "goes on.", self._root, tracker.name, reason(error),
                )  # fmt: skip

    def _tell_of_missing(self) -> None:
        if self._config.trackers and not self._told:
            _log.warning(
                "%s: tensorboard is not installed, so that nothing but this and metrics.jsonl "
                "tells how the training goes: %s; or set trackers=[].",
                self._root, _command("tensorboard"),
            )  # fmt: skip
        self._told = True

    def _forget_events(self) -> None:
        if not any(isinstance(each, TensorBoardTracker) for each in self._accelerator.log_with):
            return
        folder = self._root / FOLDER
        if folder.is_symlink():
            raise RunError(
                f"{folder}: is a link, and nothing is written through links in a run; remove it, "
                "or set trackers=[]."
            )
        for old in folder.glob(_EVENTS):
            old.unlink()

    def _hush(self) -> None:
        """Keep what TensorBoard's own thread fails of from being told as a traceback.

        It is raised, and told, the next time that the writer is used.
        """
        before = threading.excepthook

        def hook(failed: threading.ExceptHookArgs) -> None:
            if not type(failed.thread).__module__.startswith("tensorboard"):
                before(failed)

        threading.excepthook, self._before = hook, before


def _is_local(tracker: GeneralTracker) -> bool:
    return isinstance(tracker, TensorBoardTracker)


def _show(
    tracker: GeneralTracker, *, name: str, file: Path, size: tuple[int, int], step: int
) -> None:
    """Give a tracker the image in a PNG, of a height and width, in the form that it takes."""
    if isinstance(tracker, TensorBoardTracker):
        from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415 - slow

        # As it is: TensorBoard's writer would compress all grids of a run anew when it goes on.
        image = Summary.Image(
            height=size[0], width=size[1], colorspace=3, encoded_image_string=file.read_bytes()
        )
        tracker.tracker.file_writer.add_summary(
            Summary(value=[Summary.Value(tag=name, image=image)]), step, file.stat().st_mtime
        )
        tracker.tracker.flush()
    elif hasattr(tracker, "log_images"):
        pixels = image_reading.read_image(file).movedim(0, -1).numpy()
        one = tracker.name in ("aim", "clearml")  # the others take lists
        tracker.log_images({name: pixels if one else [pixels]}, step=step)
