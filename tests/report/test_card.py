from __future__ import annotations

import math
from dataclasses import replace

import pytest
import yaml

from cycada.report.card import Card, Evaluated, Figure, Learned, model_card, without_paths
from cycada.task import Task
from cycada.thermal import Window

CARD = Card(
    kind="detector", place="me/aus", version="9.8.7", steps=1200, size=64, licence="mit",
    fingerprint="abcdef" * 10, subjects=40, digests=True,
    learned=(Learned(role="labelled source", source="Ward A", rgb=10, thermal=0, subjects=4),),
    evaluations=(
        Evaluated(
            faces="thermal test", source="Ward B", images=30, subjects=5,
            figures=(Figure(name="macro F1", value=0.5, low=0.4, high=0.6),
                     Figure(name="macro ROC-AUC", value=math.nan)),
            units=(("AU12", 0.75, math.nan, 7, 30),),
        ),
    ),
    settings=(("backbone", "small"),), window=Window(28, 37), task=Task((12,)),
    domains=("rgb",),
)  # fmt: skip


def _head(card: Card) -> dict[str, object]:
    return yaml.safe_load(model_card(card).split("---\n")[1])


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("/home/jane/faces", "(a folder)"),
        ("~/faces of 2024", "(a folder) of 2024"),
        ("from C:\\Users\\jane\\ward, all", "from (a folder), all"),
        ("file:///srv/x/y", "(a folder)"),
        ('("\\\\server\\share")', '("(a folder)")'),
        ("/home/Jane Doe/data", "(a folder)"),
        ("/home/Jane Doe", "(a folder)"),
        ("/home/jane van doe/data, ours", "(a folder), ours"),
        ("C:\\Users\\Jane Doe\\data; ours", "(a folder); ours"),
        ("ward:/home/Jane Doe/data", "ward:(a folder)"),
        ("see `/home/jane/faces`", "see `(a folder)`"),
        ("a|/home/jane/b|c", "a|(a folder)|c"),
        ("*/srv/jane*", "*(a folder)*"),
        ("at ../jane/faces", "at (a folder)"),
        ("at file:../jane/faces and https://a.org/b", "at (a folder) and https://a.org/b"),
        ("BP4D+/DISFA, day and/or night, 1/2 of https://a.org/b/c", None),
    ],
)
def test_texts_of_users_lose_their_paths_and_keep_the_rest(given: str, left: str | None) -> None:
    assert without_paths(given) == (given if left is None else left)


def test_every_figure_of_an_evaluation_is_told_and_what_is_unknown_is_a_dash() -> None:
    card = model_card(CARD)
    assert "Thermal test faces of Ward B (images: 30, subjects: 5):" in card
    assert "| macro F1 | 0.500 | 0.400 to 0.600 |" in card
    assert "| macro ROC-AUC | – | – |" in card
    assert "| AU12 (lip corner puller) | 0.750 | – | 7 of 30 |" in card
    assert "| labelled source | Ward A | not stated | – | 10 | 0 | 4 |" in card
    (result,) = _head(CARD)["model-index"][0]["results"]
    assert [metric["type"] for metric in result["metrics"]] == ["f1"]


def test_an_evaluation_comes_back_from_json_as_it_was() -> None:
    (found,) = CARD.evaluations
    assert repr(Evaluated.from_json(found.to_json())) == repr(found)


def test_a_hostile_text_breaks_neither_the_table_nor_the_head() -> None:
    hostile = 'x | y\n---\n# <script>alert(1)</script> "a": [b'
    bad = replace(
        CARD, learned=(replace(CARD.learned[0], source=hostile, licence=hostile),),
        evaluations=(replace(CARD.evaluations[0], source=hostile),),
    )  # fmt: skip
    card = model_card(bad)
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(head)["library_name"] == "cycada"
    assert not any(line.startswith(("---", "# <")) for line in body.splitlines())
    assert "<script>" not in body.replace("\\<", "")
    (row,) = [line for line in body.splitlines() if line.startswith("| labelled source")]
    assert row.replace("\\|", "").count("|") == 8


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("cc-by-nc-4.0", {"license": "cc-by-nc-4.0"}),
        ("The ward's own, 2nd", {"license": "other", "license_name": "the-ward-s-own-2nd"}),
        ("", {}),
    ],
)
def test_the_head_names_a_licence_as_the_hub_wants_it(licence: str, told: dict[str, str]) -> None:
    head = _head(replace(CARD, licence=licence))
    assert {name: head[name] for name in head if name.startswith("license")} == told


def test_a_translator_and_a_detector_of_classes_are_told_as_what_they_are() -> None:
    translator = model_card(replace(CARD, kind="translator", task=None, window=None))
    assert "# Translator of RGB faces into thermal ones" in translator
    assert "It knows no temperatures: thermal images are grey." in translator
    assert "cycada.Translator.from_pretrained(" in translator
    classes = model_card(replace(CARD, task=Task(classes=("calm", "dyspnea")), adapted=True))
    assert "# Detector of Classes in faces" in classes
    assert "one of the classes: calm, dyspnea." in classes
    assert "then from unlabelled thermal ones" in classes
