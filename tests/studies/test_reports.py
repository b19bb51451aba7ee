"""The committed reports follow from their result files, and the sentences follow from the numbers."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from landscape.files import plain
from landscape.models import build_model
from landscape.studies import SCALES, Collected, Plan, grown, named_studies, read_facts, write_up
from landscape.studies.arena import ArenaPlan, trials_of
from landscape.training import load_recipe

REPORTS = Path(__file__).parents[2] / "reports"
STUDIES = {name: study for name, study in named_studies().items() if (REPORTS / name / "results").exists()}


def planned(out: Path) -> Plan:
    facts = read_facts(out)
    study = STUDIES[facts["study"]]
    return grown(study, replace(study.plan(facts["scale"], "cifar10"), num_seeds=facts["num_seeds"]), out)


@pytest.fixture(params=STUDIES)
def name(request) -> str:
    return request.param


@pytest.fixture
def copy(name, tmp_path) -> Path:
    if name not in STUDIES:
        pytest.skip("its results are not there yet")
    shutil.copytree(REPORTS / name / "results", tmp_path / "results")
    return tmp_path


def test_tables_and_text_follow_from_the_results(name, copy):
    write_up(STUDIES[name], planned(copy), copy, figures=False)
    for path in (copy / "README.md", *(copy / "tables").iterdir()):
        committed = REPORTS / name / path.relative_to(copy)
        assert path.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8"), path.name
    assert {path.name for path in (copy / "tables").iterdir()} == {
        path.name for path in (REPORTS / name / "tables").iterdir()
    }


def test_a_table_changes_with_a_number(name, copy):
    doctor(copy, lambda row, metric: 2.0 if row["recipe"]["optimizer"] == "sam" and row["recipe"]["seed"] == 1 else 1.0)
    write_up(STUDIES[name], planned(copy), copy, figures=False)
    committed = [(REPORTS / name / "tables" / path.name).read_text() for path in (copy / "tables").iterdir()]
    assert [path.read_text() for path in (copy / "tables").iterdir()] != committed


def test_all_is_there_and_nothing_else(name):
    folder = REPORTS / name
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", readme):
        assert (folder / link).is_file(), link
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert figures == set(STUDIES[name].figures) == {path.stem for path in (folder / "figures").glob("*.pdf")}
    most = 5 * 2**20  # a row for each of several hundred networks
    assert sum(path.stat().st_size for path in (folder / "results").rglob("*") if path.is_file()) < most
    documents = [*folder.rglob("*.json*"), *folder.rglob("*.md"), *folder.rglob("*.toml")]
    documents = [path for path in documents if "runs" not in path.relative_to(folder).parts]  # not committed
    assert not [path for path in documents if re.search(r"\"/|[ (`]/(tmp|home|work|root)\b", path.read_text())]
    plan = planned(folder)
    for recipe_name, path in zip(plan.names, plan.names, strict=True):
        file = folder / "recipes" / f"{plan.folder(plan.names[path]).rpartition('-seed-')[0]}.toml"
        assert load_recipe(file) == plan.names[recipe_name]


def test_every_claim_has_its_seeds(name):
    plan = planned(REPORTS / name)
    found = Collected(plan, REPORTS / name)
    assert plan.num_seeds >= 3
    assert len(found.trainings) == len(plan.runs)
    assert f"{plan.num_seeds} seeds" in STUDIES[name].answer(found)
    assert all(finding.found and (finding.agrees or finding.why) for finding in STUDIES[name].findings(found))


def test_the_list_of_reports_says_what_they_say(name):
    listed = (REPORTS / "README.md").read_text(encoding="utf-8")
    answer = (REPORTS / name / "README.md").read_text(encoding="utf-8").splitlines()[2].strip("*")
    assert f"]({name}/README.md)" in listed
    assert answer in listed
    assert f"{name}/figures/{next(iter(STUDIES[name].figures))}.png" in listed


def test_one_seed_claims_nothing(name, copy):
    found = Collected(replace(planned(copy), num_seeds=1), copy)
    if isinstance(found.plan, ArenaPlan):
        claims = trials_of(found).claims
        assert claims
        assert {claim.verdict for claim in claims} == {"not told apart"}
    else:
        assert "cannot tell" in STUDIES[name].answer(found)


@pytest.mark.parametrize(
    ("factor", "begins"),
    [
        (lambda recipe: 10.0 if recipe["optimizer"] == "cr-sam" else 1.0, "it depends on the measure"),
        (lambda recipe: 0.1 if recipe["optimizer"] == "cr-sam" else 1.0, "CR-SAM ends flatter than SAM by all"),
        (lambda recipe: 10.0 ** (recipe["seed"] * (recipe["optimizer"] == "sam") % 2 * 2 - 1), "cannot tell CR-SAM"),
    ],
)
@pytest.mark.parametrize("name", ["cr-sam-geometry"])
def test_the_answer_is_the_one_that_the_claims_allow(name, factor, begins, copy):
    doctor(copy, lambda row, at: 1.0 if "accuracy" in at else factor(row["recipe"]))
    assert begins in STUDIES[name].answer(Collected(planned(copy), copy))


@pytest.mark.parametrize(("hard", "begins"), [("sam", "Yes, SA-SAM is easier"), ("sa-sam", "No, SA-SAM is harder")])
@pytest.mark.parametrize("name", ["sa-sam-tuning"])
def test_who_is_easier_to_tune_follows_from_the_spread(name, hard, begins, copy):
    doctor(copy, lambda row, _: by_rate(row, hard))
    assert STUDIES[name].answer(Collected(planned(copy), copy)).startswith(begins)


@pytest.mark.parametrize(
    ("histograms", "begins"),
    [
        ({"local_minima": [0, 0, 100], "local_minima_minibatch": [0, 0, 100]}, "The minima are the loss's"),
        ({"local_minima": [100, 0, 0], "local_minima_minibatch": [0, 0, 100]}, "The minima are those of the sampling"),
        ({"local_minima": [100, 0, 0], "local_minima_minibatch": [100, 0, 0]}, "These runs cannot tell"),
    ],
)
@pytest.mark.parametrize("name", ["gam-geometry"])
def test_the_minima_are_the_losss_or_the_samplings(histograms, begins, copy):
    edit(copy, lambda _, at, m: m | {key: histograms[at.split()[1]] for key in m if key.endswith("histogram")})
    assert STUDIES["gam-geometry"].answer(Collected(planned(copy), copy)).startswith(begins)


@pytest.mark.parametrize("name", ["sa-sam-tuning"])
def test_nothing_is_chosen_on_corrupted_images(copy):
    def chosen() -> dict[tuple[str, str], float]:
        return trials_of(Collected(planned(copy), copy)).chosen

    before = chosen()
    doctor(copy, lambda row, at: 1 / row["recipe"]["lr"] if at == "corrupted accuracy" else 1.0)
    assert chosen() == before
    doctor(copy, lambda row, at: row["recipe"]["lr"] ** -2 if at == "validation accuracy" else 1.0)
    assert set(chosen().values()) == {1e-4}


@pytest.mark.parametrize("name", ["who-is-flat"])
def test_a_measure_is_named_by_what_it_says_of_the_gap(name, copy):
    lines = (copy / "results" / "track.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    error = {row["checkpoint"]["recipe"]["seed"]: 1 - row["splits"]["test"]["accuracy"]["value"] for row in rows}
    by_chance = {seed: float(np.random.default_rng(1000 + seed).random()) for seed in error}

    def said(trace: Callable[[int], float]) -> str:
        edit(copy, lambda of, at, m: m | {"value": trace(of["recipe"]["seed"])} if at == "train trace" else m)
        return STUDIES[name].answer(Collected(planned(copy), copy))

    right, _, wrong = said(lambda seed: error[seed] + by_chance[seed] / 1000).partition("the wrong way round")
    assert ["trace Tr ∇²L" in part for part in (right, wrong)] == [True, False]
    right, _, wrong = said(lambda seed: 1 - error[seed]).partition("the wrong way round")
    assert ["trace Tr ∇²L (-" in part for part in (right, wrong)] == [False, True]
    assert "trace Tr ∇²L" not in said(by_chance.__getitem__)


@pytest.mark.parametrize("scale", SCALES)
def test_plans_can_be_trained_and_say_what_they_are(name, scale):
    plan = STUDIES[name].plan(scale, "cifar10:PATH")
    assert plan.num_seeds >= (8 if scale == "laptop" and isinstance(plan, ArenaPlan) else 3)
    assert len(plan.names) == len(plan.recipes)
    shape = (1, 8, 8) if scale == "laptop" else (3, 32, 32)
    for recipe in {(recipe.model, recipe.data): recipe for recipe in plan.recipes}.values():
        assert recipe.data == ("digits" if scale == "laptop" else "cifar10:PATH")
        assert build_model(recipe.model, input_shape=shape, num_classes=10, **recipe.model_args)
        assert scale == "laptop" or min(one.epochs for one in plan.recipes) >= 8


def by_rate(row: dict, hard: str) -> float:
    """One optimizer is worth the less the lower its learning rate, the others are worth little at any."""
    return row["recipe"]["lr"] if row["recipe"]["optimizer"] == hard else 1e-3


def doctor(out: Path, factor: Callable) -> None:
    """Multiply the values of the results by a factor of their checkpoint and metric."""
    edit(out, lambda row, metric, m: m | {"value": m["value"] * factor(row, metric)})


def edit(out: Path, change: Callable) -> None:
    path = out / "results" / "track.jsonl"
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for split, found in row["splits"].items():
            row["splits"][split] = {
                metric: change(row["checkpoint"], f"{split} {metric}", m) if m["value"] is not None else m
                for metric, m in found.items()
            }
        lines.append(json.dumps(plain(row)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
