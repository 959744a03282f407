"""The site is complete, escapes what records say, links only to what is there, and is the same every time."""

from __future__ import annotations

import dataclasses
import json
import posixpath
import random
import re
from datetime import date
from urllib.parse import unquote, urlsplit

import pytest

from benchmark.errors import UserError
from benchmark.files.places import ROOT
from benchmark.leaderboard.board.reference import ReportedRow
from benchmark.leaderboard.board.tables import boards
from benchmark.leaderboard.figure_plans.list import Figure
from benchmark.leaderboard.site.board_view import SITE_COLUMNS
from benchmark.leaderboard.site.labels import QUICK_IMAGES, TASKS
from benchmark.leaderboard.site.pages import site_pages
from benchmark.leaderboard.site.pareto import pareto_plot
from benchmark.leaderboard.site.row_view import counts
from benchmark.results.challenges import Challenge
from benchmark.review import reproducing

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
BOARD = f"site/{PROTOCOL}.html"
MARKER = "Generated from records by `python -m benchmark leaderboard`. Do not edit."
HOSTILE = "\"><img src=x onerror=alert(1)></script><script>alert(1)</script>' onfocus='alert(1)&amp;\u202e{{ 7*7 }}"


def figure(name, **changes):
    fields = {
        "title": f"Figure {name}",
        "caption": "What it shows.",
        "protocol": None,
        "run": None,
        "numbers": (("Jaccard overlap", "0.41"),),
        "png": f"{name}.png",
        "svg": f"{name}.svg",
        "source": "a" * 64,
    }
    return Figure(name=name, **fields | changes)


def row_pages(site):
    return sorted(path for path in site if path.startswith("site/rows/"))


def test_every_row_has_a_page_and_every_file_says_where_it_comes_from(site):
    assert len([path for path in row_pages(site) if 'http-equiv="refresh"' not in site[path]]) == 9
    assert {"site/index.html", "site/paper.html", "site/style.css", "site/site.js", BOARD} <= set(site)
    assert all(MARKER in text.splitlines()[0] for text in site.values())


def test_the_same_records_in_any_order_give_the_same_bytes(site, records, make_site):
    shuffled = list(records)
    random.Random(0).shuffle(shuffled)
    assert make_site(shuffled) == site


def test_no_records_still_make_a_front_page(make_site):
    site = make_site([])
    assert "There are no records yet." in site["site/index.html"]


def test_every_link_leads_to_a_file_of_the_results_and_to_a_part_that_is_there(records, make_site, parsed):
    figures = [figure("shared"), figure("of-board", protocol=PROTOCOL), figure("mask", run=records[0].run)]
    site = make_site(records, figures=figures)
    outside = {f"{PROTOCOL}.{kind}" for kind in ("md", "csv", "json", "tex", "bib")}
    named = {target for _, target, _, _ in TASKS if not target.startswith("#")}
    outside |= {"CHANGELOG.md", "docs/index.html"}  # the documentation is there where both are published
    outside |= {f"docs/{name}" for name in named}
    assert all((ROOT / "docs" / name).with_suffix(".md").exists() for name in named)
    outside |= {f"site/figures/{each.name}.{kind}" for each in figures for kind in ("png", "svg")}
    for record in records:
        name = record.run.replace("/", "__")
        outside |= {f"artifacts/{name}.safetensors", f"records/{PROTOCOL}/{name}.json"}
    ids = {path: {*parsed(text).values("id")} for path, text in site.items() if path.endswith(".html")}
    reached = set()
    for path in ids:
        page = parsed(site[path])
        for link in page.values("href") + page.values("src"):
            parts = urlsplit(link)
            assert not parts.netloc and parts.scheme in ("", "data"), link
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(parts.path) or path))
            target = path if not parts.path else target
            assert target in site or target in outside, f"{path}: {link}"
            assert not parts.fragment or parts.fragment in ids[target], f"{path}: {link}"
            reached.add(target)
    moved = {path for path in site if 'http-equiv="refresh"' in site[path]}
    assert reached >= outside and reached >= set(site) - {"site/index.html"} - moved


def test_nothing_is_requested_from_elsewhere(site):
    for path, text in site.items():
        assert not re.search(r"(?i)\b(https?|ftp|wss?):|//[a-z0-9-]+\.[a-z]|@import|url\(", text), path


def test_pages_hold_no_inline_style_or_script_which_their_policy_forbids(site, parsed):
    for path in (path for path in site if path.endswith(".html")):
        page = parsed(site[path])
        assert "style" not in [tag for tag, _ in page.elements] and not page.values("style")
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on")]
            assert tag != "script" or "src" in attributes or attributes == {"type": "application/json", "id": "data"}
        (policy,) = [each["content"] for _, each in page.elements if each.get("http-equiv", "refresh") != "refresh"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy


def hostile_record(make_site_record, **changes):
    record = make_site_record("x", method=HOSTILE, **changes)
    phase = {"run": HOSTILE, "run_hash": HOSTILE, "weights_sha256": "d" * 64}
    layer = {"weights": 10_000, "kept": 100, "name": HOSTILE}
    fields = record.model_dump()
    fields["suite"] = fields["architecture"]["name"] = fields["method"]["objective"] = HOSTILE
    fields["method"] |= {"options": {HOSTILE: HOSTILE}, "deviations": [HOSTILE], "target": f"{HOSTILE}:X"}
    fields["compression"]["layers"] = [layer]
    fields["training"]["first_phase"] = phase
    fields["evaluation"]["autoattack"] |= {"package": HOSTILE, "package_version": HOSTILE}
    for check in fields["evaluation"]["health"]:
        check["reason"] = HOSTILE
    names = ("command", "git_commit", "python", "torch", "platform", "device")
    fields["provenance"] |= dict.fromkeys(names, HOSTILE) | {"config": {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}}
    return type(record)(**fields)


def hostile_site(make_site_record, make_site):
    good, bad = hostile_record(make_site_record), hostile_record(make_site_record, seed=1, right=(40, 50, 45))
    challenge = Challenge(
        schema_version=1,
        run=good.run,
        protocol=PROTOCOL,
        artifact_sha256="e" * 64,
        images_sha256="f" * 64,
        credit=HOSTILE.replace("\u202e", ""),
        date=date(2026, 1, 1),
        broken=[3],
    )
    picture = figure("x", title=HOSTILE, caption=HOSTILE, numbers=((HOSTILE, HOSTILE),), source=HOSTILE)
    return make_site([good, bad], challenges=[challenge], figures=[picture], question=HOSTILE)


def test_nothing_that_a_record_says_becomes_markup(make_site_record, make_site, parsed):
    site = hostile_site(make_site_record, make_site)
    shown = HOSTILE.replace("\u202e", " ")
    for path in (path for path in site if path.endswith(".html")):
        page = parsed(site[path])
        tags = [tag for tag, _ in page.elements]
        assert tags.count("script") == (2 if path == BOARD else 1), path
        assert tags.count("img") == (1 if path == "site/index.html" else 0), path
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        assert "\u202e" not in site[path]
    board, row = parsed(site[BOARD]), parsed(site[row_pages(site)[0]])
    assert shown in board.texts, "the method's name is shown as it is"
    assert sum(shown in text for text in row.texts) > 15
    assert parsed(site["site/questions.html"]).texts.count(shown) == 4  # in the table and as a heading, asked twice


def test_the_data_of_the_script_holds_no_markup(make_site_record, make_site):
    page = hostile_site(make_site_record, make_site)[BOARD]
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert not set(data) & set("<>&'")
    (row,) = json.loads(data)["rows"]
    assert HOSTILE.lower() in row["words"] and row["values"][1] == HOSTILE


def test_a_protocol_that_leads_elsewhere_is_refused(records):
    (board,) = boards(records).values()
    with pytest.raises(UserError, match="cannot be a page"):
        site_pages([dataclasses.replace(board, protocol="../x")], [], [])


def test_rows_that_share_an_id_get_pages_of_their_own(make_site_record, make_site):
    first = make_site_record("x")
    twin = first.run_hash[:6] + "0" * 6
    second = make_site_record("y", run=first.run.replace("/x/", "/y/"), run_hash=twin, compression__keep_ratio=0.5)
    site = make_site([first, second])
    assert row_pages(site) == sorted(f"site/rows/{PROTOCOL}/{name}.html" for name in (twin, first.run_hash))


def test_the_link_of_a_row_lives_on_when_another_seed_becomes_its_first(make_site_record, make_site):
    late = make_site_record("x", seed=1, right=(80, 50, 45))
    link = f"site/rows/{PROTOCOL}/{late.run_hash[:6]}.html"
    first = make_site_record("x", seed=0, right=(80, 50, 44))
    assert "http-equiv" in make_site([late])[link] and "refresh" not in make_site([late])[link]
    site = make_site([late, first])
    name = f"{first.run_hash[:6]}.html"
    assert f'<meta http-equiv="refresh" content="0; url={name}">' in site[link] and f'<a href="{name}">' in site[link]
    assert "<h2>Seed 1</h2>" in site[f"site/rows/{PROTOCOL}/{name}"]


def test_a_later_seed_takes_no_page_from_another_row(make_site_record, make_site):
    first, later = make_site_record("x"), make_site_record("x", seed=1)
    digits, run = later.run_hash[:6] + "0" * 6, f"{first.run.rpartition('-')[0].replace('/x/', '/y/')}"
    changes = {"run": f"{run}-{digits[:6]}", "run_hash": digits, "compression__keep_ratio": 0.5}
    other = make_site_record("y", **changes)
    site = make_site([first, later, other])
    assert "refresh" not in site[f"site/rows/{PROTOCOL}/{digits[:6]}.html"]


def test_the_page_says_how_many_images_a_quick_measurement_takes(site, make_site_record, make_site):
    assert QUICK_IMAGES == reproducing.QUICK_IMAGES
    assert "again, on all 100 images" in site[f"site/rows/{PROTOCOL}/{make_site_record('a').run_hash[:6]}.html"]
    many = make_site([make_site_record("a", n=1_000, right=(900, 800, 700))])
    assert any("again, on the first 200 images" in text for text in many.values())


def test_counts_are_those_of_the_verdicts(make_site_record):
    rows = counts(make_site_record("a", right=(57, 29, 28)))  # 100 * 0.57 and 100 * 0.29 are not whole in floats
    assert [right for _, right, _ in rows] == [57, 29, 29, 28, 28, 28, 28]


def test_the_front_is_a_staircase_through_all_its_rows(records):
    (board,) = boards(records).values()
    rows = board.section("paper")
    (path,) = re.findall(r'<path class="front" d="([^"]+)"', pareto_plot(rows, [row.id for row in rows], "size"))
    assert path.count("V") + 1 == len({row.costs.size_bytes for row in rows if "size" in row.fronts}) > 1


def test_the_table_sorts_intervals_by_their_lower_end(site, records):
    data = json.loads(re.search(r'id="data">(.*?)</script>', site[BOARD], re.DOTALL)[1])
    place = [column["key"] for column in data["columns"]].index("robust_interval")
    lower = {row.id: row.interval[0] for row in boards(records)[PROTOCOL].rows}
    assert {line["ids"][0]: line["values"][place] for line in data["rows"]} == pytest.approx(lower)


def test_granularities_are_a_filter_where_a_mask_keeps_groups(make_site_record, make_site, site, records):
    pages = make_site([*records, make_site_record("in kernels", compression__granularity="kernel")])
    data = json.loads(re.search(r'id="data">(.*?)</script>', pages[BOARD], re.DOTALL)[1])

    kept_together = [line["granularity"] for line in data["rows"]]
    assert kept_together.count("kernel") == 1 and set(kept_together) == {"kernel", "weight"}
    offered = re.search(r'<select name="granularity">(.*?)</select>', pages[BOARD])[1]
    assert re.findall(r'value="([^"]*)"', offered) == ["", "kernel", "weight"]
    assert 'name="granularity"' not in site[BOARD] and '"granularity"' not in site[BOARD]


def test_an_automatic_allocation_is_a_strategy_of_its_own(make_site_record, make_site, site, records):
    named = {name: make_site_record(f"with {name}", compression__allocation=name) for name in ("auto:0.0117", "auto")}
    pages = make_site([*records, *named.values()])
    data = json.loads(re.search(r'id="data">(.*?)</script>', pages[BOARD], re.DOTALL)[1])
    place = [column["key"] for column in data["columns"]].index("allocation")
    by_strategy = {line["strategy"]: line["values"][place] for line in data["rows"]}

    assert by_strategy["1"] < by_strategy["global"] < by_strategy["auto:0.0117"] < by_strategy["auto"]
    offered = re.findall(r'<option value="([^"]*)">([^<]*)', pages[BOARD])
    assert ("auto", "auto") in offered and ("auto:0.0117", "auto:0.0117") in offered and ("1", "p = 1") in offered
    (page,) = [text for path, text in pages.items() if path.endswith(f"{named['auto'].run_hash[:6]}.html")]
    assert "keep 0.01, auto, pgd" in page
    legend = "auto: the budgets that give the most masks and paths together"
    assert legend in pages[BOARD] and legend not in site[BOARD]


def test_a_row_shows_what_was_reported_and_the_difference(records):
    (board,) = boards(records).values()
    published = ReportedRow("cifar10", "8/255", "x", "pgd", "r", True, None, 1.0, "fp", {}, 0.8, 0.40, "A doubt.")
    rows = tuple(dataclasses.replace(row, reported=published if row.method == "at" else None) for row in board.rows)
    site = site_pages([dataclasses.replace(board, rows=rows)], [], [])
    assert "<td>40.00</td><td>+12.00</td>" in site[BOARD]
    assert any("measured +12.00 points" in site[path] and "A doubt." in site[path] for path in row_pages(site))


def test_a_cell_that_was_not_measured_is_blank_beside_the_published_number(site):
    page = site["site/paper.html"]
    assert '<span class="theirs">43.26</span><b><a href="rows/' in page and "+1.74" in page and "n = 2" in page
    assert '<td><span class="theirs">20.00</span></td>' in page


def test_a_refused_row_tells_why_on_the_board_and_on_its_page(site, records):
    reason = "AutoAttack accuracy 0.4000 exceeds PGD accuracy 0.3000"
    page = site[f"site/rows/{PROTOCOL}/{records[-1].run_hash[:6]}.html"]
    assert reason in site[BOARD] and reason in page and "<dt>Rank</dt>" not in page


def test_a_row_page_shows_both_seeds_with_their_counts_hash_and_command(site, records):
    first, second = records[:2]
    page = site[f"site/rows/{PROTOCOL}/{first.run_hash[:6]}.html"]
    assert len(page) < 60_000
    for record in (first, second):
        assert f"python -m benchmark reproduce {record.run_hash[:6]} --protocol {record.protocol} --quick" in page
    assert page.count(first.artifact.sha256) == 2
    assert '<th scope="row">PGD</th><td class="num">50</td><td class="num">50.00</td>' in page
    assert "training:\n  epochs: 400" in page, "the config is indented text"


def test_a_figure_of_a_run_stands_on_its_row_and_nowhere_else(records, make_site):
    site = make_site(records, figures=[figure("mask", run=records[1].run, protocol=PROTOCOL)])
    holders = [path for path, text in site.items() if "mask.png" in text]
    assert holders == [f"site/rows/{PROTOCOL}/{records[0].run_hash[:6]}.html"]


def test_a_run_without_history_has_no_empty_picture(make_site_record, make_site):
    phase = {"run": "cifar10/resnet34-lbn/at/x/seed0-aaaaaa", "run_hash": "a" * 12, "weights_sha256": "d" * 64}
    site = make_site([make_site_record("x", training__first_phase=phase, training__history=[])])
    assert "<svg" not in site[row_pages(site)[0]].split("Density of each layer")[0]


@pytest.mark.parametrize("losses", [[float("nan"), 2.0, 1.0], [float("nan"), float("inf"), 1e300]])
def test_a_training_that_diverged_still_has_a_page(make_site_record, make_site, losses):
    lines = make_site_record("x", training__epochs=3, training__selected_epoch=1).model_dump()["training"]["history"]
    history = [line | {"loss": loss} for line, loss in zip(lines, losses, strict=True)]
    changes = {"training__epochs": 3, "training__selected_epoch": 1, "training__history": history}
    site = make_site([make_site_record("x", **changes)])
    page = site[row_pages(site)[0]]
    assert page.count('<svg class="curve"') == (2 if 2.0 in losses else 1)
    assert not re.search(r' d="[^"]*[a-z]{3}', page), "no coordinate is nan or inf"


def test_rows_that_every_attack_breaks_have_bars(make_site_record, make_site):
    site = make_site([make_site_record("x", seed=seed, right=(80, 0, 0)) for seed in range(2)])
    assert "The bars of the intervals run from 0 to 10%." in site[BOARD]


def test_cards_on_a_phone_name_every_column(site):
    labels = dict(re.findall(r'td:nth-child\((\d+)\)::before { content: "(.*?)"', site["site/style.css"]))
    headings = {str(place): column.heading for place, column in enumerate(SITE_COLUMNS, start=1)}
    assert labels == {place: heading for place, heading in headings.items() if heading != "Method"}


def luminance(colour):
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_that_wcag_aa_asks_for(site, theme):
    pairs = re.findall(r"--(\w+): light-dark\((#\w{6}), ?(#\w{6})\)", site["site/style.css"])
    colours = {name: luminance(values[theme]) for name, *values in pairs}
    for text in ("ink", "quiet", "link", "accent", "warm", "good", "doubt", "bad"):
        for ground in ("paper", "raised", "tint", "mark"):
            light, dark = sorted((colours[text], colours[ground]), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{text} on {ground}"


def test_long_texts_are_on_the_pages_of_rows_and_not_on_the_board(make_site_record, make_site):
    def record(name):
        notes = [f"{name}{number} {'word ' * 98}" for number in range(32)]
        return make_site_record(name, method__deviations=notes, method__options={"x": "v" * 1000, "y": name})

    site = make_site([record(name) for name in "abcdefg"])
    assert "each row's page has its own" in site[BOARD] and "word word" not in site[BOARD]
    assert "v" * 300 in site[BOARD] and "v" * 401 not in site[BOARD]
    page = site[row_pages(site)[0]]
    assert page.count("word word") >= 32 and "v" * 1000 in page
