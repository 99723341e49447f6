"""Phantom faces: parametric heads with known Action Units, seen in colour and in deg C."""

from __future__ import annotations

from cycada.data.phantom.anatomy import LANDMARK_NAMES, landmarks
from cycada.data.phantom.clip import render_clip, sample_clip
from cycada.data.phantom.clip_sampling import SCENARIOS, Scenario, sample_spec, scenario
from cycada.data.phantom.clip_spec import (
    Clip,
    ClipSpec,
    ClipTruth,
    Expression,
    Freeze,
    Phase,
    Span,
)
from cycada.data.phantom.expression import PHANTOM_ACTION_UNITS, Domain, sample_intensities
from cycada.data.phantom.identity import Identity, sample_identities
from cycada.data.phantom.render import Pair, render_celsius, render_pair, render_rgb
from cycada.data.phantom.scene import Scene, sample_scenes
from cycada.data.phantom.video import Sequence, SequenceTruth, sample_sequence

__all__ = [
    "LANDMARK_NAMES",
    "PHANTOM_ACTION_UNITS",
    "SCENARIOS",
    "Clip",
    "ClipSpec",
    "ClipTruth",
    "Domain",
    "Expression",
    "Freeze",
    "Identity",
    "Pair",
    "Phase",
    "Scenario",
    "Scene",
    "Sequence",
    "SequenceTruth",
    "Span",
    "landmarks",
    "render_celsius",
    "render_clip",
    "render_pair",
    "render_rgb",
    "sample_clip",
    "sample_identities",
    "sample_intensities",
    "sample_scenes",
    "sample_sequence",
    "sample_spec",
    "scenario",
]
