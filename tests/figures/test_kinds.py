"""Every kind from the committed results: its numbers, its picture; and what each says where its input is missing."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from landscape.figures import KINDS, MissingMeasurementError, Run, Table, draw, load_runs, save, thumbnail
from landscape.figures.kinds.style import STYLES, styled
from landscape.results import Line, Measurement, Plane

from .golden import FOLDERS, GOLDEN, HERE, data_of, drawn, picture

RMS = 12  # of 255: other fonts move letters by a pixel, another curve moves more

MISSING = {
    "accuracy": "accuracy",
    "comparison": "loss",
    "curves": "sam_ratio and trace and lambda_max and normalized_trace",
    "extrema": "local_minima",
    "geometry": "gradient_norm and trace and normalized_trace",
    "heat-map": "accuracy and trace",
    "landscapes": "a plane",
    "landscapes-3d": "a plane",
    "layers": "layer_table",
    "layer-table": "layer_table",
    "lines": "a line",
    "optimizers": "accuracy and trace and lambda_max",
    "ratio": "sam_ratio and normalized_trace",
    "spectrum": "spectral_density",
    "speed": "accuracy",
    "top-eigenvalues": "top_eigenvalues and trace",
    "track": "at two steps or more",
    "trajectory": "a plane",
    "update-frequency": "accuracy",
}


@pytest.fixture(scope="module")
def figures():
    made: dict[str, Figure | Table] = {}

    def get(kind: str) -> Figure | Table:
        if kind not in made:
            made[kind] = drawn(kind)
        return made[kind]

    return get


def run(optimizer="sgd", *, epoch=1, seed=0, surfaces=(), **metrics) -> Run:
    """A run of one split or two: trace=3.0, or trace=Measurement(...)."""
    splits = {
        split: {k: v if isinstance(v, Measurement) else Measurement(k, v) for k, v in metrics.items()}
        for split in ("train", "test")
    }
    recipe = {"optimizer": optimizer, "seed": seed}
    checkpoint = {"path": f"runs/{optimizer}/last.pt", "epoch": epoch, "recipe": recipe}
    return Run(Path(f"results/{optimizer}"), checkpoint, splits if metrics else {}, {}, tuple(surfaces))


def bowl(*, steep_y: float, nan=False, **details) -> Plane:
    x, y = np.linspace(-2, 2, 9), np.linspace(-1, 1, 9)
    loss = 1 + x[:, None] ** 2 + steep_y * y**2
    if nan:
        loss[0, 0] = np.nan
    return Plane(x, y, loss, None, "train", {"directions": "eigen", **details})


def approximately(found, expected):
    if isinstance(expected, dict):
        return set(found) == set(expected) and all(approximately(found[k], expected[k]) for k in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(approximately, found, expected))
    return (
        found == expected
        if isinstance(expected, str)
        else found == pytest.approx(expected, rel=1e-4, abs=1e-9, nan_ok=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_data_are_the_golden_ones(kind, figures):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[kind]
    found = json.loads(json.dumps(data_of(figures(kind))))
    assert approximately(found, golden), f"{kind} changed: python -m tests.figures.golden, and look at it"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_is_the_thumbnail(kind, figures):
    figure = figures(kind)
    if isinstance(figure, Table):
        assert thumbnail(kind).read_text(encoding="utf-8") == figure.markdown() + "\n"
        return
    now = picture(figure)
    with Image.open(thumbnail(kind)) as image:
        before = image.convert("RGB")
    assert now.size == before.size
    difference = np.asarray(now, float) - np.asarray(before, float)
    assert np.sqrt((difference**2).mean()) < RMS


@pytest.mark.parametrize("kind", [kind for kind in FOLDERS if not thumbnail(kind).name.endswith(".md")])
def test_nothing_is_cut_off(kind, figures):
    """Every text lies within the figure."""
    figure = figures(kind)
    canvas = FigureCanvasAgg(figure)
    with styled():
        canvas.draw()
    box, renderer = figure.bbox, canvas.get_renderer()
    texts = [figure._suptitle, *(t for legend in figure.legends for t in [*legend.get_texts(), legend.get_title()])]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
    for text in filter(lambda t: t.get_visible() and t.get_text(), texts):
        extent = text.get_window_extent(renderer)
        assert extent.x0 >= -1, text.get_text()
        assert extent.x1 <= box.x1 + 1, text.get_text()
        assert extent.y0 >= -1, text.get_text()
        assert extent.y1 <= box.y1 + 1, text.get_text()


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_input_a_kind_names_it_and_the_command(kind):
    bare = run("sgd", epoch=3) if kind == "comparison" else run("sgd", epoch=3, loss=1.0)
    with pytest.raises(MissingMeasurementError, match=f"{MISSING[kind]}.*landscape[ .](analyze|surface|track)"):
        draw(kind, [bare])


def test_the_command_of_a_refusal_is_one_to_paste():
    with pytest.raises(MissingMeasurementError, match=r"sam_ratio was not measured on train in any of 1") as refusal:
        draw("ratio", [run("sgd", normalized_trace=1.0)])
    words = shlex.split(str(refusal.value).partition("Measure it: ")[2])
    assert words == ["landscape", "analyze", "runs/sgd/last.pt", "--metrics", "sam_ratio", "--out", "results/sgd/more"]


def test_curves_say_which_metrics_are_not_there_and_draw_the_others():
    with pytest.warns(UserWarning, match="Not measured, and not in curves: sam_ratio, lambda_max, normalized_trace"):
        figure = draw("curves", [run(epoch=e, trace=float(e)) for e in (1, 2)])
    assert [axes.get_ylabel() for axes in figure.axes] == ["trace"]


def test_a_curve_has_the_mean_and_the_deviation_over_seeds():
    runs = [run(epoch=e, seed=s, trace=10.0 * e + s) for e in (1, 2) for s in (0, 1, 2)]
    with pytest.warns(UserWarning, match="Not measured"):
        (axes,) = draw("curves", runs).axes
    assert axes.lines[0].get_xydata().tolist() == [[1, 11], [2, 21]]
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (10, 22)  # of 0, 1, 2 the standard deviation is 1
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]  # train, test


def test_one_seed_has_the_interval_of_its_measurement():
    runs = [run(epoch=e, trace=Measurement("trace", 5.0, 0.1, num_matvecs=0)) for e in (1, 2)]
    with pytest.warns(UserWarning, match="Not measured"):
        figure = draw("curves", runs)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(5.196, abs=1e-4)
    assert figure.legends[0].get_title().get_text() == "band: 95 % interval"


def test_contours_lie_where_the_loss_has_their_level():
    """Transposed, they would not: the loss is 1 + x^2 + 16 y^2 there."""
    drawn_contours = draw("landscapes", [run(surfaces=[bowl(steep_y=16.0)])]).axes[0].collections[1]
    for level, path in zip(drawn_contours.levels, drawn_contours.get_paths(), strict=True):
        if level > 3 and len(path.vertices):  # below, the grid is too coarse for the level
            x, y = path.vertices.T
            assert 1 + x**2 + 16 * y**2 == pytest.approx(np.full(len(x), level), rel=0.15)


def test_the_path_of_a_training_is_drawn_in_the_coordinates_of_its_plane():
    path = np.array([[-1.5, 0.5], [0.0, 0.25], [0.0, 0.0]])
    plane = bowl(steep_y=1.0, path=path, residuals=np.array([0.0, 0.125, 0.0]))
    axes = draw("trajectory", [run(surfaces=[plane])]).axes[0]
    assert [line.get_xydata().tolist() for line in axes.lines[1:]] == 2 * [path.tolist()]
    assert axes.get_title() == "SGD\nup to 0.12 off the plane, 1.58 along it"


def test_planes_side_by_side_have_one_scale():
    figure = draw("landscapes", [run("sgd", surfaces=[bowl(steep_y=4.0)]), run("sam", surfaces=[bowl(steep_y=0.1)])])
    first, second = (axes.collections[0] for axes in figure.axes[:2])
    assert np.array_equal(first.levels, second.levels)
    assert first.norm.vmin == second.norm.vmin
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_a_failed_check_is_said_in_the_figure():
    plane = bowl(
        steep_y=1.0,
        nan=True,
        checks={"centre": {"agrees": True}, "curvature": [{"agrees": True}, {"agrees": False}]},
        mode="reestimate",
    )
    for kind in ("landscapes", "landscapes-3d"):
        title = draw(kind, [run(surfaces=[plane])]).axes[0].get_title()
        assert "CHECK FAILED: curvature" in title
        assert "centre" not in title
        assert "1 points are not finite" in title
        assert "BatchNorm: reestimate" in title


def test_lines_keep_their_gaps():
    line = Line(np.array([-1.0, 0.0, 1.0]), np.array([np.inf, 1.0, 2.0]), np.array([0.1, 0.9, 0.8]), "test")
    loss, accuracy = draw("lines", [run(surfaces=[line])]).axes
    assert np.isnan(np.ma.filled(loss.lines[0].get_ydata(), np.nan)[0])
    assert accuracy.lines[0].get_ydata().tolist() == [0.1, 0.9, 0.8]


def test_a_cell_of_the_heat_map_is_at_its_rate_and_decay():
    runs = [
        Run(
            Path("r"),
            {"recipe": {"optimizer": "sgd", "lr": lr, "weight_decay": wd}},
            {"test": {"accuracy": Measurement("accuracy", lr + wd), "trace": Measurement("trace", lr * wd)}},
        )
        for lr in (0.5, 0.1)
        for wd in (0.01, 0.02, 0.03)
    ]
    axes, below = draw("heat-map", runs).axes[:2]
    assert [t.get_text() for t in below.get_xticklabels()] == ["0.1", "0.5"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["0.01", "0.02", "0.03"]
    assert axes.images[0].get_array()[2, 0] == pytest.approx(0.13)  # at weight decay 0.03, rate 0.1


def test_extrema_are_shares_of_all_directions():
    details = {f"{raw}{what}_histogram": np.array([1, 3, 0]) for raw in ("raw_", "") for what in ("minima", "maxima")}
    found = Measurement("local_minima", 0.75, details=details | {"noise_expectation": 1.0})
    axes = draw("extrema", [run(local_minima=found)]).axes[0]
    assert [patch.get_height() for patch in axes.patches] == [0.25, 0.75, 0.0]


def test_extrema_of_both_evaluations_are_drawn_below_each_other():
    def counted(*histogram: int) -> Measurement:
        keys = [f"{raw}{what}_histogram" for raw in ("raw_", "") for what in ("minima", "maxima")]
        details = {key: list(histogram) for key in keys}  # as the rows of a study hold them
        return Measurement("local_minima", 0.0, details=details | {"noise_expectation": 1.0})

    drawn = draw("extrema", [run(local_minima=counted(4, 0, 0), local_minima_minibatch=counted(1, 2, 1))])
    heights = [[patch.get_height() for patch in axes.patches] for axes in drawn.axes]
    assert heights == [[1.0, 0.0, 0.0]] * 4 + [[0.25, 0.5, 0.25]] * 4
    assert [axes.get_title().partition("; ")[2] for axes in drawn.axes] == ["all data"] * 4 + ["fresh mini-batches"] * 4


def on_a_grid(optimizer, **split) -> list[Run]:
    """Runs whose radius is the root of their rate."""
    return [
        Run(
            Path("r"),
            {"recipe": {"optimizer": optimizer, "lr": lr, "weight_decay": wd, "seed": seed, "rho": lr**0.5}},
            {
                name: {m: Measurement(m, value + lr) for m in ("accuracy", "trace", "lambda_max")}
                for name, value in split.items()
            },
        )
        for lr in (0.1, 0.5)
        for wd in (0.01, 0.02)
        for seed in (0, 1)
        if not (seed and lr == 0.5)
    ]


def test_the_heat_map_is_of_corrupted_images_where_there_are_and_a_tied_radius_is_no_optimizer():
    one, *others = draw("heat-map", on_a_grid("sam", test=1.0, corrupted=2.0)).axes
    assert (one.get_title(), len(others)) == ("SAM", 5)  # three metrics and their colour bars
    assert one.images[0].get_array().tolist() == [[2.1, 2.5], [2.1, 2.5]]
    assert [axes.get_ylabel() for axes in others[2:]] == [
        f"{m} (corrupted)" for m in ("accuracy", "trace", "lambda_max")
    ]
    assert [text.get_text() for text in one.texts] == ["2.1", "2.5\n1 of 2", "2.1", "2.5\n1 of 2"]


def test_many_optimizers_of_a_heat_map_are_rows():
    names = ("sgd", "sam", "gam", "r-sam")
    axes = draw("heat-map", [run for i, name in enumerate(names) for run in on_a_grid(name, test=float(i))]).axes
    middle = [one for one in axes[:12] if one.get_subplotspec().colspan.start == 1]
    assert sorted((one.get_title(), one.images[0].get_array()[0, 0]) for one in middle) == [
        ("GAM", 2.1),
        ("R-SAM", 3.1),
        ("SAM", 1.1),
        ("SGD", 0.1),
    ]


def test_the_bars_of_layers_are_95_percent_intervals():
    one = {key: np.array([4.0]) for key in ("trace", "lambda_max", "share", "gradient_norm", "num_params")}
    errors = {"trace_std_error": np.array([0.5]), "lambda_max_error": np.array([0.5])}
    table = Measurement("layer_table", 4.0, details={"layers": np.array(["conv"]), **one, **errors})
    trace, largest = draw("layers", [run(layer_table=table)]).axes
    assert max(line.get_xdata()[0] for line in trace.lines) == pytest.approx(4.979982)
    assert max(line.get_xdata()[0] for line in largest.lines) == 4.5


def test_the_band_of_a_density_is_its_95_percent_interval():
    x = np.linspace(-1, 1, 5)
    log = {"log_eigenvalues": x, "log_density": np.full(5, 2.0), "log_std_error": np.full(5, 0.5)}
    found = Measurement("spectral_density", 0.0, details=log | {"log_threshold": 0.1})
    band = draw("spectrum", [run(spectral_density=found)]).axes[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((1.020018, 2.979982))


def test_every_eigenvalue_is_counted_once():
    found = Measurement("top_eigenvalues", 4.0, details={"eigenvalues": np.array([4.0, 1.0, 1.0, 0.0])})
    axes = draw("top-eigenvalues", [run(top_eigenvalues=found, trace=6.0)]).axes[0]
    values = axes.patches[0].get_data().values
    assert (values.sum(), values[-1]) == (4, 1)


def test_speed_is_that_of_sgd_over_its_own():
    def timed(name, seconds):
        one = run(name, accuracy=0.5)
        return Run(one.path, {**one.checkpoint, "seconds": seconds}, one.splits)

    axes = draw("speed", [timed("sgd", 2.0), timed("sam", 8.0)]).axes[0]
    assert 0.25 in [x for line in axes.lines for x in np.atleast_1d(line.get_xdata())]
    with pytest.raises(MissingMeasurementError, match="No result is of plain SGD"):
        draw("speed", [timed("sam", 8.0)])


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_every_ink_on_its_own_ground(style, tmp_path):
    runs = load_runs([HERE / "results" / "epochs"])
    png, _ = save(draw("ratio", runs, style=style), tmp_path / "it", style=style)
    with Image.open(png) as image:
        pixels = np.asarray(image.convert("L"))
    ground = pixels[0, 0]
    assert (ground < 60) == (style == "dark")
    assert (np.abs(pixels.astype(int) - ground) > 150).mean() > 0.003  # ticks and letters stand out from it


def test_in_the_dark_all_letters_are_light():
    figure = draw("curves", load_runs([HERE / "results" / "epochs"]), style="dark")
    with styled("dark"):
        texts = [label for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    texts += [figure._suptitle, *figure.legends[0].get_texts(), *(axes.yaxis.label for axes in figure.axes)]
    assert min(sum(to_rgb(text.get_color())) for text in texts) > 2


def test_slides_are_larger():
    runs = load_runs([HERE / "results" / "epochs"])
    paper, slides = (draw("ratio", runs, style=style).get_size_inches() for style in ("paper", "slides"))
    assert slides == pytest.approx(1.5 * paper)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"kind 'pie' is unknown. Expected one of: accuracy, "):
        draw("pie", [])
    with pytest.raises(ValueError, match=r"style 'neon' is unknown. Expected one of: paper, slides, dark"):
        draw("ratio", [], style="neon")
