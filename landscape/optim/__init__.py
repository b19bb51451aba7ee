"""Optimizers that look around the weights before they step: each wraps a torch optimizer and takes a closure."""

from landscape.optim.asam import ASAM
from landscape.optim.crsam import CRSAM
from landscape.optim.curvsam import CurvSAM
from landscape.optim.gam import GAM
from landscape.optim.rsam import RSAM
from landscape.optim.sam import SAM
from landscape.optim.sasam import SASAM
from landscape.optim.sasgd import SASGD

__all__ = ["ASAM", "CRSAM", "GAM", "RSAM", "SAM", "SASAM", "SASGD", "CurvSAM"]
