"""Comparisons of optimizers that are fair by construction: one grid of radii, equal budgets, one family of claims."""

from landscape.studies.arena.arms import BUDGETS, Arena, ArenaPlan, Arm, gradients_a_step
from landscape.studies.arena.claims import Claim
from landscape.studies.arena.known import ARMS
from landscape.studies.arena.report import arena_study, drawn_by_epoch, trials_of
from landscape.studies.arena.trials import ACCURACY, Trials
from landscape.studies.arena.words import find, in_a_sentence, in_words, radii_told

__all__ = [
    "ACCURACY",
    "ARMS",
    "BUDGETS",
    "Arena",
    "ArenaPlan",
    "Arm",
    "Claim",
    "Trials",
    "arena_study",
    "drawn_by_epoch",
    "find",
    "gradients_a_step",
    "in_a_sentence",
    "in_words",
    "radii_told",
    "trials_of",
]
