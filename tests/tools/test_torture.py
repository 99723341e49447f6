"""The tool that breaks files: it breaks them, tells harm from a refusal, and finds none here."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def torture() -> ModuleType:
    import torture

    return torture


def test_faults_change_files_and_depend_on_the_number_alone(torture: ModuleType) -> None:
    data = b"path,AU01\na.png,1\nb.png,0\n" * 20
    made = [
        torture.mutated(data, [data, b"\x89PNG\r\n"], np.random.default_rng(n)) for n in range(200)
    ]
    again = [
        torture.mutated(data, [data, b"\x89PNG\r\n"], np.random.default_rng(n)) for n in range(200)
    ]
    assert made == again
    assert sum(each != data for each in made) > 190
    assert min(map(len, made)) < 50
    assert any(b"nan" in each for each in made)


def test_a_broken_file_is_read_or_refused_in_a_sentence(
    torture: ModuleType, tmp_path: Path
) -> None:
    made = torture.torture_samples.write_samples(tmp_path / "samples", recordings=None)
    counts = torture.fuzz(
        "labels", made["labels"], inputs=40, seed=1, patience=60, keep=tmp_path / "harm"
    )
    assert counts["harm"] == {}
    assert (counts["tracebacks"], counts["hangs"]) == (0, 0)
    assert counts["read"] + counts["refused"] == 40
    assert counts["read"] > 3
    assert counts["refused"] > 3


def test_harm_is_counted_and_kept(
    torture: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Harmful:
        def __init__(self, _reader: str, _patience: float) -> None:
            self.number = -1

        def __call__(self, place: Path) -> object:
            assert list(place.iterdir())
            self.number += 1
            kind = ("read", "traceback", "hang", "refused")[self.number % 4]
            return torture.Outcome(kind, "Traceback\nKeyError: 'a'", 2.0)

        def close(self) -> None:
            pass

    monkeypatch.setattr(torture, "Worker", Harmful)
    sample = tmp_path / "sample"
    sample.mkdir()
    (sample / "a.csv").write_text("path,AU01\na.png,1\n")
    counts = torture.fuzz("labels", [sample], inputs=8, seed=0, patience=1, keep=tmp_path / "harm")
    assert (counts["read"], counts["refused"]) == (2, 2)
    assert (counts["tracebacks"], counts["hangs"]) == (2, 2)
    assert counts["harm"] == {"a.csv: KeyError": [1, 2, 5, 6]}
    assert (tmp_path / "harm" / "labels" / "00001" / "told.txt").read_text().startswith("Trace")
    assert (sample / "a.csv").read_text() == "path,AU01\na.png,1\n"


def test_a_reader_that_hangs_or_dies_is_replaced(torture: ModuleType, tmp_path: Path) -> None:
    worker = torture.Worker("labels", 60)
    sample = tmp_path / "sample"
    sample.mkdir()
    (sample / "a.csv").write_text("path,AU01\na.png,1\n")
    first = worker.process.pid
    assert worker(sample).kind == "read"
    worker.process.kill()
    assert worker(sample).kind == "traceback"
    assert worker.process.pid != first
    worker.patience = 0.0
    assert worker(sample).kind == "hang"
    worker.patience = 60
    assert worker(sample).kind == "read"
    worker.close()
