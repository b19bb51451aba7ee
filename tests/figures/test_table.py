import csv
import io
import math

from landscape.figures import Table, Value, save_table

TABLE = Table(
    ["optimizer", "trace", "note"],
    [
        ["SGD", Value(12.0, 1.0, 2), "a|b & 5 %"],
        ["SAM_1", Value(8.0, 0.5, 2, converged=False), ""],
        ["none", Value(math.nan, math.nan, 0), ""],
    ],
    "Two_runs.",
    {"trace": "min"},
)


def test_csv_has_the_error_beside_the_value():
    rows = list(csv.DictReader(io.StringIO(TABLE.csv())))
    assert rows[0] == {"optimizer": "SGD", "trace": "12", "trace_error": "1", "note": "a|b & 5 %"}
    assert (rows[2]["trace"], rows[2]["trace_error"]) == ("", "")


def test_markdown_marks_the_best_and_what_did_not_converge():
    lines = TABLE.markdown().splitlines()
    assert lines[2:5] == ["| SGD | 12.0 ± 1.0 | a\\|b & 5 % |", "| SAM_1 | **8.00 ± 0.50 *** |  |", "| none | – |  |"]
    assert lines[-1] == "Two_runs. ±: standard deviation over 2 seeds. *: did not reach its accuracy."


def test_latex_has_the_rules_of_booktabs_and_no_bare_specials():
    text = TABLE.latex()
    body = text[text.index("\\midrule") :]
    assert [text.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")] == [1, 1, 1]
    assert "$\\mathrm{Tr}(\\nabla^2 L(w))$" in text
    assert "SGD & 12.0 $\\pm$ 1.0 & a|b \\& 5 \\% \\\\" in body
    assert "SAM\\_1 & \\textbf{8.00 $\\pm$ 0.50 *}" in body
    assert text.isascii()


def test_three_files_are_written(tmp_path):
    assert [path.name for path in save_table(TABLE, tmp_path / "t.1")] == ["t.1.csv", "t.1.md", "t.1.tex"]
    assert len(list(tmp_path.iterdir())) == 3
