"""Studies: a question of a paper, asked again, from recipe to table, figures and a sentence that the intervals allow.

Read ``cr_sam_geometry``, and copy it to make one of your own: ``landscape reproduce mine.py``.
"""

from landscape.studies.collected import Collected
from landscape.studies.cost import Cost, foresee_study
from landscape.studies.landscapes import Landscape
from landscape.studies.measure import Measure
from landscape.studies.plan import Plan
from landscape.studies.report import write_report
from landscape.studies.run import reproduce
from landscape.studies.store import Store, read_facts
from landscape.studies.study import SCALES, Finding, Study, find_study, named_studies

__all__ = [
    "SCALES",
    "Collected",
    "Cost",
    "Finding",
    "Landscape",
    "Measure",
    "Plan",
    "Store",
    "Study",
    "find_study",
    "foresee_study",
    "named_studies",
    "read_facts",
    "reproduce",
    "write_report",
]
