"""The site in a real browser, opened from files, on a desk and on a phone: skipped where no Chromium is installed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from benchmark.results.bounds import MAX_DEVIATIONS, MAX_RECORD, characters

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed")

PROTOCOL = "cifar10-linf-8_255-aa-standard-100"
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
ROWS = 800
GROWTH = 1.01  # of the size from one of many rows to the next

Visit = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return one browser for all tests of this file."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if root else [])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def visit(browser: Any) -> Visit:
    """Return a visit to a page that fails if anything goes wrong in it, or if it asks for anything but files."""

    @contextlib.contextmanager
    def opened(path: Path, *, size: str = "desk", script: str = "", **options: Any) -> Iterator[Any]:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(30_000)  # a hang; usually it takes milliseconds
        page = context.new_page()
        page.add_init_script(script)
        problems: list[str] = []
        page.on("console", lambda told: problems.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        context.on(
            "request", lambda asked: None if asked.url.startswith(("file:", "data:")) else problems.append(asked.url)
        )
        page.goto(path.as_uri())
        yield page
        assert not problems
        context.close()

    return opened


def written(site: dict[str, str], folder: Path) -> Path:
    for name, text in site.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "site"


@pytest.fixture(scope="module")
def folder(site: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the small site."""
    return written(site, tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def board(folder: Path) -> Path:
    """Return the board of the small site."""
    return folder / f"{PROTOCOL}.html"


def numbers(page: Any, column: int) -> list[float]:
    """Return the number at the start of each cell of a column, from the top."""
    cells = page.locator(f"#rows tr[id] > :nth-child({column})").all_text_contents()
    return [float(re.match(r"[\d.]+", text)[0]) for text in cells]


def methods(page: Any) -> list[str]:
    """Return the methods of the rows that are shown, from the top."""
    return page.locator("#rows tr[id] th > a").all_text_contents()


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def choose(page: Any, name: str, value: str) -> None:
    """Set a filter, behind its heading on a phone."""
    if not page.locator("#filters").evaluate("it => it.open"):
        page.get_by_text("Filters", exact=True).click()
    control = page.locator(f"#filters [name={name}]")
    if control.evaluate("it => it.tagName") == "SELECT":
        control.select_option(value)
    else:
        control.fill(value)


def overflow(page: Any) -> int:
    """Return by how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def background(page: Any) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("size", SIZES)
def test_a_board_sorts_by_columns_and_keeps_ranks_within_their_class(visit, board, size):
    with visit(board, size=size) as page:
        assert page.locator("#rows .group").count() == 5
        for heading, number in (("Clean", 7), ("Robust", 3)):
            press(page, heading)
            shown = numbers(page, number)
            assert shown == sorted(shown, reverse=True) and len(shown) == 8
            assert page.locator("#rows [aria-sort=descending]").inner_text() == heading
        press(page, "Size")
        assert methods(page)[-1] == "at" and page.locator("#rows [aria-sort=ascending]").inner_text() == "Size"
        press(page, "Size")
        assert methods(page)[:3] == ["at", "hydra", "hydra"]
        assert page.locator("#rows .group").count() == 0
        assert "paper, above 30 MB" in page.locator("#rows tr[id] td").first.inner_text()
        press(page, "Rank")
        assert page.locator("#rows .group").count() == 5
        assert overflow(page) <= 0


@pytest.mark.parametrize("size", SIZES)
def test_filters_find_binary_rows_below_a_size_and_the_address_keeps_the_view(visit, board, size):
    with visit(board, size=size) as page:
        choose(page, "weights", "binary")
        choose(page, "size_bytes", "0.3 MB")
        assert page.locator("#count").inner_text() == "5 of 8 rows"
        assert set(methods(page)) == {"edge_popup", "hydra"}
        press(page, "Clean")
        page.wait_for_url(re.compile(r"#weights=binary&size_bytes=0.3\+MB&sort=-clean$"))
        order = methods(page)
        page.reload()
        assert methods(page) == order and page.locator("[name=weights]").input_value() == "binary"
        choose(page, "size_bytes", "much")
        assert page.locator("[name=size_bytes]").get_attribute("aria-invalid") == "true"
        assert page.locator("#count").inner_text() == "6 of 8 rows"
        press(page, "Reset")
        assert page.locator("#count").inner_text() == "8 of 8 rows"
        assert overflow(page) <= 0


def test_an_address_with_former_names_shows_the_same_view(visit, board):
    with visit(board) as page:
        page.evaluate("location.hash = '#precision=binary&size=0.3+MB&sort=-seeds'")

        page.wait_for_function("document.querySelector('#count').innerText === '5 of 8 rows'")
        assert page.locator("#rows [aria-sort=descending]").inner_text() == "Seeds"


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [
        ("method", "hydra", 3),
        ("last_norm", "no", 1),
        ("strategy", "p", 7),
        ("strategy", "1", 1),
        ("strategy", "global", 1),
        ("preset", "short", 2),
        ("class", "300 kB", 2),
        ("size_bytes", "28000", 3),
        ("size_bytes", "27100", 3),
        ("size_bytes", "27099", 0),
        ("most", "0.001", 0),
        ("least", "0.01", 8),
        ("n_seeds", "2", 1),
    ],
)
def test_each_filter_leaves_its_rows(opened_board, name, value, count):
    press(opened_board, "Reset")
    choose(opened_board, name, value)
    assert opened_board.locator("#count").inner_text() == f"{count} of 8 rows"
    assert opened_board.locator("#rows tr[id]").count() == count


@pytest.fixture(scope="module")
def opened_board(visit, board):
    """Return the board, opened once."""
    with visit(board) as page:
        yield page


@pytest.mark.parametrize("size", SIZES)
def test_a_search_leads_to_a_row_and_its_permanent_link_back_to_it(visit, board, records, size):
    second = records[1].run_hash[:6]
    with visit(board, size=size) as page:
        page.get_by_label("Search").fill(f"EDGE {second}")
        assert page.locator("#count").inner_text() == "1 of 8 rows"
        page.locator("#rows tr[id] th > a").click()
        page.wait_for_url("**/rows/**")
        assert page.locator("h1").inner_text().startswith("edge_popup") and overflow(page) <= 0
        page.get_by_text("Resolved config").first.click()
        assert "epochs: 400" in page.locator(".config").first.inner_text()
        page.get_by_role("link", name=re.compile("html#")).click()
        page.wait_for_url(f"**/{PROTOCOL}.html#{records[0].run_hash[:6]}")
        assert page.locator("#rows tr.target").get_attribute("id") == records[0].run_hash[:6]
        page.keyboard.press("Tab")  # goes on from the row
        assert page.evaluate("document.activeElement.closest('tr').id") == records[0].run_hash[:6]


def test_the_hash_of_any_seed_marks_its_row_even_if_the_filters_left_it_out(visit, board, records):
    with visit(board) as page:
        choose(page, "weights", "fp")
        page.evaluate("hash => { location.hash = hash; }", records[1].run_hash[:6])
        page.locator("#rows tr.target").wait_for()
        assert page.locator("#rows tr.target").get_attribute("id") == records[0].run_hash[:6]
        assert page.locator("#rows tr.target").is_visible()


@pytest.mark.parametrize("size", SIZES)
def test_the_dark_colours_are_kept_from_page_to_page(visit, folder, size):
    with visit(folder / "index.html", size=size, color_scheme="light") as page:
        light = background(page)
        page.locator("#theme").click()
        dark = background(page)
        assert dark != light and overflow(page) <= 0
        page.get_by_role("link", name="The paper's tables").first.click()
        page.wait_for_url("**/paper.html")
        assert background(page) == dark and overflow(page) <= 0
        page.locator("#theme").click()
        assert background(page) == light


def test_the_colours_switch_where_nothing_can_be_stored(visit, folder):
    refused = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no'); } });"
    with visit(folder / "index.html", script=refused, color_scheme="dark") as page:
        dark = background(page)
        page.locator("#theme").click()
        assert background(page) != dark


def test_the_keyboard_alone_skips_to_the_content_and_sorts(visit, board):
    with visit(board) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.get_by_role("button", name="PGD", exact=True).focus()
        page.keyboard.press("Enter")
        assert numbers(page, 6) == sorted(numbers(page, 6), reverse=True)
        page.keyboard.press("Shift+Tab")
        page.keyboard.press(" ")
        assert page.locator("#rows [aria-sort]").inner_text() == "AutoAttack"


def test_dots_lead_to_rows_and_the_second_picture_shows_training_passes(visit, board):
    with visit(board) as page:
        front = page.locator(".pareto .best:visible").first
        name = front.get_attribute("href")[1:]
        front.click()
        assert page.locator("#rows tr.target").get_attribute("id") == name
        page.get_by_text("Training passes", exact=True).first.click()
        assert page.get_by_role("group", name="against training passes").first.is_visible()


def test_a_board_can_be_read_without_scripts(visit, board):
    with visit(board, java_script_enabled=False) as page:
        assert page.locator("#rows tr[id]").count() == 8
        assert not page.locator("#controls").is_visible() and not page.locator("#theme").is_visible()


def test_what_a_record_says_is_never_run(visit, make_site, make_site_record, tmp_path):
    hostile = "\"'><img src=x onerror=alert(1)></script><script>alert(1)</script>"
    record = make_site_record("x", method=hostile, method__options={hostile: hostile}, method__deviations=[hostile])
    folder = written(make_site([record]), tmp_path)
    with visit(folder / f"{PROTOCOL}.html") as page:
        assert methods(page) == [hostile]
        choose(page, "method", hostile)
        assert page.locator("#count").inner_text() == "1 of 1 rows"
        page.locator("#rows tr[id] th > a").click()
        page.wait_for_url("**/rows/**")
        assert hostile in page.locator(".list li").all_text_contents()
        assert page.locator("img").count() == 0


def test_the_policy_of_the_pages_stops_inline_scripts(browser, board):
    page = browser.new_page()
    page.goto(board.as_uri())
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data: onerror=\"document.title = 1\">')")
    page.evaluate("() => new Promise((done) => setTimeout(done, 50))")
    assert page.title().startswith(PROTOCOL)
    page.close()


# Counts how often a field of a row is read, and what changes in the page.
COUNT = """
    const parse = JSON.parse;
    const counted = (row) => new Proxy(row, { get: (it, key) => { reads += 1; return it[key]; } });
    let reads = 0;
    JSON.parse = (text) => {
        const data = parse(text);
        if (data.rows) data.rows = data.rows.map(counted);
        return data;
    };
    const observer = new MutationObserver(() => {});
    addEventListener("DOMContentLoaded", () => observer.observe(document, {
        childList: true, subtree: true, attributes: true, characterData: true,
    }));
    window.counted = (act) => {
        observer.takeRecords();
        reads = 0;
        act();
        const changes = observer.takeRecords().map((it) => Math.max(1, it.addedNodes.length + it.removedNodes.length));
        return { reads, changes: changes.reduce((a, b) => a + b, 0) };
    };
"""
FILTER = """([name, value]) => counted(() => {
    const control = document.querySelector(`[name=${name}]`);
    control.value = value;
    control.dispatchEvent(new Event("input", { bubbles: true }));
})"""
SORT = """(label) => counted(() => {
    const button = [...document.querySelectorAll("#rows thead button")].find((each) => each.textContent === label);
    button.click();
})"""


@pytest.fixture(scope="module")
def make_board(make_site, make_site_record, tmp_path_factory):
    """Return the maker of a board of many rows; only its own files are written."""

    def make(rows: int, text: Callable[[int], dict[str, Any]] = lambda number: {}) -> Path:
        record = make_site_record("many")
        records = []
        for number in range(rows):
            digits = f"{number * 7919:06x}{number:06x}"
            method = {"name": f"method{number % 7}", "options": {"variant": number}, **text(number)}
            changes = {
                "run": f"{record.run.rpartition('/')[0]}/seed0-{digits[:6]}",
                "run_hash": digits,
                "method": record.method.model_copy(update=method),
                "artifact": record.artifact.model_copy(update={"size_bytes": int(5000 * GROWTH**number)}),
                "compression": record.compression.model_copy(update={"weights": ("fp", "binary")[number % 2]}),
            }
            records.append(record.model_copy(update=changes))
        site = make_site(records)
        names = ("style.css", "site.js", f"{PROTOCOL}.html")
        folder = tmp_path_factory.mktemp(f"rows{rows}")
        return written({f"site/{name}": site[f"site/{name}"] for name in names}, folder) / f"{PROTOCOL}.html"

    return make


@pytest.fixture(scope="module")
def boards(make_board):
    """Return a board of some rows and one of eight times as many."""
    return {rows: make_board(rows) for rows in (ROWS // 8, ROWS)}


@pytest.mark.parametrize("size", SIZES)
def test_the_work_for_a_key_grows_like_the_rows_and_that_in_the_page_not_at_all(visit, boards, size):
    calls = [
        *((FILTER, [name, value]) for name, value in (("weights", "binary"), ("weights", ""))),
        *((FILTER, [name, value]) for name, value in (("size_bytes", "0.3 MB"), ("search", "method3"), ("search", ""))),
        *((SORT, label) for label in ("Size", "Robust")),
    ]
    work = []
    for rows, path in boards.items():
        with visit(path, size=size, script=COUNT) as page:
            assert page.locator("#count").inner_text() == f"{rows} of {rows} rows, 1 to 60 shown"
            work.append([page.evaluate(script, argument) for script, argument in calls])
            assert page.locator("#rows tr[id]").count() <= 60
            if rows == ROWS:
                page.evaluate(FILTER, ["size_bytes", "0.3 MB"])
                page.evaluate(FILTER, ["weights", "binary"])
                below = sum(int(5000 * GROWTH**number) <= 300_000 for number in range(1, ROWS, 2))
                assert page.locator("#count").inner_text().startswith(f"{below} of {ROWS} rows")

    few, many = work
    assert all(after["reads"] < 8 * 2 * before["reads"] for before, after in zip(few, many, strict=True))
    assert all(call["changes"] < 4 * 60 for call in (*few, *many))


def longest_texts(number: int) -> dict[str, Any]:
    """Return options and deviations of a row's own, about as long as a record may have them."""
    share = 17_000 // (2 * MAX_DEVIATIONS)
    texts = [f"{number}.{place} {'word ' * share}"[:share] for place in range(MAX_DEVIATIONS)]
    return {"options": {f"o{place}": text[8:] for place, text in enumerate(texts)}, "deviations": texts}


def test_a_board_of_the_longest_texts_takes_little_work_to_open(visit, make_board, make_site_record):
    """Work is counted, not timed: bytes and elements of the page, and characters that are laid out."""
    longest = {f"method__{name}": value for name, value in longest_texts(0).items()}
    assert 0.9 * MAX_RECORD < characters(make_site_record("x", **longest)) <= MAX_RECORD
    path = make_board(500, longest_texts)
    with visit(path) as page:
        elements = page.evaluate("document.getElementsByTagName('*').length")
        shown = page.evaluate("document.body.innerText.length")
        assert "each row's page has its own" in page.locator("section:has(#notes)").inner_text()
    assert path.stat().st_size < 2_500_000 and elements < 10_000 and shown < 100_000
