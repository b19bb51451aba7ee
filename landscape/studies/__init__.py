"""Studies: a question of a paper, asked again, from recipe to table, figures and a sentence that the intervals allow.

Read ``papers/cr_sam_geometry.py``, and copy it to make one of your own: ``landscape reproduce mine.py``.
"""

from landscape.studies.collected import Collected
from landscape.studies.plan import Plan, Store, read_facts
from landscape.studies.run import Cost, estimate_cost, reproduce
from landscape.studies.steps import Measure, MeasurePlane
from landscape.studies.study import SCALES, Finding, Study, drawn, find_study, grown, named_studies
from landscape.studies.writeup import write_up

__all__ = [
    "SCALES",
    "Collected",
    "Cost",
    "Finding",
    "Measure",
    "MeasurePlane",
    "Plan",
    "Store",
    "Study",
    "drawn",
    "estimate_cost",
    "find_study",
    "grown",
    "named_studies",
    "read_facts",
    "reproduce",
    "write_up",
]
