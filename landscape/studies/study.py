"""What a study is: which networks are trained, what is measured of them, and what is drawn and said of that.

A study is a file that ends in ``STUDY = Study(...)``. What it says, in its first sentence and in every finding, is a
function of the results, and rests on their intervals over seeds: whoever runs it anew, or changes it, gets the sentence
that his own numbers allow.
"""

import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from matplotlib.figure import Figure

from landscape.figures import KINDS, Table, draw
from landscape.reading import FileError, running
from landscape.statistics import Interval
from landscape.studies.collected import Collected
from landscape.studies.plan import Plan, key, read_facts
from landscape.studies.seeds import agrees, all_agree, percent

SCALES = ("laptop", "gpu")
_PAPERS = Path(__file__).parent / "papers"


@dataclass(frozen=True)
class Finding:
    """What a paper says, and what was found here."""

    claim: str  # of the paper, with its figure or table
    found: str  # here, with its interval
    agrees: bool | None  # whether that is the same; None where the intervals cannot tell
    why: str = ""  # why it may differ, which is said where it is not known to agree

    @classmethod
    def that_all(
        cls,
        claim: str,
        expected: str,
        differences: Mapping[str, Interval],
        why: str = "",
        words: Callable[[Interval], str] = percent,
    ) -> "Finding":
        """The finding on a claim that all of some differences are "higher", or "lower", as ``expected``.

        Example:
            >>> Finding.that_all("SAM is flatter", "lower", {"trace": Interval(-0.5, -0.6, -0.4, 3)})
            Finding(claim='SAM is flatter', found='trace 50 % lower (40 to 60)', agrees=True, why='')
        """
        found = "; ".join(f"{what} {words(one)}" for what, one in differences.items())
        return cls(claim, found, all_agree(agrees(one, expected) for one in differences.values()), why)


@dataclass(frozen=True)
class Study:
    """A question, and all that it takes to answer it."""

    name: str  # as in ``landscape reproduce NAME``
    question: str  # in a sentence
    paper: str  # whose question it was
    plan: Callable[[str, str], Plan]  # of scale and data, which names the images of scale "gpu"
    answer: Callable[[Collected], str]  # one sentence, chosen by the intervals
    findings: Callable[[Collected], Sequence[Finding]]  # each of the paper's claims beside what was found
    tables: Mapping[str, Callable[[Collected], Table]]  # by name of the file
    figures: Mapping[str, Callable[[Collected], Figure | Table]]  # likewise; the first one stands for the study
    limits: str | Callable[[Collected], str]  # what a reader must know: what was cut, and how choices were made
    in_full: Callable[[Collected], str] = lambda _: ""  # what there is to say beside the answer
    grow: Callable[[Collected], Plan | None] = lambda _: None  # a longer plan that the seeds that choose ask for


def grown(study: Study, plan: Plan, out: Path) -> Plan:
    """The plan with all that its results ask for; as it is where the seeds that choose are not all done."""
    while plan.tuning_seeds and {key(run) for run in plan.tuning_runs} <= read_facts(out).get("trainings", {}).keys():
        longer = study.grow(Collected(plan, out))
        if longer is None:
            break
        plan = longer
    return plan


def drawn(kind: str) -> Callable[[Collected], Figure | Table]:
    """One of the kinds of ``landscape figures --list``, drawn from all runs of a study.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"figure {kind!r} is unknown. Expected one of: {', '.join(KINDS)}.")
    return lambda found: draw(kind, found.runs)


def find_study(name: str) -> Study:
    """The study of this name, or the ``STUDY`` of a file.

    Raises:
        ValueError: there is neither.

    Example:
        >>> find_study("gam-geometry").name
        'gam-geometry'
    """
    studies = named_studies()
    if name in studies:
        return studies[name]
    if not (name.endswith(".py") and Path(name).exists()):
        raise ValueError(f"study '{name}' is unknown. Expected one of: {', '.join(studies)}; or a file: mine.py.")
    with running(Path(name)):
        study = runpy.run_path(name).get("STUDY")
    if not isinstance(study, Study):
        raise FileError(f"{name} defines no STUDY = Study(...). See {_PAPERS / 'cr_sam_geometry.py'}.")
    return study


def named_studies() -> dict[str, Study]:
    """Our studies by name: the files of ``papers``, which are imported here and not above, since they import this."""
    modules = (import_module(f"landscape.studies.papers.{path.stem}") for path in sorted(_PAPERS.glob("[!_]*.py")))
    return {module.STUDY.name: module.STUDY for module in modules}
