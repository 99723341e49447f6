"""What ends an apnea, window by window: the watch alone, told what the rates say."""

from __future__ import annotations

import numpy as np

from cycada.vitals.apnea import ApneaWatch
from cycada.vitals.respiration import GRID, WINDOW, Array


def window(now: float, *, stops: float, depth: float = 0.02) -> dict[str, Array]:
    """Return breaths of 1 up to a time, and of a depth from then on."""
    times = now - np.arange(round(WINDOW * GRID))[::-1] / GRID
    breath = np.sin(2 * np.pi * 0.25 * times) * np.where(times < stops, 1.0, depth)
    return {"nostrils": breath, "mouth": 0.02 * np.sin(2 * np.pi * 0.3 * times)}


def watched(
    length: int, *, stops: float, told: dict[int, str], depth: float = 0.02
) -> dict[int, float]:
    """Return since when breathing has stopped, by the second; a rate is told until it stops."""
    watch, found = ApneaWatch(), {}
    for now in range(30, length):
        parts = ["nostrils"] if now <= stops + 5 else [told[now]] if now in told else []
        watch.see(float(now), window(now, stops=stops, depth=depth), told=parts)
        found[now] = watch.since
    return found


def test_a_rate_of_a_second_in_a_long_apnea_does_not_end_it() -> None:
    for part in ("nostrils", "mouth"):
        found = watched(180, stops=70, told={110: part, 140: part})
        assert all(abs(found[now] - 70) < 2 for now in range(85, 180))


def test_a_rate_that_stays_makes_shallow_breaths_usual() -> None:
    for part, after in (("nostrils", 10), ("mouth", 20)):
        found = watched(180, stops=70, told=dict.fromkeys(range(110, 180), part), depth=0.3)
        assert not np.isnan(found[109 + after])
        assert np.isnan([found[now] for now in range(111 + after, 180)]).all()


def with_noise_and_mouth(now: float, *, stops: float, mouth_from: float) -> dict[str, Array]:
    """Return breaths by the nose, a cheek of noise alone, and a mouth that begins to breathe."""
    times = now - np.arange(round(WINDOW * GRID))[::-1] / GRID
    noise = np.random.default_rng(int(now)).standard_normal(len(times))
    return {
        "nostrils": 0.1 * np.sin(2 * np.pi * 0.25 * times) * (times < stops),
        "cheek": 0.015 * noise,
        "mouth": 0.1 * np.sin(2 * np.pi * 0.25 * times) * (times > mouth_from),
    }


def test_the_noise_of_a_part_that_hardly_swings_hides_no_apnea() -> None:
    watch = ApneaWatch()
    for now in range(30, 83):
        parts = with_noise_and_mouth(now, stops=70, mouth_from=1e9)
        watch.see(float(now), parts, told=["nostrils", "cheek"] if now <= 72 else [])
    assert abs(watch.since - 70) < 1.5


def test_who_goes_on_by_the_mouth_has_no_apnea() -> None:
    watch = ApneaWatch()
    for now in range(30, 120):
        parts = with_noise_and_mouth(now, stops=70, mouth_from=70)
        watch.see(float(now), parts, told=["nostrils", "mouth"] if now <= 72 else ["mouth"])
        assert np.isnan(watch.since), now


def test_an_apnea_that_one_part_has_ended_begins_again_when_that_part_stops_and_not_before() -> (
    None
):
    for begins, ends in ((100, 120), (100, 1000), (70, 100)):  # s in which the cheek breathes alone
        watch, found = ApneaWatch(), {}
        for now in range(30, 160):
            times = now - np.arange(round(WINDOW * GRID))[::-1] / GRID
            breath = np.sin(2 * np.pi * 0.25 * times)
            alone = (times > begins) & (times < ends)
            parts = {
                "nostrils": breath * (times < 70),
                "cheek": 0.3 * breath * ((times < 70) | alone),
            }
            watch.see(float(now), parts, told=["nostrils", "cheek"] if now <= 70 else [])
            found[now] = watch.since
        first = [found[now] for now in range(85, 101)]
        assert (
            all(abs(since - 70) < 1.5 for since in first) if begins > 70 else np.isnan(first).all()
        )
        assert np.isnan([found[now] for now in range(begins + 5, min(ends + 9, 160))]).all()
        assert all(abs(found[now] - ends) < 2 for now in range(ends + 12, 160))


def test_a_part_that_tells_a_rate_breathes_however_deep_another_once_swung() -> None:
    watch = ApneaWatch()
    for now in range(30, 130):
        times = now - np.arange(round(WINDOW * GRID))[::-1] / GRID
        breath = np.sin(2 * np.pi * 0.25 * times)
        parts = {"mouth": 0.4 * breath * (times < 70), "nostrils": 0.06 * breath}
        watch.see(float(now), parts, told=["mouth", "nostrils"] if now < 70 else ["nostrils"])
        assert np.isnan(watch.since)


def test_an_apnea_does_not_begin_before_the_face_was_seen_again() -> None:
    for breathes in (1.0, 0.02):
        watch = ApneaWatch()
        for now in range(30, 70):
            watch.see(float(now), window(now, stops=1e9), told=["nostrils"])
        for _ in range(70, 200):
            watch.see_nothing()
        for now in range(210, 240):  # seen since 200
            watch.see(float(now), window(now, stops=-1e9, depth=breathes), told=[])
            assert np.isnan(watch.since) if breathes == 1.0 else watch.since >= 200
