from __future__ import annotations

import fnmatch
import json
import pickle
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import ModelCard, errors
from huggingface_hub.utils import filter_repo_objects

import cycada
from cycada.cli import main
from cycada.data.index import read_index
from cycada.errors import RunError, UsageError
from cycada.stages import sharing
from cycada.training.run_reading import finished_checkpoint

FACES = ("faces/thermal.png", "faces/other.png")


def _detector(place: str | Path = "runs/both", **given: Any) -> cycada.ActionUnitDetector:
    return cycada.ActionUnitDetector.from_pretrained(place, **given)


def _card(folder: str) -> str:
    return Path(folder, "README.md").read_text(encoding="utf-8")


def _row(card: str, name: str) -> list[str]:
    """Return the cells of the row of a card's tables that begins with a name."""
    line = next(line for line in card.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.usefixtures("there")
def test_what_was_saved_says_and_makes_the_same_bit_for_bit() -> None:
    detector = _detector()
    assert detector.save_pretrained("saved") == Path("saved")
    found, again = (one.detect(FACES, faces="whole") for one in (detector, _detector("saved")))
    assert again.rows == found.rows
    translator = cycada.Translator.from_pretrained("runs/translator")
    translator.save_pretrained("made/by/me")
    copy = cycada.Translator.from_pretrained("made/by/me")
    (made,), (too,) = translator.translate("faces/rgb.png"), copy.translate("faces/rgb.png")
    assert (made.pixels == too.pixels).all()
    assert copy.loaded.fingerprint == translator.loaded.fingerprint


@pytest.mark.usefixtures("there")
def test_what_was_saved_is_weights_settings_and_card_and_no_file_that_can_hold_code() -> None:
    _detector().save_pretrained("saved")
    files = sorted(str(p.relative_to("saved")) for p in Path("saved").rglob("*") if p.is_file())
    assert files == [
        "000002/SHA256SUMS", "000002/about.json", "000002/detector.safetensors", "README.md",
        "config.json",
    ]  # fmt: skip
    assert not list(Path().glob(".saved*"))


def test_what_was_saved_names_no_subject_and_no_path(there: Path) -> None:
    for name in ("both", "translator"):
        config = Path("runs", name, "config.json")
        known = json.loads(config.read_text())
        known["inputs"] |= {"/home/jane/faces": "0"}
        known["machines"] = [{"host": "janes-laptop"}]
        config.write_text(json.dumps(known))
        about = Path("runs", name, "000002", "about.json")
        facts = json.loads(about.read_text())
        facts["note"] = "/home/jane/faces"
        about.write_text(json.dumps({**facts, "seen_subjects": ["Jane Doe"]}))
        Path("runs", name, "000002", "SHA256SUMS").unlink()
    toml = Path("data", "index.toml")
    told = 'source = "our ward, D:\\\\jane\\\\ward, /home/jane/faces and https://a.org/b"\n'
    toml.write_text(re.sub(r"source = .*\n", lambda _: told, toml.read_text()))
    _detector().save_pretrained("shared-both")
    cycada.Translator.from_pretrained("runs/translator").save_pretrained("shared-translator")
    subjects = {face.subject for face in read_index("data").faces}
    assert len(subjects) == 12
    forbidden = {*subjects, "jane", "Jane Doe", str(there), str(Path.home())}
    for folder in ("shared-both", "shared-translator"):
        for file in Path(folder).rglob("*.*"):
            content = file.read_bytes().decode("latin-1")
            hidden = [word for word in forbidden if word in content]
            assert not hidden, (file, hidden)
        settings = json.loads(Path(folder, "config.json").read_text())["settings"]
        assert not any(settings.get(name) for name in ("source", "data", "detector", "initial"))
        assert "our ward, (a folder), (a folder) and https://a.org/b" in _card(folder)


@pytest.mark.usefixtures("there")
def test_every_verb_reads_what_was_saved() -> None:
    _detector().save_pretrained("saved")
    cycada.Translator.from_pretrained("runs/translator").save_pretrained("translator")
    for words in (
        ["detect", "saved", FACES[0], "--faces", "whole", "--out", "one"],
        ["detect", "runs/both", FACES[0], "--faces", "whole", "--out", "two"],
        ["translate", "translator", "data", "--out", "three"],
        ["evaluate", "saved", "data", "--out", "four"],
    ):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    assert Path("one/thermal.csv").read_bytes() == Path("two/thermal.csv").read_bytes()


@pytest.mark.usefixtures("there")
def test_nobody_is_scored_whom_a_copy_knows_unless_its_digests_were_left_out() -> None:
    detector = _detector()
    detector.save_pretrained("saved")
    detector.save_pretrained("nameless", subject_digests=False)
    told = []
    for place in ("saved", "nameless"):
        words = ["evaluate", place, "data", "--split", "train", "--out", f"scores-{place}"]
        result = CliRunner().invoke(main, words)
        told.append((result.exit_code, "has learned from 3 of the subjects" in result.output))
    assert told == [(1, True), (0, False)]
    assert "digests alone are kept" in _card("saved")
    assert "nothing keeps them from being scored" in _card("nameless")
    assert all("learned from 5 subjects" in _card(place) for place in ("saved", "nameless"))


@pytest.mark.usefixtures("there")
def test_digests_that_were_left_out_before_are_not_told_as_if_they_were_kept() -> None:
    _detector().save_pretrained("nameless", subject_digests=False)
    _detector("nameless").save_pretrained("again")
    assert "digests alone are kept" not in _card("again")
    assert "nothing keeps them from being scored" in _card("again")
    config, about = Path("runs/both/config.json"), Path("runs/both/000002/about.json")
    known, facts = json.loads(config.read_text()), json.loads(about.read_text())
    known["settings"]["initial"] = "nameless"
    config.write_text(json.dumps(known))
    about.write_text(json.dumps({**facts, "seen_digests": facts["seen_digests"][:2]}))
    Path("runs/both/000002/SHA256SUMS").unlink()
    _detector().save_pretrained("later")
    assert "A network before it was handed on without digests" in _card("later")


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("backbone", "pretrained", "setting", "source"),
    [
        ("resnet18", "imagenet", "imagenet", "ImageNet-1k, by torchvision"),
        ("resnet18", "/home/jane/w.pth", "a file", "a local file"),
        ("resnet18", "none", None, None),
        ("small", "imagenet", None, None),
    ],
)
def test_the_card_tells_of_the_weights_that_a_network_began_from(
    backbone: str, pretrained: str, setting: str | None, source: str | None
) -> None:
    detector = _detector()
    config = Path("runs/both/config.json")
    known = json.loads(config.read_text())
    known["settings"] |= {"backbone": backbone, "pretrained": pretrained}
    config.write_text(json.dumps(known))
    detector.save_pretrained("saved")
    card = _card("saved")
    assert "jane" not in card
    assert ("- `pretrained`: " in card) == (setting is not None)
    assert setting is None or f"- `pretrained`: {setting}\n" in card
    assert ("| initial weights |" in card) == (source is not None)
    assert source is None or _row(card, "initial weights")[1] == source
    assert "was not there any more" not in card


@pytest.mark.usefixtures("there")
def test_the_card_counts_faces_and_subjects_of_the_splits_that_were_read() -> None:
    faces = read_index("data").faces
    _detector().save_pretrained("both")
    cycada.Translator.from_pretrained("runs/translator").save_pretrained("translator")
    thermal = [f for f in faces if f.domain == "thermal" and f.split in ("train", "val")]
    train = [f for f in faces if f.split == "train"]
    counts = (0, len(thermal), len({f.subject for f in thermal}))
    assert _row(_card("both"), "labelled source") == [
        "labelled source", "phantom faces of cycada, seed 0", "MIT", "intensity", *map(str, counts)
    ]  # fmt: skip
    rgb = sum(f.domain == "rgb" for f in train)
    counts = (rgb, len(train) - rgb, len({f.subject for f in train}))
    assert _row(_card("translator"), "both domains, unpaired")[-3:] == [*map(str, counts)]


@pytest.mark.usefixtures("there")
def test_the_card_holds_the_scores_of_these_weights_alone() -> None:
    scores = json.loads(Path("runs/evaluation/both/scores.json").read_text())
    shutil.copytree("runs/evaluation/both", "runs/of-others")
    other = {**scores, "weights": "0" * 64}
    other["scores"] = {**scores["scores"], "frames": 777}
    Path("runs/of-others/scores.json").write_text(json.dumps(other))
    detector = _detector()
    detector.save_pretrained("saved", licence="cc-by-nc-4.0")
    card = _card("saved")
    macro = scores["scores"]["macro_f1"]
    assert _row(card, "macro F1")[1] == f"{macro:.3f}"
    assert "777" not in card
    assert "Research use only" in card
    data = ModelCard(card).data.to_dict()
    assert (data["license"], data["library_name"]) == ("cc-by-nc-4.0", "cycada")
    (result,) = data["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "f1", "name": "macro F1", "value": round(macro, 4)}
    with pytest.raises(RunError, match="is no evaluation of these weights"):
        detector.save_pretrained("more", evaluations=["runs/of-others"])
    shutil.rmtree("runs/evaluation")
    detector.save_pretrained("unscored")
    assert "No evaluation of these weights" in _card("unscored")
    assert "license" not in yaml.safe_load(_card("unscored").split("---\n")[1])
    assert "No licence of the weights was stated" in _card("unscored")


@pytest.mark.usefixtures("there")
def test_a_copy_of_a_copy_tells_and_is_the_same_though_all_else_has_gone() -> None:
    _detector().save_pretrained("first", licence="mit")
    for name in ("data", "runs"):
        shutil.rmtree(name)
    _detector("first").save_pretrained("second")
    assert _card("second") == _card("first").replace('"first"', '"second"')
    for name in ("config.json", "000002/about.json", "000002/SHA256SUMS"):
        assert Path("second", name).read_bytes() == Path("first", name).read_bytes()


@pytest.mark.usefixtures("there")
def test_data_that_have_gone_or_changed_are_not_told_as_if_they_were_known() -> None:
    file = Path("data/index.csv")
    text = file.read_text()
    file.write_text("\n".join(text.splitlines()[:-3]) + "\n")
    _detector().save_pretrained("saved")
    assert _row(_card("saved"), "labelled source")[1:] == ["not stated"] * 2 + ["–"] * 4
    assert "learned from 5 subjects" in _card("saved")


@pytest.mark.usefixtures("there")
def test_the_data_of_a_network_before_count_too() -> None:
    config = Path("runs/both/config.json")
    known = json.loads(config.read_text())
    known["settings"]["initial"] = "runs/translator"
    known["settings"]["teachers"] = ["runs/gone"]
    config.write_text(json.dumps(known))
    _detector().save_pretrained("saved")
    card = _card("saved")
    assert _row(card, "both domains, unpaired")[1] == "phantom faces of cycada, seed 0"
    assert _row(card, "of a teacher")[1:3] == ["not stated", "not stated"]


@pytest.mark.usefixtures("there")
def test_nothing_is_written_over_and_nothing_half_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = _detector()
    before = Path("faces/rgb.png").read_bytes()
    with pytest.raises(RunError, match="faces: is not empty"):
        detector.save_pretrained("faces")
    assert Path("faces/rgb.png").read_bytes() == before
    Path("empty").mkdir()
    detector.save_pretrained("empty")

    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sharing, "model_card", full)
    with pytest.raises(RunError, match=r"saved: cannot be written \(No space left on device\)"):
        detector.save_pretrained("saved")
    assert not list(Path().glob("*saved*"))
    assert not list(Path().glob(".*saved*"))


@pytest.fixture
def hub(there: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a Hub whose repositories are folders; nothing reaches the network."""
    root = there / "hub"

    def snapshot_download(repo_id: str, **given: Any) -> str:
        cache = there / "cache" / f"{repo_id.replace('/', '--')}-{given['revision'] or 'main'}"
        files = [str(p.relative_to(root / repo_id)) for p in (root / repo_id).rglob("*.*")]
        files += [str(p.relative_to(root / repo_id)) for p in (root / repo_id).rglob("SHA*")]
        for name in filter_repo_objects(set(files), allow_patterns=given["allow_patterns"]):
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            (cache / name).symlink_to(root / repo_id / name)  # as the cache of the Hub does
        return str(cache)

    class HfApi:
        def __init__(self, library_name: str) -> None:
            assert library_name == "cycada"

        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            if exist_ok and (root / repo_id).exists():
                return  # as it was: the Hub does not change it
            (root / repo_id).mkdir(parents=True)
            (there / "visibility").write_text("private" if private else "public")

        def model_info(self, repo_id: str) -> Any:
            assert (root / repo_id).is_dir()
            return SimpleNamespace(private=(there / "visibility").read_text() == "private")

        def list_repo_files(self, repo_id: str) -> list[str]:
            files = [p for p in (root / repo_id).rglob("*") if p.is_file()]
            return [str(p.relative_to(root / repo_id)) for p in files]

        def upload_folder(
            self,
            *,
            repo_id: str,
            folder_path: Path,
            delete_patterns: list[str],
            commit_message: str,
        ) -> Any:
            for file in [p for p in (root / repo_id).rglob("*") if p.is_file()]:
                name = str(file.relative_to(root / repo_id))
                if any(fnmatch.fnmatch(name, pattern) for pattern in delete_patterns):
                    file.unlink()
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/{commit_message}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", HfApi)
    return root


def test_what_was_pushed_is_what_is_saved_private_unless_said_otherwise(hub: Path) -> None:
    detector = _detector()
    assert detector.push_to_hub("me/aus", message="x") == "https://hub/me/aus/commit/x"
    assert Path("visibility").read_text() == "private"
    again = _detector("me/aus")
    assert again.detect(FACES, faces="whole").rows == detector.detect(FACES, faces="whole").rows
    card = (hub / "me/aus/README.md").read_text()
    assert 'cycada.ActionUnitDetector.from_pretrained("me/aus")' in card
    detector.push_to_hub("hf://me/open", private=False)
    assert Path("visibility").read_text() == "public"
    with pytest.raises(UsageError, match="a/b/c: is no name on the Hugging Face Hub"):
        detector.push_to_hub("a/b/c")


def test_a_push_takes_the_place_of_weights_that_were_trained_for_longer(hub: Path) -> None:
    detector = _detector()
    detector.push_to_hub("me/aus")
    (hub / "me/aus/000002").rename(hub / "me/aus/000900")
    (hub / "me/aus/000900/odd[1].txt").write_text("x")
    (hub / "me/aus/2024-figures").mkdir()
    (hub / "me/aus/2024-figures/a.png").write_bytes(b"")
    detector.push_to_hub("me/aus")
    assert _detector("me/aus").step == 2
    assert not list((hub / "me/aus/000900").iterdir())
    assert (hub / "me/aus/2024-figures/a.png").exists()


def test_what_is_to_be_private_is_not_pushed_to_a_place_that_is_public(hub: Path) -> None:
    detector = _detector()
    detector.push_to_hub("me/aus", private=False)
    shutil.rmtree(hub / "me/aus/000002")
    with pytest.raises(RunError, match="me/aus: is there already, and public"):
        detector.push_to_hub("me/aus")
    assert not (hub / "me/aus/000002").exists()
    detector.push_to_hub("me/aus", private=False)
    assert (hub / "me/aus/000002").exists()


def test_no_file_that_can_hold_code_is_fetched(hub: Path) -> None:
    shutil.copytree("runs/both", hub / "them/run")
    for name in ("pytorch_model.bin", "000002/extra.pkl", "setup.py"):
        (hub / "them/run" / name).write_bytes(b"code")
    assert (hub / "them/run/000002/state.pt").exists()
    detector = _detector("them/run", revision="v1")
    assert detector.root.name == "them--run-v1"
    kinds = {p.suffix for p in detector.root.rglob("*") if p.is_file()}
    assert kinds == {".json", ".safetensors", ""}


class _Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.usefixtures("there")
def test_a_pickle_under_the_name_of_weights_runs_no_code() -> None:
    Path("runs/both/000002/SHA256SUMS").unlink()
    Path("runs/both/000002/detector.safetensors").write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(RunError, match=r"detector\.safetensors"):
        _detector()
    assert not Path("sprung").exists()
    pickle.loads(pickle.dumps(_Trap()))  # noqa: S301  # the trap works
    assert Path("sprung").exists()


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    "wrong", [{"channels": None}, {"thresholds": "none"}, {"action_units": ["x"]}, {"window": 3}]
)
def test_what_a_strangers_facts_lack_or_have_wrong_is_told_in_a_sentence(
    wrong: dict[str, Any],
) -> None:
    about = Path("runs/both/000002/about.json")
    facts = {**json.loads(about.read_text()), **wrong}
    about.write_text(json.dumps({k: value for k, value in facts.items() if value is not None}))
    Path("runs/both/000002/SHA256SUMS").unlink()
    with pytest.raises(RunError, match="runs/both: holds no network that this version"):
        _detector()


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    "wrong",
    [
        [], {"learned": 3}, {"learned": [{"role": []}]}, {"learned": [{"name": "x"}]},
        {"learned": [{"role": "x", "rgb": "many"}]}, {"learned": [], "evaluations": [3]},
        {"learned": [], "evaluations": [{"faces": 1}]}, {"learned": [], "licence": 7},
        {"learned": [], "subjects": "x"},
    ],
)  # fmt: skip
def test_what_a_stranger_says_for_the_card_is_told_in_a_sentence_where_it_is_wrong(
    wrong: Any,
) -> None:
    _detector().save_pretrained("theirs")
    about = Path("theirs/000002/about.json")
    about.write_text(json.dumps({**json.loads(about.read_text()), "shared": wrong}))
    Path("theirs/000002/SHA256SUMS").unlink()
    with pytest.raises(RunError, match="what it says for its model card cannot be read"):
        _detector("theirs").save_pretrained("saved")
    assert not Path("saved").exists()


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("wrong", [[0.5], [[0.5]], 0.5, "nan"])
def test_thresholds_that_are_not_one_finite_number_for_each_answer_are_refused(
    wrong: Any,
) -> None:
    about = Path("runs/both/000002/about.json")
    facts = json.loads(about.read_text())
    facts["thresholds"] = [float("nan")] * len(facts["thresholds"]) if wrong == "nan" else wrong
    about.write_text(json.dumps(facts))
    Path("runs/both/000002/SHA256SUMS").unlink()
    with pytest.raises(RunError, match="expected a finite threshold for each of"):
        _detector()


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.LocalEntryNotFoundError("Got: ConnectError"), "the Hub cannot be reached"),
        (errors.HFValidationError("Cannot have -- in it."), "Cannot have -- in it"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (errors.RepositoryNotFoundError, "there is no such model, or you may not see it"),
        (errors.GatedRepoError, "its owner has to let you in first"),
        (errors.RevisionNotFoundError, "it has no such revision"),
    ],
)
def test_a_network_that_cannot_be_fetched_is_one_sentence(
    error: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(error, type):
        error = error("404 Client Error", response=_response())

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(RunError) as raised:
        _detector("them/run")
    said = str(raised.value)
    assert said.startswith("them/run: there is no such folder, and it cannot be fetched")
    assert f"({told})" in said or told in said
    assert "\n" not in said


def _response() -> Any:
    import httpx2

    return httpx2.Response(404, request=httpx2.Request("GET", "https://hub"))


@pytest.mark.usefixtures("there")
def test_a_mistyped_path_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **_: asked.append(a))
    for given, told in (
        ("runs/boht", "there is no such folder in runs"),
        (Path("them/run"), "it is no name on the Hugging Face Hub"),
        ("a b", "it is no name on the Hugging Face Hub"),
        ("../them/run", "it is no name on the Hugging Face Hub"),
    ):
        with pytest.raises(RunError, match=told):
            _detector(given)
    with pytest.raises(RunError, match="is the run of a translator; a detector is needed here"):
        _detector("runs/translator")
    with pytest.raises(UsageError, match="is a folder, which has no revision main"):
        _detector(revision="main")
    assert not asked


@pytest.mark.usefixtures("there")
def test_a_network_that_was_trained_further_meanwhile_is_saved_as_it_was_loaded() -> None:
    detector = _detector()
    weights = finished_checkpoint(Path("runs/both")).fingerprint()
    later = Path("runs/both/000004")
    shutil.copytree("runs/both/000002", later)
    file = later / "detector.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    (later / "SHA256SUMS").unlink()
    assert finished_checkpoint(Path("runs/both")).fingerprint() != weights
    detector.save_pretrained("saved")
    assert finished_checkpoint(Path("saved")).fingerprint() == weights
