from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import cycada
import cycada.api.detector
import cycada.api.shared
import cycada.api.table
import cycada.api.translator

ROOT = Path(__file__).resolve().parents[2]
MODULES = (cycada.api.detector, cycada.api.table, cycada.api.translator)


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_do_what_they_say(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried > 3
    assert not failed


@pytest.mark.usefixtures("there")
def test_the_examples_in_the_docs_do_what_they_say() -> None:
    failed, tried = doctest.testfile(str(ROOT / "docs" / "api.md"), module_relative=False)
    assert tried > 5
    assert not failed


def test_import_cycada_loads_neither_torch_nor_the_hub_until_a_class_is_named() -> None:
    script = (
        "import sys, cycada\n"
        "heavy = {'torch', 'numpy', 'PIL', 'huggingface_hub', 'accelerate', 'click'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print(sorted({'Translator', 'ActionUnitDetector'} - set(dir(cycada))))\n"
        "cycada.Translator\n"
        "print('torch' in sys.modules, 'huggingface_hub.hf_api' in sys.modules)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[:2] == ["[]", "[]"]
    assert said[2].startswith("True")


def test_every_name_that_cycada_offers_is_there_and_no_other() -> None:
    assert all(getattr(cycada, name) is not None for name in cycada.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Transistor'"):
        cycada.Transistor  # noqa: B018  # mypy does not see tests
