"""The tool that puts other things in the place of files: it tells harm, and finds none here."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import ModuleType

import pytest

from cycada.errors import DataError


@pytest.fixture(scope="module")
def torture_places() -> ModuleType:
    import torture_places

    return torture_places


def test_harm_is_told_from_a_refusal(torture_places: ModuleType, tmp_path: Path) -> None:
    def refuse() -> None:
        raise DataError("a.png: cannot be read.")

    def several_lines() -> None:
        raise DataError("a.png: cannot\nbe read.")

    def fill_the_memory() -> None:
        held = [bytes(1 << 28) for _ in range(40)]
        del held

    def lose() -> None:
        raise torture_places._LostError("b.png")

    secret = tmp_path / "secret"
    secret.write_text("mine")
    secret.chmod(0)
    works = {
        "read": lambda: None, "refused": refuse, "lost": lose, "hang": lambda: time.sleep(60),
    }  # fmt: skip
    found = {kind: torture_places._tried(work, patience=2).kind for kind, work in works.items()}
    assert found == {kind: kind for kind in works}
    for work in (several_lines, fill_the_memory, lambda: os.kill(os.getpid(), 15),
                 secret.read_text):  # fmt: skip
        assert torture_places._tried(work, patience=20).kind == "traceback"


def test_every_place_is_another_thing_than_the_file(
    torture_places: ModuleType, tmp_path: Path
) -> None:
    for name, place in torture_places.PLACES.items():
        for suffix in (".png", ".csv", ".npy"):
            file = tmp_path / f"{name}{suffix}"
            file.write_bytes(b"whole")
            place(file)
            assert not file.is_file() or name == "unreadable" or file.stat().st_size != 5
            assert not file.is_file() or file.stat().st_blocks * 512 < 3 << 20  # no room is taken


def test_no_place_makes_translate_or_a_reader_of_images_fail_hang_or_lose(
    torture_places: ModuleType,
) -> None:
    found = torture_places.places(only=["images", "translate"], patience=60)
    for counts in found.values():
        assert counts["harm"] == {}
        assert counts["inputs"] > 40
        assert counts["peak_mb"] < 1000
    assert found["images"]["refused"] > 50
    assert found["translate"]["read"] == found["translate"]["inputs"]
