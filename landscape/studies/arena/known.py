"""Our optimizers as arms, by the names that ``landscape arena --optimizers`` takes.

ASAM's radius is in units of the weights' own sizes, where ten times as much is usual (Kwon et al. 2021). The radius of
SA-SAM is the root of its step size, and SA-SGD has none: of both the first step size is swept, a tenth of the point.
They choose their step size themselves, and so have no schedule.
"""

from typing import Any

from landscape.studies.arena.arms import Arm

_ITSELF: dict[str, Any] = {"knob": "lr", "unit": 0.1}
_ALONE = {"schedule": "constant", "schedule_args": {}}

ARMS = {
    "sgd": Arm("SGD", "sgd", knob=None),
    "sam": Arm("SAM", "sam"),
    "asam": Arm("ASAM", "asam", unit=10.0),
    "r-sam": Arm("R-SAM", "r-sam"),
    "cr-sam": Arm("CR-SAM", "cr-sam"),
    "cr-sam-log": Arm("CR-SAM log", "cr-sam", {"regularizer": "log"}),
    "sa-sgd": Arm("SA-SGD", "sa-sgd", settings=_ALONE, **_ITSELF),
    "sa-sam": Arm("SA-SAM", "sa-sam", settings=_ALONE, **_ITSELF),
    "curvsam": Arm("CurvSAM", "curvsam"),
    "gam": Arm("GAM", "gam"),
    "sam+gam": Arm("SAM+GAM", "sam+gam"),
    "gam-accelerated": Arm("GAM accelerated", "gam", {"mode": "accelerated"}),
}
