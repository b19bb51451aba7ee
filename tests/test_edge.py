"""The edge of stability: where torch's optimizers diverge on a quadratic, and where checkpoints say that it is."""

import pytest
import torch
from torch import nn

from landscape import load_checkpoint
from landscape.edge import edge_of, update_in
from landscape.measure.preconditioned_sharpness import preconditioned_sharpness
from landscape.objective import Objective
from landscape.optim import SAM
from landscape.problem import Problem
from landscape.results import Analysis, Measurement
from landscape.tracking import Limit
from landscape.training import Recipe, train
from tests.cli.command import here

LR = 0.1
SGDS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.5, "dampening": 0.3},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.5, "nesterov": True},
    {"weight_decay": 3.0},
    {"momentum": 0.9, "weight_decay": 3.0},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 1.0},
]


def edge_of_state(optimizer):
    edge = edge_of({"update": update_in(optimizer.state_dict())})
    assert edge is not None
    return edge


def diverges(build, curvature, *, before=None, num_steps=3000):
    """Whether the weight of h w^2 / 2 grows beyond all bounds."""
    w = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = build([w])
    for _ in range(num_steps):
        if before:
            before(optimizer, w)
        w.grad = curvature * w.detach()
        optimizer.step()
        if abs(w.item()) > 1e6:
            return True
    return False


@pytest.mark.parametrize("options", SGDS)
def test_gradient_descent_diverges_just_above_it(options):
    def build(params):
        return torch.optim.SGD(params, lr=LR, **options)

    edge = edge_of_state(build([nn.Parameter(torch.ones(1))]))
    assert edge.metric == "lambda_max"
    assert not diverges(build, 0.99 * edge.value)
    assert diverges(build, 1.01 * edge.value)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
@pytest.mark.parametrize(
    ("kind", "decay"),
    [(torch.optim.Adam, 0.0), (torch.optim.Adam, 2.0), (torch.optim.AdamW, 0.0), (torch.optim.AdamW, 2.0)],
)
def test_adam_diverges_just_above_it(kind, decay, betas):
    """With a preconditioner that is held fixed: P = 2."""

    def build(params):
        return kind(params, lr=LR, betas=betas, eps=0.0, weight_decay=decay)

    def hold(optimizer, w):
        if w not in optimizer.state:
            zeros = torch.zeros_like(w)
            optimizer.state[w] = {"step": torch.tensor(1e6), "exp_avg": zeros.clone(), "exp_avg_sq": zeros.clone()}
        state = optimizer.state[w]
        gradient = w.grad if w.grad is not None else torch.zeros_like(w)
        own = curvature * w.detach() + (decay * w.detach() if kind is torch.optim.Adam else 0 * gradient)
        state["exp_avg_sq"].copy_((4 - (1 - betas[1]) * own**2) / betas[1])  # which the step makes 4

    edge = edge_of_state(build([nn.Parameter(torch.ones(1))]))
    assert edge.metric == "preconditioned_sharpness"
    if betas[0] == 0.9 and not decay:
        assert edge.value == pytest.approx(38 / LR)
    for factor, expected in ((0.98, False), (1.02, True)):
        curvature = 2 * factor * edge.value - (decay if kind is torch.optim.Adam else 0)  # the metric adds L2 decay
        assert diverges(build, curvature, before=hold, num_steps=300) == expected


def test_preconditioned_sharpness_is_that_of_the_dense_matrix():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(50, 4).double(), torch.randint(3, (50,))
    for kind, options in (
        (torch.optim.Adam, {"weight_decay": 0.3}),
        (torch.optim.AdamW, {"weight_decay": 0.3}),
        (torch.optim.Adam, {"amsgrad": True, "eps": 1e-3}),
    ):
        optimizer = kind(model.parameters(), lr=1e-3, **options)
        for _ in range(7):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        objective = Objective(model, nn.CrossEntropyLoss(), [(x, y)])
        objective.optimizer = optimizer.state_dict()
        state = [optimizer.state[p] for p in model.parameters()]
        v = torch.cat([s["max_exp_avg_sq" if "amsgrad" in options else "exp_avg_sq"].flatten() for s in state])
        P = (v / (1 - 0.999**7)).sqrt() + options.get("eps", 1e-8)
        H = torch.stack(
            [
                torch.autograd.functional.hvp(objective_of(model, x, y), flat(model), e)[1]
                for e in torch.eye(len(v)).double()
            ]
        )
        if kind is torch.optim.Adam:
            H = H + options.get("weight_decay", 0.0) * torch.eye(len(v))
        expected = torch.linalg.eigvalsh(H / P.sqrt() / P.sqrt()[:, None])[-1].item()
        measured = preconditioned_sharpness(objective, rel_error=1e-8)
        assert measured.value == pytest.approx(expected, rel=1e-7)
        assert measured.details["preconditioner"] == "Adam"


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def objective_of(model, x, y):
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def loss(w):
        pieces = w.split([shape.numel() for shape in shapes.values()])
        params = {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(model, params, (x,)), y)

    return loss


def test_without_adam_it_is_lambda_max():
    objective = Objective(nn.Linear(1, 1, bias=False), nn.MSELoss(), [(torch.ones(3, 1), torch.ones(3, 1))])
    measured = preconditioned_sharpness(objective)
    assert (round(measured.value, 5), measured.details["preconditioner"]) == (2.0, "none")


def test_the_edge_of_several_passes_is_that_of_their_base():
    w = nn.Parameter(torch.ones(1))
    edge = edge_of_state(SAM(torch.optim.SGD([w], lr=LR, momentum=0.9), rho=0.05))
    assert edge.value == pytest.approx(38)
    assert any("its base alone" in note for note in edge.notes)


@pytest.mark.parametrize(
    "state", [None, {}, {"param_groups": []}, torch.optim.RMSprop([nn.Parameter(torch.ones(1))]).state_dict()]
)
def test_an_optimizer_that_is_not_known_is_said_to_be(state):
    assert update_in(state) is None
    edge = edge_of({"lr": LR})
    assert (edge.words, edge.notes) == ("2/lr = 20", ("of plain gradient descent, as the optimizer is not known",))


def test_without_a_state_a_recipe_of_one_rate_tells():
    told = {"optimizer": "sgd", "momentum": 0.9, "lr": LR, "schedule": "cosine"}
    assert edge_of({"recipe": told}) is None  # at what rate it was is not known
    assert edge_of({"recipe": told | {"schedule": "constant"}}).rule == "3.8/lr"
    assert edge_of({"recipe": told | {"optimizer": "adamw"}, "lr": LR}).metric == "preconditioned_sharpness"
    assert edge_of({"recipe": told | {"optimizer_args": {"nesterov": True}}, "lr": LR}).rule == "1.357/lr"


def test_the_words_of_a_limit_say_what_momentum_does():
    checkpoint = {"path": "a.pt", "lr": LR, "recipe": {"optimizer": "sgd", "momentum": 0.9}}
    point = Analysis({"train": {"lambda_max": Measurement("lambda_max", 40.0)}}, checkpoint=checkpoint)
    assert Limit.of("lambda_max=2/lr").passed_by(point) == [
        "lambda_max on train is 40, above 3.8/lr = 38 (with momentum 0.9; at small batches it is nearer "
        "2 (1 - 0.9)/lr = 2)"
    ]
    adam = Analysis(point.splits, checkpoint=checkpoint | {"recipe": {"optimizer": "adam"}})
    with pytest.raises(ValueError, match="is one of preconditioned_sharpness"):
        Limit.of("lambda_max=2/lr").passed_by(adam)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in ("adam", "sgd"):
        args = {"model_args": {"hidden": (4,)}, "data_args": {"num_train": 60}, "epochs": 2, "checkpoint_every": 1}
        train(Recipe(optimizer=name, lr=0.01, momentum=0.9, weight_decay=0.0, **args), folder / name)
    return folder


def test_the_rate_is_the_checkpoints_own(runs):
    first, last = (load_checkpoint(runs / "sgd" / name) for name in ("epoch-0001.pt", "last.pt"))
    assert edge_of(first.identity).lr == pytest.approx(0.01)
    assert edge_of(last.identity).lr == pytest.approx(0.005)


def test_other_weights_come_with_a_state_of_their_own(runs):
    first, last = (load_checkpoint(runs / "adam" / name) for name in ("epoch-0001.pt", "last.pt"))
    problem = Problem.of(first)
    objective = problem.objective("train")
    before = preconditioned_sharpness(objective).value
    problem.load(last)
    after = preconditioned_sharpness(objective).value
    assert after == pytest.approx(preconditioned_sharpness(Problem.of(last).objective("train")).value, rel=1e-3)
    assert after != pytest.approx(before, rel=1e-2)


def test_fail_above_measures_what_the_edge_of_adam_is_one_of(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    usual = ("--metrics", "lambda_max", "--split", "train", "--fail-above", "lambda_max=2/lr")
    done = here(monkeypatch, capsys, "track", "adam", *usual, "--out", tmp_path / "adam")
    assert "preconditioned_sharpness" in done.stdout
    assert "lambda_max on train is" not in done.stdout
    sgd = here(monkeypatch, capsys, "track", "sgd", *usual, "--out", tmp_path / "sgd")
    assert (sgd.returncode, "preconditioned_sharpness" in sgd.stdout) == (0, False)
