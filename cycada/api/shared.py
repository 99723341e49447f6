"""What trained networks have in common: they can be saved, and put on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cycada.stages.sharing import publish, save_model


class Shared:
    """A network that was loaded from a run, and can be handed on."""

    __slots__ = ()

    root: Path
    step: int

    def save_pretrained(
        self, folder: str | Path, *, licence: str = "", evaluations: Iterable[str | Path] = (),
        subject_digests: bool = True,
    ) -> Path:  # fmt: skip
        """Write the weights, what is needed to use them, and a model card into a new folder.

        The folder is a small run, which :meth:`from_pretrained` and every verb reads: settings
        without paths, the weights as safetensors, and ``README.md``, the card. Neither the state
        of the training nor samples, logs, names of subjects or paths are in it. Digests of the
        names are, unless ``subject_digests`` is false: by them ``cycada evaluate`` refuses to
        score people whom the network has learned from.

        Args:
            folder: Is made; it must not hold anything.
            licence: Under which the weights are handed on, such as ``cc-by-nc-4.0`` (the Hub has a
                list of these names); the card says so if there is none.
            evaluations: Folders of ``cycada evaluate`` to tell of. Those of the same weights that
                lie beside the run, or in a folder ``evaluation`` there, are found without.
            subject_digests: Hand the digests on. Whoever has a list of names can tell which of
                them are among them; without, nobody is kept from scoring people whom it knows.

        Returns:
            The folder.

        Raises:
            RunError: The folder holds something, or cannot be written; the run has gone; an
                evaluation is one of other weights.
        """
        return save_model(
            self.root, Path(folder), step=self.step, licence=licence,
            evaluations=tuple(map(Path, evaluations)), subject_digests=subject_digests,
        )  # fmt: skip

    def push_to_hub(
        self, repo_id: str, *, private: bool = True, licence: str = "",
        evaluations: Iterable[str | Path] = (), subject_digests: bool = True, message: str = "",
    ) -> str:  # fmt: skip
        """Put what :meth:`save_pretrained` writes on the Hugging Face Hub.

        Log in with ``hf auth login`` before.

        Args:
            repo_id: ``OWNER/NAME``; is made if it is not there.
            private: Whether it is to be private if it is made here. Read the licences of the data
                before you publish weights that have learned from faces.
            licence: As in :meth:`save_pretrained`.
            evaluations: As in :meth:`save_pretrained`.
            subject_digests: As in :meth:`save_pretrained`.
            message: Of the commit.

        Returns:
            The address of the commit.

        Raises:
            RunError: As in :meth:`save_pretrained`; the Hub refuses, or cannot be reached; it is
                there already and public, and ``private`` is true.
        """
        return publish(
            self.root, repo_id, step=self.step, private=private, licence=licence,
            evaluations=tuple(map(Path, evaluations)), subject_digests=subject_digests,
            message=message,
        )  # fmt: skip
