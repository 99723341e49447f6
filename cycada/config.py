"""The settings of both trainings, as frozen dataclasses: their defaults, meaning and ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cycada.settings import setting

Precision = Literal["auto", "no", "bf16", "fp16"]

DEFAULT_TRACKERS = ("tensorboard",)
_TRACKERS = (
    "what shows the figures while it trains, of those that Accelerate knows: tensorboard writes "
    "files in the run; others, such as wandb or mlflow, may send them to servers; [] none"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """The translator's networks (CycleGAN, Zhu et al., ICCV 2017, appendix 7.2)."""

    width: int = setting(
        0,
        "channels of the first layer, the middle having four times as many; 0 takes 24, or without "
        "skips the paper's 64",
        low=0,
    )
    blocks: int = setting(
        0,
        "residual blocks; 0 takes 6, or for a stated width or without skips the paper's 6 below "
        "256 px and 9 from there on",
        low=0,
    )
    skips: bool = setting(
        True,
        "carry fine detail past the coarse middle, as a U-Net does; false and nothing else: the "
        "paper's network",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """The patch discriminators (PatchGAN; Isola et al., CVPR 2017)."""

    width: int = setting(64, "channels of the first layer", low=1)
    layers: int = setting(
        3, "strided layers; a score sees 74 px with 3, 38 with 2, 20 with 1", low=1, high=5
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslatorWeights:
    """How much each term adds to the generators' loss (CycleGAN, sections 4 and 5.2)."""

    cycle: float = setting(10.0, "L1 between an image and its way there and back", low=0)
    rgb_cycle: float = setting(
        1.0,
        "factor of the RGB images' part of the cycle term; a small one lets translations drop "
        "what thermal cameras do not see",
        low=0,
    )
    identity: float = setting(
        5.0, "L1 between an image and its translation into its own domain", low=0
    )
    semantic: float = setting(
        1.0, "change of what the RGB detector says of a face (CyCADA, equation 4)", low=0
    )
    perceptual: float = setting(0.0, "LPIPS between an image and its way there and back", low=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslatorConfig:
    """Stage one: unpaired RGB <-> thermal translation."""

    data: tuple[str, ...] = setting((), "indexes with RGB and thermal faces (unpaired)")
    detector: str = setting("", "run of a detector trained on RGB, for the semantic term")
    size: int = setting(128, "side of the square images in px, a multiple of 4", low=16)
    generator: GeneratorConfig = setting(GeneratorConfig(), "")
    discriminator: DiscriminatorConfig = setting(DiscriminatorConfig(), "")
    weights: TranslatorWeights = setting(TranslatorWeights(), "")
    adversarial: Literal["least_squares", "hinge"] = setting(
        "least_squares", "adversarial loss: LSGAN (Mao et al., ICCV 2017) or hinge (Lim & Ye, 2017)"
    )
    rgb_cycle_block: int = setting(
        1,
        "side in px of the squares whose mean colours the RGB part of the cycle term compares; "
        "1: pixel by pixel (CycleGAN)",
        low=1,
    )
    thermal_detector: str = setting(
        "",
        "run of a detector adapted to thermal faces; it reads them for the semantic term instead "
        "of the semantic_judge, so a translation must show the AUs as real thermal faces do",
    )
    semantic_judge: Literal["following", "frozen", "joint"] = setting(
        "following",
        "who reads thermal faces for the semantic term: a copy of the RGB detector that learns "
        "to read the translations; the frozen RGB detector itself (with hard pseudo_labels the "
        "paper's form); or a network of its kind that learns the RGB faces' labels along and "
        "reads both domains (CyCADA's released code)",
    )
    semantic_below: float = setting(
        1.0,
        "the semantic term counts while the loss of a joint judge on labelled RGB faces is below "
        "this, in nats per AU or face (CyCADA's released code: 1)",
        low=0,
    )
    follower_learning_rate: float = setting(3e-4, "of the copy that follows (Adam)", low=0)
    pseudo_labels: Literal["soft", "hard"] = setting(
        "soft", "what the semantic term keeps: the detector's probabilities or its decisions"
    )
    lpips_weights: str = setting(
        "",
        "file with AlexNet's convolutions for the LPIPS term; empty: torchvision's, which "
        "--download fetches",
    )
    batch_size: int = setting(4, "images of each domain per step, over all processes", low=1)
    accumulate: int = setting(
        0,
        "portions, one after the other, in which each process goes through its images of a step, "
        "for batches that memory does not hold at once (docs/scaling.md); 0: what accelerate is "
        "told, else 1",
        low=0,
    )
    steps: int = setting(40_000, "optimizer steps", low=1)
    learning_rate: float = setting(2e-4, "of both Adam optimizers", low=0)
    decay_from: float = setting(
        0.5, "share of the steps after which the learning rate falls linearly to 0", low=0, high=1
    )
    pool: int = setting(
        50,
        "made images kept for the discriminators (Shrivastava et al., CVPR 2017); 0 keeps none",
        low=0,
    )
    average_decay: float = setting(
        0.999, "decay per step of the averaged weights used for translation", low=0, high=0.999999
    )
    clip_norm: float = setting(0.0, "largest gradient norm per player; 0 does not clip", low=0)
    flip: bool = setting(True, "show every second face mirrored")
    mixed_precision: Precision = setting(
        "auto",
        "half precision; auto takes what accelerate launch asks for, else bf16 where the hardware "
        "multiplies in it",
    )
    double: bool = setting(False, "compute in float64 (to compare runs exactly)")
    workers: int = setting(2, "processes that decode images where the set exceeds the cache", low=0)
    cache_mb: int = setting(
        2048, "memory of a host for decoded images, in MB; its processes share them", low=0
    )
    log_every: int = setting(50, "steps between two log lines", low=1)
    sample_every: int = setting(1000, "steps between two grids of sample translations", low=1)
    save_every: int = setting(1000, "steps between two checkpoints", low=1)
    keep: int = setting(2, "checkpoints kept", low=1)
    steps_back: int = setting(
        3,
        "how often a training whose loss is not finite goes back to its last checkpoint, and on "
        "with half the learning rate; 0 ends it",
        low=0,
    )
    trackers: tuple[str, ...] = setting(DEFAULT_TRACKERS, _TRACKERS)
    share_samples: bool = setting(
        False,
        "give trackers other than tensorboard the sample grids, too, which show faces; a licence "
        "may forbid it",
    )
    seed: int = setting(0, "of weights, order, flips and replay", low=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """Random changes of the training images, drawn anew in every step."""

    flip: float = setting(0.5, "probability of a mirror image", low=0, high=1)
    rotate: float = setting(10.0, "largest rotation, in degrees", low=0, high=180)
    scale: float = setting(0.1, "largest change of size, as a share", low=0, high=0.9)
    shift: float = setting(0.06, "largest shift, as a share of the side", low=0, high=1)
    brightness: float = setting(
        0.15, "largest change of level, as a share of half the range", low=0
    )
    contrast: float = setting(0.25, "largest change of contrast, as a share", low=0, high=1)
    invert: float = setting(
        0.0,
        "probability that bright becomes dark; half makes RGB detectors look at shape, for "
        "creases are dark in RGB and warm, so bright, in thermal",
        low=0,
        high=1,
    )
    blur: float = setting(0.8, "largest Gaussian blur, standard deviation in px", low=0)
    noise: float = setting(0.03, "largest deviation of added noise, as a share of the range", low=0)
    erase: float = setting(0.0, "probability that a rectangle is blanked", low=0, high=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignmentConfig:
    """Stage two: how the features of source and target faces are made alike."""

    method: Literal["none", "dann", "cdan", "adda"] = setting(
        "none",
        "none trains on the source alone; dann reverses the domain classifier's gradient (Ganin et "
        "al., JMLR 2016); cdan does so for features times answers (Long et al., NeurIPS 2018); "
        "adda trains a target encoder against a frozen one (Tzeng et al., CVPR 2017)",
    )
    reads: Literal["features", "scores"] = setting(
        "features",
        "what dann's and adda's domain classifier sees: features (the papers) or the scores of "
        "AUs or classes (CyCADA's released code)",
    )
    weight: float = setting(0.1, "of the adversarial term", low=0)
    warm_up: float = setting(
        0.3,
        "share of the steps over which dann's and cdan's weight rises to its full value",
        low=0,
        high=1,
    )
    hidden: int = setting(256, "units in each of the domain classifier's two layers", low=1)
    learning_rate: float = setting(5e-4, "of the domain classifier", low=0)
    healthy_from: float = setting(
        0.6,
        "adda's encoder learns only while the domain classifier is right this often (CyCADA)",
        low=0,
        high=1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTrainingConfig:
    """Stage two: what the target's unlabelled faces teach beyond alignment."""

    information: float = setting(
        0.0,
        "weight of information maximisation: each answer sure, all together as varied as expected "
        "(SHOT, Liang et al., ICML 2020); classes alike, AUs as often as in the source",
        low=0,
    )
    consistency: float = setting(
        0.0,
        "weight of the mean teacher: changed views are to be answered as the averaged weights "
        "answer the plain face (Tarvainen & Valpola, NIPS 2017; French et al., ICLR 2018)",
        low=0,
    )
    confidence: float = setting(
        0.9, "how sure the mean teacher must be of an answer to teach it", low=0.5, high=1
    )
    warm_up: float = setting(
        0.3, "share of the steps over which both weights rise to their full value", low=0, high=1
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorConfig:
    """Stage two: the Action Unit detector, with or without alignment to real thermal faces."""

    source: tuple[str, ...] = setting((), "indexes with labelled faces")
    source_domain: Literal["auto", "rgb", "thermal", "both"] = setting(
        "auto", "rows of the source indexes to learn from; auto: of each index its rgb rows, if any"
    )
    target: tuple[str, ...] = setting(
        (), "indexes whose thermal faces are aligned to or answered by teachers, unlabelled"
    )
    teachers: tuple[str, ...] = setting(
        (), "runs of detectors whose joint answers on the target's faces are learned as well"
    )
    teacher_weight: float = setting(
        6.0, "of the teachers' answers; the source's labels count 1", low=0
    )
    teacher_answers: Literal["probabilities", "centroids"] = setting(
        "probabilities",
        "what teachers answer: their joint probabilities, or which class's (AU's present or "
        "absent) mean features a face's features are nearest to, as in SHOT",
    )
    teacher_centring: float = setting(
        0.7,
        "share of what the other faces of a subject have alike that is taken off the teachers' "
        "answers, in log-odds: folds and low brows look like AUs in all faces of a person",
        low=0,
        high=1,
    )
    labelled_target: tuple[str, ...] = setting(
        (), "indexes whose labelled thermal faces are mixed into the source"
    )
    target_labels: int = setting(
        0,
        "subjects of the target whose labels are used after all: their faces are mixed into the "
        "source as those of labelled_target, and no teacher answers for them; more subjects add "
        "to fewer",
        low=0,
    )
    labelled_share: float = setting(
        0.25,
        "share of each batch taken from labelled_target and target_labels' subjects",
        low=0,
        high=0.9,
    )
    initial: str = setting("", "run of a detector to begin from; adda needs one (its step one)")
    task: Literal["auto", "action_units", "classes"] = setting(
        "auto",
        "what to learn of a face: the AUs that occur, or the one class that its label names; "
        "auto: AUs where the source has any",
    )
    action_units: tuple[int, ...] = setting((), "AUs to detect; empty: all that the source labels")
    backbone: Literal["small", "regions", "lenet", "resnet18", "resnet50", "convnext_tiny"] = (
        setting(
            "resnet18",
            "network; small is a convnet for images of about 64 px, regions several of them for "
            "eyes, nose and mouth, which one more finds that learns from the source's "
            "landmarks.csv, lenet that of the papers for digits of 28 px",
        )
    )
    view: Literal["image", "structure"] = setting(
        "image",
        "what the network sees: the image, or its edges and creases without their sign and "
        "strength, which RGB and thermal faces share",
    )
    width: int = setting(
        24, "channels of the small network's first layer; regions have 2/3 and 1/2", low=1
    )
    pretrained: str = setting(
        "imagenet", "initial weights: imagenet (--download fetches them), none, or a local file"
    )
    channels: Literal[0, 1, 3] = setting(0, "of the input; 0: 3 for RGB sources, 1 for thermal")
    size: int = setting(128, "side of the square images in px", low=16)
    augment: AugmentConfig = setting(AugmentConfig(), "")
    alignment: AlignmentConfig = setting(AlignmentConfig(), "")
    self_training: SelfTrainingConfig = setting(SelfTrainingConfig(), "")
    positive_weight: float = setting(
        0.5,
        "exponent of (absent/present) that weighs present AUs, and of (mean/own number) that "
        "weighs classes; 0 none, 1 full balance",
        low=0,
        high=1,
    )
    choose: Literal[
        "auto", "validation", "last", "information", "net_information", "density", "nuclear_norm"
    ] = setting(
        "auto",
        "which weights to keep, of those looked at every so often: the best on the source's "
        "validation faces, the last, or the best by a criterion on unlabelled target faces "
        "(cycada/metrics/validators.py; net_information is information less the shift of the "
        "answers' frequencies); auto: the last with a target, else validation",
    )
    batch_size: int = setting(32, "labelled images per step, over all processes", low=1)
    accumulate: int = setting(
        0,
        "portions, one after the other, in which each process goes through its images of a step, "
        "for batches that memory does not hold at once (docs/scaling.md); 0: what accelerate is "
        "told, else 1",
        low=0,
    )
    steps: int = setting(6000, "optimizer steps", low=1)
    learning_rate: float = setting(5e-4, "peak of the cosine schedule (AdamW)", low=0)
    weight_decay: float = setting(0.01, "of AdamW", low=0)
    average_decay: float = setting(0.995, "decay per step of the averaged weights", low=0, high=1)
    clip_norm: float = setting(5.0, "largest gradient norm; 0 does not clip", low=0)
    mixed_precision: Precision = setting(
        "auto",
        "half precision; auto takes what accelerate launch asks for, else bf16 where the hardware "
        "multiplies in it",
    )
    double: bool = setting(False, "compute in float64 (to compare runs exactly)")
    workers: int = setting(2, "processes that decode images where the set exceeds the cache", low=0)
    cache_mb: int = setting(
        2048, "memory of a host for decoded images, in MB; its processes share them", low=0
    )
    log_every: int = setting(50, "steps between two log lines", low=1)
    validate_every: int = setting(500, "steps between two looks at the validation faces", low=1)
    save_every: int = setting(500, "steps between two checkpoints", low=1)
    keep: int = setting(2, "checkpoints kept", low=1)
    steps_back: int = setting(
        3,
        "how often a training whose loss is not finite goes back to its last checkpoint, and on "
        "with half the learning rate; 0 ends it",
        low=0,
    )
    trackers: tuple[str, ...] = setting(DEFAULT_TRACKERS, _TRACKERS)
    seed: int = setting(0, "of weights, order and augmentation", low=0)
