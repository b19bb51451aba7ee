"""A study written up from its results alone: tables, figures, and a README that begins with the answer."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from landscape.figures import MissingMeasurementError, Table, save, save_table
from landscape.files import write_text
from landscape.measure import METRICS
from landscape.studies.collected import Collected
from landscape.studies.plan import Plan, read_facts, slug
from landscape.studies.study import Finding, Study

_VERDICTS = {True: "agrees", False: "**differs**", None: "cannot be told"}
_OF_TRAINING = ("accuracy", "loss")  # which training says of every split at its end
_LISTED = 5  # trainings or measurements that failed; the others are in the results


def write_up(study: Study, plan: Plan, out: Path, *, figures: bool = True) -> Path:
    """Write OUT/tables, OUT/figures and OUT/README.md, and return the last.

    Args:
        study: the study.
        plan: what was planned.
        out: folder of the study.
        figures: draw them, too.

    Raises:
        ValueError: nothing was measured yet.
    """
    found = Collected(plan, out)
    tables = {name: make(found) for name, make in study.tables.items()}
    (out / "tables").mkdir(exist_ok=True)
    for name, table in tables.items():
        save_table(table, out / "tables" / name)
    if figures:
        (out / "figures").mkdir(exist_ok=True)
        for name, make in study.figures.items():
            try:
                save(make(found), out / "figures" / name)
            except MissingMeasurementError:  # all runs of some kind diverged, which the report says
                continue
    write_text(out / "README.md", _readme(study, found, tables, out))
    return out / "README.md"


def _readme(study: Study, found: Collected, tables: dict[str, Table], out: Path) -> str:
    names, again = list(study.figures), _again(found)
    parts = [
        f"# {study.name}",
        f"**{study.answer(found)}**",
        *map(_picture, names[:1]),
        f"The question: {study.question} ({study.paper})",
        "```sh\n" + read_facts(out)["command"] + "\n```",
        study.in_full(found),
        _facts(found, out),
        "## Numbers",
        *(
            f"{table.markdown()}\n\n([CSV](tables/{name}.csv), [LaTeX](tables/{name}.tex))"
            for name, table in tables.items()
        ),
        *(["## Beside the paper", _beside(findings)] if (findings := study.findings(found)) else []),
        *(["## Figures", *map(_picture, names[1:]), "Each is also there as PDF."] if names[1:] else []),
        "## What failed",
        _failed(found),
        "## How it was done, and what that leaves open",
        study.limits if isinstance(study.limits, str) else study.limits(found),
        *(["## One number again", again] if again else []),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _picture(name: str) -> str:
    return f"![{name}](figures/{name}.png)"


def _facts(found: Collected, out: Path) -> str:
    provenance = found.analyses[0].provenance
    facts = read_facts(out)
    minutes = [sum(row["seconds"] for row in found.trainings), sum(a.provenance["seconds"] for a in found.analyses)]
    recipe = found.plan.recipes[0]
    examples = {split: num for analysis in found.analyses for split, num in analysis.objective["num_examples"].items()}
    devices = sorted({a.provenance["device"] for a in found.analyses})
    threads = sorted({str(a.provenance["num_threads"]) for a in found.analyses})
    rows = {
        "scale": facts["scale"],
        "n": f"{found.plan.num_seeds} seeds of {len(found.plan.recipes)} recipes: {len(found.trainings)} trainings, "
        f"of which {len(found.diverged)} diverged",
        "network": f"{recipe.model}, {found.analyses[0].objective['num_params']:,} parameters",
        "data": f"{recipe.data.partition(':')[0]}; measured on "
        + ", ".join(f"{num:,} {split}" for split, num in examples.items()),
        "device": f"{', '.join(devices)}, {' or '.join(threads)} thread{'' if threads == ['1'] else 's'}",
        "versions": ", ".join(f"{name} {provenance[name]}" for name in ("landscape", "torch", "python")),
        "duration": " and ".join(
            f"{seconds / 60:.1f} min of {what}"
            for seconds, what in zip(minutes, ("training", "measuring"), strict=True)
        ),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {words} |" for name, words in rows.items())])


def _beside(findings: Sequence[Finding]) -> str:
    lines = ["| the paper says | here | |", "|---|---|---|"]
    lines += [f"| {one.claim} | {one.found} | {_VERDICTS[one.agrees]} |" for one in findings]
    whys = dict.fromkeys(one.why for one in findings if one.why and not one.agrees)
    return "\n".join(lines) + ("\n\nWhy it may differ:\n\n" + "\n".join(f"- {why}" for why in whys) if whys else "")


def _failed(found: Collected) -> str:
    num = sum(len(splits) for run in found.runs for splits in run.splits.values())
    diverged = [f"{row['name']}, seed {row['seed']}: {row['reason']}" for row in found.diverged]
    return (
        f"{len(diverged)} of {len(found.trainings)} trainings diverged"
        + _listed(diverged)
        + f"\n\n{len(found.not_converged)} of {num} measurements did not reach their accuracy"
        + _listed(found.not_converged)
    )


def _listed(words: Sequence[str]) -> str:
    if not words:
        return "."
    more = [f"and {len(words) - _LISTED} more"] if len(words) > _LISTED else []
    return ":\n\n" + "\n".join(f"- {one}" for one in [*words[:_LISTED], *more])


def _again(found: Collected) -> str:
    """Commands that give one of the first run's numbers anew; nothing where no command of ours measures any of them."""
    last = [(name, run) for name, group in found.groups.items() for run in group if run.epoch == run.setting("epochs")]
    which = next(
        (
            (name, run, split, metric)
            for name, run in last
            for split in ("train", "test", "validation")
            for metric in sorted(
                run.splits.get(split, {}), key=lambda metric: (metric != "trace", metric != "accuracy")
            )
            if metric in (_OF_TRAINING if split == "validation" else METRICS)
        ),
        None,
    )
    if which is None:
        return ""
    name, run, split, metric = which
    seed = str(run.setting("seed"))
    commands = [["train", "--recipe", f"recipes/{slug(name)}.toml", "--seed", seed, "--out", "again"]]
    if split != "validation":  # which training says at its end
        commands.append(["analyze", "again/last.pt", "--metrics", metric, "--split", split, "--seed", seed])
        if (num_samples := getattr(found.plan.steps[0], "num_samples", None)) is not None:
            commands[-1] += ["--samples", str(num_samples)]
        if (mode := getattr(found.plan.steps[0], "mode", "eval")) != "eval":
            commands[-1] += ["--mode", mode]
    lines = [shlex.join(["landscape", *words]) for words in commands]
    value = f"{run.splits[split][metric].value:.4g} ({split})"
    return "```sh\n" + "\n".join(lines) + f"\n```\n\ngives {metric} {value} on the same machine."
