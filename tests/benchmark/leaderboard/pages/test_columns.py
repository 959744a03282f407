"""A column has one title and one text in every format for people, and one key and one value in those for programs."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from benchmark.leaderboard.board.state import state_of
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.formats import tex
from benchmark.leaderboard.pages.column import Table
from benchmark.leaderboard.pages.columns import BY_KEY, COLUMNS, OCCASIONAL, columns_of
from benchmark.leaderboard.pages.csv_file import to_csv
from benchmark.leaderboard.pages.json_file import to_json
from benchmark.leaderboard.pages.latex import to_latex
from benchmark.leaderboard.pages.legends import ABOUT
from benchmark.leaderboard.pages.markdown import to_markdown
from benchmark.leaderboard.pages.readme import readme_page
from benchmark.leaderboard.pages.terminal import to_terminal
from benchmark.leaderboard.site.pages import site_pages

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
# What people see of the row below, in whichever format they look.
TEXTS = {
    "rank": "1",
    "tie": "1",
    "id": "3f9a1c",
    "method": "mine",
    "weights": "binary",
    "last_norm": "yes",
    "architecture": "resnet34 width 0.5",
    "keep_ratio": "0.01",
    "allocation": "0.1",
    "objective": "pgd",
    "clean": "80.50",
    "pgd": "50.00",
    "autoattack": "40.00",
    "robust": "40.00 ± 0.00",
    "robust_interval": "31.00 to 49.00",
    "health": "pass",
    "leaky_bpda": "not checked",
    "hard_label": "not checked",
    "straight_way": "not checked",
    "size_class": "up to 30 kB",
    "fronts": "size, passes",
    "size_bytes": "27.1 kB",
    "exact_size": "27,100",
    "entropy_bound_bytes": "26,000",
    "dense_bytes": "40.4 kB",
    "bits_per_weight": "21.68",
    "statistics": "float32",
    "density": "0.01",
    "density_all": "0.02",
    "dense_macs": "1.0 M",
    "sparse_macs": "10.0 k",
    "bit_operations": "320.0 k",
    "passes": "215.6 M",
    "train_seconds": "60 min",
    "latency_1": "4 ms",
    "latency_64": "100 ms",
    "device": "cpu, 2 threads",
    "n_seeds": "2",
}


@pytest.fixture(scope="module")
def board(make_record):
    """Return a board of one row over two seeds, without the options that pages write beside its method."""
    given = {"method": "mine", "method__options": {}, "architecture__width": 0.5}
    records = [make_record(seed=seed, right=(80 + seed, 50, 40), **given) for seed in (0, 1)]
    return boards(records)[PROTOCOL]


@pytest.fixture(scope="module")
def state(board):
    """Return its state."""
    return state_of(board, {(PROTOCOL, run): "0" * 64 for row in board.rows for run in row.runs})


@pytest.fixture(scope="module")
def shown(board, state, tmp_path_factory):
    """Return the titles and the cells of the row in each format that has a column per column."""
    folder = tmp_path_factory.mktemp("around") / "boards"
    (folder.parent / "README.md").write_text(f"<!-- begin table: boards {PROTOCOL} -->\n<!-- end table -->\n")
    markdown = to_markdown(board)
    return {
        Table.RANKING: markdown_table(markdown.partition("\n### ")[2]),
        Table.COSTS: markdown_table(markdown.partition("\n## Size and cost")[2]),
        Table.README: markdown_table(readme_page(folder, {PROTOCOL: board}, [])["../README.md"]),
        Table.LATEX: latex_table(to_latex(state)),
        Table.SITE: site_table(site_pages([board], [], [])[f"site/{PROTOCOL}.html"]),
    }


def markdown_table(text):
    titles, _, row = [line[1:-1].split("|") for line in text.splitlines() if line.startswith("| ")][:3]
    marks = re.compile(r"^\[|\]\(.*\)$|<sup>.*</sup>$")
    return {title.strip(): marks.sub("", cell.strip()) for title, cell in zip(titles, row, strict=True)}


def latex_table(text):
    titles, row = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if " & " in line]
    return dict(zip(titles, row, strict=True))


def site_table(page):
    titles = re.findall(r'<th scope="col" title="[^"]*">(.*?)</th>', page.partition('id="rows"')[2])
    row = re.search(r'<tr id="3f9a1c"[^>]*>(.*?)</tr>', page)[1]
    cells = [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)]
    return dict(zip(titles, cells, strict=True))


ABSENT = frozenset().union(*(keys for keys, needed in OCCASIONAL if "wide_images" not in keys))
CASES = [
    pytest.param(table, column, id=f"{table.name}-{column.key}")
    for table in (Table.RANKING, Table.COSTS, Table.README, Table.LATEX, Table.SITE)
    for column in COLUMNS
    if column.tables & table and column.key not in ("reported", "difference", *ABSENT)
]


@pytest.mark.parametrize(("table", "column"), CASES)
def test_every_format_shows_the_same_title_and_text(shown, table, column):
    titles = {Table.LATEX: tex(column.title), Table.SITE: column.heading}
    text = TEXTS[column.key]

    cell = shown[table][titles.get(table, column.title)]

    # Beside the text, cells of the site have marks and what has no column of its own there.
    assert text in cell if table is Table.SITE else cell == (tex(text) if table is Table.LATEX else text)


def test_the_terminal_shows_them_too_with_its_titles_on_two_lines(board):
    columns = columns_of(Table.TERMINAL, board)
    _, first, second, _, row, *_ = to_terminal(board).splitlines()
    parts = [column.title.replace("AutoAttack", "Auto- Attack").split(" ", 1) for column in columns]

    assert first.split() == [title[0] for title in parts if len(title) == 2]
    assert second.split() == [title[-1] for title in parts]
    texts = [TEXTS[column.key] + ("*" if column.key == "health" else "") for column in columns]
    assert row.split() == " ".join(texts).split()


def test_csv_and_json_hold_the_same_values_under_the_same_keys(board, state):
    (line,) = csv.DictReader(io.StringIO(to_csv(board)))
    (row,) = json.loads(to_json(state))["rows"]

    assert list(line) == [column.key for column in columns_of(Table.CSV, board)]
    shared = line.keys() & row.keys() - {"seeds"}  # one object each in JSON
    assert line.keys() - shared == {"seeds", "note"}
    for key in shared - {"fronts", "runs", "options"}:
        text = json.dumps(row[key]) if isinstance(row[key], bool) else "" if row[key] is None else str(row[key])
        assert line[key] == text, key
    assert (line["fronts"], line["runs"]) == (" ".join(row["fronts"]), " ".join(row["runs"]))
    assert json.loads(line["options"]) == row["options"] == {}


def test_no_two_columns_share_a_key_or_within_a_table_a_title():
    assert len(BY_KEY) == len(COLUMNS)
    for table in set(Table) - {Table.CSV, Table.JSON, Table.FRAME}:
        titles = [column.title for column in COLUMNS if column.tables & table]
        assert len(titles) == len({*titles}), table


def test_every_legend_is_of_a_column_that_people_see():
    machines = Table.CSV | Table.JSON | Table.FRAME
    assert {*ABOUT} <= {column.key for column in COLUMNS if column.tables & ~machines}


def test_a_reader_of_published_results_sees_the_same_titles(board):
    published = [column.title for column in columns_of(Table.REPORTED, board)]
    ranking = [column.title for column in columns_of(Table.RANKING, board)]
    assert [title for title in published if title not in ranking] == ["note"]


def test_groups_of_weights_have_a_column_where_a_row_has_them(make_record):
    single, grouped = (
        make_record(),
        make_record(
            compression__granularity="kernel",
            run_hash="3f9a1c000001",
            seed=1,
            run="cifar10/resnet34-lbn/edge_popup/binary-keep0.01-p0.1-kernel-pgd/seed1-3f9a1c",
        ),
    )
    without, having = boards([single]), boards([single, grouped])
    (protocol,) = without

    for table in (Table.CSV, Table.JSON, Table.COSTS):
        assert "granularity" not in [column.key for column in columns_of(table, without[protocol])]
        assert "granularity" in [column.key for column in columns_of(table, having[protocol])]
    assert sorted(BY_KEY["granularity"].value(row, having[protocol]) for row in having[protocol].rows) == [
        "kernel",
        "weight",
    ]
    assert [json.loads(row.options).get("granularity") for row in having[protocol].rows].count("kernel") == 1


def test_a_record_of_single_weights_does_not_mention_groups(make_record):
    assert "granularity" not in make_record().model_dump(mode="json")["compression"]
    assert make_record(compression__granularity="2:4").model_dump(mode="json")["compression"]["granularity"] == "2:4"
