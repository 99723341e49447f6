from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cycada.data.folders import Found
from cycada.data.index import Domain
from cycada.data.label_table import LabelLayout, LabelRow, LabelTable, Reading
from cycada.data.labels import read_labels
from cycada.data.matching import CutOut, match_labels
from cycada.errors import DataError, UsageError

HOME = Path("/labels/corpus")


def found(*names: str, folder: str = "/images", domain: Domain = "rgb") -> list[Found]:
    return [Found(Path(folder), name, domain) for name in names]


def table(
    *keys: dict[str, object], layout: LabelLayout = "csv", first: int | None = None, unused: int = 0
) -> LabelTable:
    """Return a table whose row n (from 1) has AU01 = n."""
    rows = tuple(
        LabelRow(row=row, action_units={1: float(row)}, **key)  # type: ignore[arg-type]
        for row, key in enumerate(keys, start=1)
    )
    return LabelTable(HOME, "intensity", rows, (), layout, first, unused)


def match(
    images: Sequence[Found], made: LabelTable, **more: int
) -> tuple[list[float | None], list[str]]:
    known, notes = match_labels(images, [made], None, **more)
    return [one.action_units.get(1) for one in known], notes


def frames(recording: str, *numbers: int) -> list[dict[str, object]]:
    return [{"recording": recording, "frame": number} for number in numbers]


def of_subject(subject: str, *numbers: int, sequence: str = "") -> list[dict[str, object]]:
    return [{"subject": subject, "sequence": sequence, "frame": number} for number in numbers]


def test_two_images_of_a_frame_are_told_what_helps() -> None:
    images = found("S1/left/1.png", "S1/right/1.png")
    with pytest.raises(DataError, match="frame 1 of 'S1'; add a column 'sequence', or name paths"):
        match(images, table(*of_subject("S1", 1)))
    images = found("SN001/left/1.png", "SN001/right/1.png")
    with pytest.raises(DataError, match="frame 1 of 'SN001'; index such folders apart"):
        match(images, table(*of_subject("SN001", 1), layout="disfa"))


# The names of files


def test_a_stem_names_the_image_of_either_domain_whatever_its_folder_and_suffix() -> None:
    images = found("S005/001/a.png", "S005/002/b.png") + found("x/a.tiff", domain="thermal")
    values, notes = match(images, table({"stem": "a"}, {"stem": "c"}))
    assert values == [1, None, 1]
    assert f"{HOME}: 1 of 2 rows name no found image." in notes


def test_an_aligned_image_has_the_name_of_its_original() -> None:
    assert match(found("s/0001_aligned.jpg"), table({"stem": "0001"}))[0] == [1]


def test_a_stem_that_two_images_have_is_refused() -> None:
    with pytest.raises(DataError, match=r"row 1: both /images/F1/a.png and /images/F2/a.png"):
        match(found("F1/a.png", "F2/a.png"), table({"stem": "a"}))
    with pytest.raises(DataError, match=r"row 1: both .*a.png and .*a_aligned.png"):
        match(found("F1/a.png", "F1/a_aligned.png"), table({"stem": "a"}))


def test_a_path_of_another_machine_ends_in_that_of_the_image() -> None:
    images = found("F1/a.png", "F2/a.png")
    rows = table({"tail": "D:/x/F2/a.bmp"}, {"tail": "/y/F1/a.png"}, {"tail": "/y/F3/a.png"})
    values, notes = match(images, rows)
    assert values == [2, 1]
    assert "1 of 3 rows name no found image" in notes[0]


def test_an_image_of_that_name_in_another_folder_is_not_meant() -> None:
    with pytest.raises(DataError, match=r"it says '/y/F1/a\.png', an image is 'F2/a\.png'"):
        match(found("F2/a.png"), table({"tail": "/y/F1/a.png"}))


def test_of_paths_that_end_alike_the_one_whose_folders_agree_is_meant() -> None:
    images = found("a.png", folder="/data/F2")
    assert match(images, table({"tail": "/y/F1/a.png"}, {"tail": "/y/F2/a.png"}))[0] == [2]
    with pytest.raises(DataError, match=r"'/y/F3/a.png' fits /data/F2/a.png as well as"):
        match(images, table({"tail": "/y/F1/a.png"}, {"tail": "/y/F3/a.png"}))


@pytest.mark.parametrize("path", ["../whole/S1/a.jpg", "S1/a.jpg", "S1/a.png", "/whole/S1/a.jpg"])
def test_a_path_may_be_that_of_the_original_of_a_crop(path: str) -> None:
    images = found("S1/a.png", "S1/b.png", folder="/out/images/rgb")
    cut = CutOut(folders={Path("/out/images/rgb"): Path("/whole")})
    rows = LabelTable(Path("/labels/au.csv"), "intensity", table({"path": path}).rows, ())
    known, _ = match_labels(images, [rows], None, cut_out=cut)
    assert [one.action_units.get(1) for one in known] == [1, None]
    with pytest.raises(DataError, match="none of its 1 rows names a found image"):
        match_labels(images, [table({"path": "../whole/S1/a.jpg"})], None)


def test_two_rows_of_one_image_are_refused() -> None:
    with pytest.raises(DataError, match=r"row 2: names the same image as .*row 1, /images/s/a.png"):
        match(found("s/a.png"), table({"stem": "a"}, {"stem": "a"}))


# Recordings


def test_frames_lie_in_the_folder_of_their_recording() -> None:
    images = found("one/img_0002.png", "two_aligned/frame_det_00_000001.png", "three/1.png")
    images += found("x/one/2.tiff", domain="thermal")
    rows = table(*frames("one", 1, 2), *frames("two", 1))
    assert match(images, rows)[0] == [2, 3, None, 2]


def test_the_folders_above_tell_recordings_of_one_name_apart() -> None:
    images = found("in/F1/T1/1.png", "in/F2/T1/1.png")
    rows = table(*frames("out/F1/T1", 1), *frames("out/F2/T1", 1))
    assert match(images, rows)[0] == [1, 2]
    assert match(images[:1], table(*frames("T1", 1)))[0] == [1]
    with pytest.raises(DataError, match=r"both .*/F1/T1 and .*/F2/T1 may be the recording 'T1'"):
        match(images, table(*frames("T1", 1)))


def test_a_folder_of_another_subject_is_not_taken_for_the_recording() -> None:
    rows = table(*frames("F1/T1", 1), *frames("F2/T1", 1))
    assert match(found("F2/T1/1.png"), rows)[0] == [2]
    with pytest.raises(DataError, match="none of its 2 rows names a found image"):
        match(found("F3/T1/1.png"), rows)


def test_two_images_of_one_frame_are_refused() -> None:
    with pytest.raises(DataError, match=r"both .*/a_1.png and .*/b_1.png are frame 1 of 'one'"):
        match(found("one/a_1.png", "one/b_1.png"), table(*frames("one", 1)))


def test_two_rows_of_one_frame_are_refused() -> None:
    with pytest.raises(DataError, match=r"row 2: frame 1 of one is there already in .*row 1"):
        match(found("one/1.png"), table(*frames("one", 1, 1)))


# Subjects


def test_a_sequence_is_the_last_folders() -> None:
    images = found("F001/T1/07.jpg", "F001/2D/T2/07.jpg", "F001/T3/07.jpg")
    rows = table(*of_subject("F001", 7, sequence="T2"), *of_subject("F001", 7, sequence="T1"))
    assert match(images, rows)[0] == [2, 1, None]


def test_codes_of_subjects_are_told_in_any_spelling() -> None:
    images = found("SN2/1.png", "003/1.png", "sn0004/1.png")
    rows = table(*(of_subject(name, 1)[0] for name in ("SN002", "SN003", "SN004")), layout="disfa")
    values, notes = match(images, rows)
    assert values == [1, 2, 3]
    assert notes == [
        f"{HOME}: subjects of images taken: 003 for SN003, SN2 for SN002, sn0004 for SN004."
    ]
    with pytest.raises(
        DataError, match=r"says 'frame 1 of SN002', an image is 'SN2/1.png'\. --subject"
    ):
        match(images[:1], table(*of_subject("SN002", 1)))  # a plain table means what it says


def test_subjects_of_another_corpus_are_not_taken_for_codes() -> None:
    images = found("SN002/1.png", "003/1.png")  # one is spelled as it should be
    rows = table(*(of_subject(name, 1)[0] for name in ("SN002", "SN003")), layout="disfa")
    assert match(images, rows)[0] == [1, None]


def test_subjects_of_the_other_domain_are_not_taken_for_codes() -> None:
    images = found("SN002/1.png")
    images += found("002/1.tiff", folder="/hot", domain="thermal")  # somebody else, at a clinic
    rows = table(*of_subject("SN002", 1), layout="disfa")
    values, notes = match(images, rows)
    assert values == [1, None]
    assert notes == ["1 of 1 rgb and 0 of 1 thermal images have labels."]


def test_two_names_that_may_be_of_one_code_are_refused() -> None:
    images = found("SN2/1.png") + found("2/1.tiff", folder="/hot", domain="thermal")
    rows = table(*of_subject("SN002", 1), layout="disfa")
    with pytest.raises(DataError, match=r"both '2' and 'SN2' may be of the subject SN002"):
        match(images, rows)


# Numbers of frames


def test_image_0_proves_that_images_count_from_0_where_labels_begin_at_1() -> None:
    images = found("SN1/0.png", "SN1/1.png", "SN2/1.png")
    rows = [*of_subject("SN001", 1, 2), *of_subject("SN002", 1, 2)]
    values, notes = match(images, table(*rows, layout="disfa", first=1))
    assert values == [1, 2, 4]
    told = f"{HOME}: rgb images count from 0, labels from 1: label 1 belongs to frame 0."
    assert told in notes


def test_a_first_frame_with_several_faces_still_tells_how_labels_count(tmp_path: Path) -> None:
    head = "frame,face_id,confidence,success,AU01_c\n"
    file = tmp_path / "one.csv"
    file.write_text(head + "1,0,1,1,0\n1,1,1,1,0\n2,0,1,1,1\n3,0,1,1,0\n")
    made = read_labels(file, reading=Reading())
    values, _ = match(found("one/0.png", "one/1.png", "one/2.png"), made[0])
    assert values == [None, 1, 0]


def test_images_known_to_count_from_0_do_so_though_the_first_is_not_there() -> None:
    images = found("one/1.png", "one/2.png", "one/3.png")
    cut = CutOut(from_zero={Path("/images/one")})
    labels = frames("one", 1, 2, 3)  # of which the last seems to prove that both count from 1
    known, notes = match_labels(images, [table(*labels, first=1)], None, cut_out=cut)
    assert [one.action_units.get(1) for one in known] == [2, 3, None]
    assert f"{HOME}: rgb images count from 0, labels from 1: label 1 belongs to frame 0." in notes
    known, _ = match_labels(images, [table(*frames("one", 0, 1, 2), first=0)], None, cut_out=cut)
    assert [one.action_units.get(1) for one in known] == [2, 3, None]


def test_an_image_of_the_last_label_proves_that_both_count_from_1() -> None:
    images = found("one/1.png", "one/3.png")
    values, notes = match(images, table(*frames("one", 1, 2, 3), first=1))
    assert values == [1, 3]
    assert f"{HOME}: rgb images count from 1, as labels do." in notes


def test_without_proof_frames_are_assumed_to_agree_and_that_is_told() -> None:
    values, notes = match(found("one/2.png"), table(*frames("one", 1, 2, 3), first=1))
    assert values == [2]
    assert any("rgb images are assumed to do so, too" in note for note in notes)
    later = table(*frames("one", 5, 6), first=1)  # labels that begin later prove nothing
    assert match(found("one/0.png", "one/5.png"), later)[0] == [None, 1]


def test_labels_from_0_and_images_from_1_are_brought_together() -> None:
    images = found("one/1.png", "one/2.png", "one/3.png")
    values, notes = match(images, table(*frames("one", 0, 1, 2), first=0))
    assert values == [1, 2, 3]
    assert any("label 0 belongs to frame 1" in note for note in notes)
    some = found("one/1.png", "one/2.png")  # the first may have been thrown away
    assert match(some, table(*frames("one", 0, 1, 2), first=0))[0] == [2, 3]


def test_each_domain_counts_for_itself() -> None:
    images = found("one/0.png", "one/1.png")
    images += found("one/1.tiff", "one/2.tiff", folder="/hot", domain="thermal")
    values, notes = match(images, table(*frames("one", 1, 2), first=1))
    assert values == [1, 2, 1, 2]
    assert any("rgb images count from 0" in note for note in notes)
    assert any("thermal images count from 1" in note for note in notes)


def test_recordings_that_prove_the_contrary_of_each_other_are_refused() -> None:
    images = found("one/0.png", "two/1.png", "two/2.png")
    rows = table(*frames("one", 1, 2), *frames("two", 1, 2), first=1)
    with pytest.raises(
        DataError, match=r"labels count frames from 1, but .*of one from 0 and those of two from 1"
    ):
        match(images, rows)
    assert match(images, rows, offset=0)[0] == [None, 3, 4]


def test_labels_that_count_the_images_of_a_folder_are_refused() -> None:
    images = found(*(f"one/{number}.png" for number in (5, 10, 15, 20, 25)))
    rows = table(*frames("one", 1, 2, 3, 4, 5), first=1)
    with pytest.raises(
        DataError, match=r"one has labels of 5 frames, 1 to 5, and as many rgb images, but .* to 25"
    ):
        match(images, rows)
    assert match(images, rows, offset=0)[0] == [5, None, None, None, None]
    some = found("one/1.png", "one/2.png", "one/4.png", "one/5.png", "one/6.png")
    assert match(some, rows)[0] == [1, 2, 4, 5, None]  # one more frame than labels, and one lost


def test_a_given_offset_goes_before_the_images() -> None:
    images = found("one/0.png", "one/1.png")
    values, notes = match(images, table(*frames("one", 1, 2), first=1), offset=0)
    assert values == [None, 1]
    assert f"{HOME}: label 1 belongs to frame 1 of the rgb images, as --frame-offset says." in notes
    assert match(images, table(*frames("one", 4, 5)), offset=-4)[0] == [1, 2]
    with pytest.raises(UsageError, match="--frame-offset 1: no label names a frame"):
        match(images, table({"stem": "0"}), offset=1)


def test_frames_of_a_layout_that_lays_nothing_down_mean_the_images() -> None:
    images = found("F001/0.png", "F001/1.png", "F001/2.png")
    assert match(images, table(*of_subject("F001", 1, 2)))[0] == [None, 1, 2]


def test_images_numbered_like_the_labels_but_shifted_are_refused_until_told() -> None:
    images = found(*(f"S1/{number}.png" for number in (1, 2, 3)))
    rows = table(*of_subject("S1", 0, 1, 2))
    with pytest.raises(
        DataError,
        match=r"S1 has labels of the frames 0 to 2, but rgb images 1 to 3, as many\. .*offset 1; ",
    ):
        match(images, rows)
    assert match(images, rows, offset=1)[0] == [1, 2, 3]
    assert match(images, rows, offset=0)[0] == [2, 3, None]
    assert match(images[:2], rows)[0] == [2, 3]  # which may be some of the frames


def test_images_without_labels_are_counted_and_those_of_two_domains_always() -> None:
    images = found("S1/1.png", "S1/2.png", "S1/3.png")
    assert match(images, table(*of_subject("S1", 1, 2)))[1] == ["2 of 3 rgb images have labels."]
    assert match(images, table(*of_subject("S1", 1, 2, 3)))[1] == []
    images += found("S1/3.tiff", folder="/hot", domain="thermal")
    told = ["3 of 3 rgb and 1 of 1 thermal images have labels."]
    assert match(images, table(*of_subject("S1", 1, 2, 3)))[1] == told


def test_cameras_that_took_different_numbers_of_frames_are_told() -> None:
    rows = table(*frames("one", 1, 2, 3), *frames("two", 1, 2, 3), first=1)
    rgb = found(*(f"{name}/{number}.png" for name in ("one", "two") for number in (1, 2, 3)))
    slow = found("one/0.tiff", "two/0.tiff", "two/2.tiff", folder="/hot", domain="thermal")
    notes = match([*rgb, *slow], rows)[1]
    told = f"{HOME}: rgb images of one end with frame 3 of the labels, thermal ones with 1; both "
    assert [note for note in notes if "cameras took frames together" in note] == [
        f"{told}have the same labels, which is right only if the cameras took frames together."
    ]


def test_rows_dropped_while_reading_count_as_unmatched() -> None:
    notes = match(found("s/a.png"), table({"stem": "a"}, unused=7))[1]
    assert notes == [f"{HOME}: 7 of 8 rows name no found image."]


def test_two_corpora_make_a_union_of_units_with_the_others_unknown() -> None:
    images = found("SN001/1.png", "F001/T1/1.png")
    one = LabelTable(
        Path("d"), "occurrence",
        (LabelRow(row=1, subject="SN001", frame=1, action_units={1: 1.0, 5: 0.0}),), (), "disfa",
    )  # fmt: skip
    other = LabelTable(
        Path("b"), "occurrence",
        (LabelRow(row=1, subject="F001", sequence="T1", frame=1, action_units={1: 0.0, 7: 1.0}),),
        (), "bp4d",
    )  # fmt: skip
    known, _ = match_labels(images, [one, other], None)
    assert [dict(image.action_units) for image in known] == [{1: 1, 5: 0}, {1: 0, 7: 1}]


def test_what_another_table_adds_to_one_image_is_not_added_to_those_that_share_its_units() -> None:
    images = found("s/a.png", "s/b.png")
    shared = {1: 1.0}
    one = LabelTable(
        Path("one"),
        "occurrence",
        tuple(LabelRow(row=1, stem=stem, action_units=shared) for stem in "ab"),
        (),
    )
    other = LabelTable(
        Path("other"), "occurrence", (LabelRow(row=1, stem="a", action_units={2: 0.0}),), ()
    )
    known, _ = match_labels(images, [one, other], None)
    assert [dict(image.action_units) for image in known] == [{1: 1, 2: 0}, {1: 1}]
    assert shared == {1: 1.0}
    contrary = LabelTable(
        Path("other"), "occurrence", (LabelRow(row=1, stem="a", action_units={1: 0.0}),), ()
    )
    with pytest.raises(DataError, match="AU01 is 0, but another label file says 1"):
        match_labels(images, [one, contrary], None)
