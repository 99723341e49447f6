"""The figures of the items of a gallery: what each one is, and which end of it is the worst."""

from __future__ import annotations

from cycada.config import TranslatorConfig
from cycada.data.index import Domain
from cycada.report.gallery_items import FigureColumn
from cycada.stages.report_readers import Readers
from cycada.thermal import Window


def au_figures(readers: Readers | None, source: Domain) -> list[FigureColumn]:
    """Return how far the answers change on the way; those that the readers can tell."""
    sides = readers.sides(source) if readers is not None else ()
    figures = []
    if {"source", "made"} <= set(sides):
        figures += [
            FigureColumn(
                key="change", label="AU change", worst="high",
                note="AU-preservation loss: mean change of the probabilities from the source to "
                "its translation, 0 to 1.",
            ),
            FigureColumn(
                key="flips", label="AUs flipped", worst="high",
                note="Decisions that differ between the source and its translation.",
            ),
        ]  # fmt: skip
    if {"source", "again"} <= set(sides):
        figures.append(
            FigureColumn(
                key="change_again", label="AU change, there and back", worst="high",
                note="Mean change of the probabilities from the source to what came back of it, "
                "0 to 1.",
            )
        )  # fmt: skip
    return figures


def cycle_figures(kind: str, window: Window | None) -> list[FigureColumn]:
    """Return how far an image is from what came back of it."""
    figures = [
        FigureColumn(
            key="cycle", label="Cycle error", worst="high",
            note=f"Mean absolute difference of the {kind} image and what came back of it, in "
            "[-1, 1].",
        )
    ]  # fmt: skip
    if window is not None:
        figures.append(
            FigureColumn(
                key="cycle_celsius", label="Cycle error, °C", worst="high",
                note="The cycle error in deg C.",
            )
        )  # fmt: skip
    return figures


def paired_figures(window: Window | None) -> list[FigureColumn]:
    """Return how far a translation is from the true image of the same face."""
    figures = [
        FigureColumn(
            key="paired", label="Error to the truth", worst="high",
            note="Mean absolute difference of the translation and the true thermal image of the "
            "same face, in [-1, 1].",
        ),
        FigureColumn(
            key="follows", label="Correlation with the truth", worst="low",
            note="Pearson's correlation over pixels of the translation and the true thermal "
            "image; below 0 warm and cold have changed places.",
        ),
    ]  # fmt: skip
    if window is not None:
        figures[0] = FigureColumn(
            key="paired_celsius", label="Error to the truth, °C", worst="high",
            note="Mean absolute difference of the translation and the true thermal image of the "
            "same face, in deg C.",
        )  # fmt: skip
    return figures


def judge_figure(config: TranslatorConfig, domain: Domain) -> list[FigureColumn]:
    """Return what the run's own discriminator thinks of a translation."""
    kind = "RGB" if domain == "rgb" else "thermal"
    scale = (
        "1 is what it was taught to say of real images, 0 of made ones"
        if config.adversarial == "least_squares"
        else "above 1 it is sure of a real image, below -1 of a made one"
    )
    return [
        FigureColumn(
            key="judge", label="Discriminator", worst="low",
            note=f"Mean over patches of what the run's {kind} discriminator says of the "
            f"translation: {scale}.",
        )
    ]  # fmt: skip


def luminance_figure() -> list[FigureColumn]:
    """Return how far a thermal image is a photograph in grey."""
    return [
        FigureColumn(
            key="luminance", label="Correlation with luminance", worst="low",
            note="Pearson's correlation over pixels of the thermal image with the luminance of "
            "its RGB source; an inverted photograph reaches -1.",
        )
    ]  # fmt: skip


def nearest_figure(window: Window | None) -> list[FigureColumn]:
    """Return how far the nearest real thermal face is."""
    unit = "in [-1, 1]" if window is None else "in deg C"
    return [
        FigureColumn(
            key="nearest",
            label="Distance to real" + ("" if window is None else ", °C"),
            worst="high",
            note="Distance to the nearest of up to 500 real thermal faces: root of the mean "
            f"squared difference of images averaged over 16 × 16 squares, {unit}.",
        )
    ]


def quality_figures() -> list[FigureColumn]:
    """Return what betrays images that show little: flat, blurred or of noise."""
    return [
        FigureColumn(
            key="contrast", label="Contrast", worst="low",
            note="Standard deviation of the pixels, in [-1, 1].",
        ),
        FigureColumn(
            key="detail", label="Fine detail", worst="low",
            note="Root mean square of what the networks see as fine detail, four times the "
            "difference of a pixel from the mean around it: low where an image is blurred.",
        ),
    ]  # fmt: skip


def loss_figures(*, calibrated: bool) -> list[FigureColumn]:
    """Return how wrong a detector is about a face."""
    which = "calibrated probabilities" if calibrated else "probabilities"
    return [
        FigureColumn(
            key="log_loss", label="Log-loss", worst="high",
            note=f"Mean negative logarithm of the {which} of what is true, over the annotated "
            "answers, in nats.",
        ),
        FigureColumn(
            key="wrong", label="Wrong decisions", worst="high",
            note="Annotated answers that were decided wrongly.",
        ),
    ]  # fmt: skip
