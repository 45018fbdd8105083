"""The page in a real browser: nothing foreign runs, nothing is fetched, everybody can use it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import report
from tests.report.made import HOSTILE, Made, maker

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs Debian's chromium (apt-get install chromium)"
    ),
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: one hostile in everything it says, one with other answers and no pictures."""
    folder = tmp_path_factory.mktemp("runs")
    make = maker(folder)
    mme = Made(
        task="mme",
        title="MME",
        headline="perception",
        columns={"MME perception": "perception", "MME cognition": "cognition"},
        metrics={"perception": 1398.2, "cognition": 331.1},
        breakdown={"score": {f"sub-task {k}": 100.0 + 5 * k for k in range(18)}},
        value=1398.2,
        ci95=(1370.2, 1425.0),
    )
    many = len(HOSTILE)
    first = make(
        "first",
        Made(answers=HOSTILE, values=[0.0] * many),
        Made(answers=HOSTILE, values=[1.0] * (many - 1) + [None], shots=4),
        mme,
        model="Infi-MM/infimm-zephyr",
        step=1000,
    )
    second = make(
        "second",
        Made(answers=["plain"] * many, values=[0.6] * many),
        Made(answers=["plain"] * many, values=[0.6] * many, shots=4, limit=8, complete=False),
        model="Infi-MM/infimm-zephyr",
        step=2000,
        pictures=False,
    )
    return report.write([first, second], folder)[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        ) as browser,
    ):
        yield browser


@pytest.fixture
def view(browser: Any, page_file: Path) -> Iterator[Any]:
    """Opens the page; fails on any console message, error or request."""
    troubles: list[str] = []
    contexts = []

    def opened(width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        page.goto(page_file.as_uri())
        page.on("request", lambda request: _note(request.url, troubles))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def _note(url: str, troubles: list[str]) -> None:
    if not url.startswith("data:image/webp;base64,"):
        troubles.append(f"request: {url[:200]}")


def count(page: Any) -> str:
    return str(page.text_content("#count"))


def open_everything(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    eventually(page, "document.querySelectorAll('#list .prompt').length")


def test_what_models_say_stays_text(view: Any) -> None:
    page = view()
    open_everything(page)
    assert page.evaluate("window.hacked") is None
    said = page.locator(".said").all_text_contents()
    assert set(HOSTILE) <= set(said)
    assert (
        page.locator("#list script, #list b b, #list a:not(.where a), main textarea").count() == 0
    )


def test_pictures_of_samples_and_shots_are_shown_and_missing_ones_named(view: Any) -> None:
    page = view()
    page.select_option("[name=task]", "vqav2")
    open_everything(page)
    page.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager'; })")
    assert eventually(page, "[...document.images].every((one) => one.complete)")
    widths = page.evaluate("[...document.images].map((one) => one.naturalWidth)")
    assert len(widths) >= 8 * 5 and min(widths) > 0
    assert page.locator(".prompt").first.locator("img").count() >= 1


def test_filters_narrow_and_clear(view: Any) -> None:
    page = view()
    assert count(page) == "12 of 12 samples"
    page.select_option("[name=task]", "vqav2")
    assert count(page) == "8 of 12 samples"
    page.select_option("[name=type]", "number")
    assert count(page) == "3 of 12 samples"
    page.select_option("[name=type]", "")
    page.select_option("[name=cell]", label="Infi-MM/infimm-zephyr (step 1,000), 4 shots")
    page.select_option("[name=score]", "unscored")
    assert count(page) == "1 of 12 samples"
    page.select_option("[name=score]", "right")
    assert count(page) == "7 of 12 samples"
    page.click("text=Clear")
    assert eventually(page, "document.getElementById('count').textContent === '12 of 12 samples'")
    page.select_option("[name=changed]", label="worse in the later run")
    assert count(page) == "7 of 12 samples"
    page.click("text=Clear")
    page.fill("[name=search]", "</TEXTAREA> bold")
    assert count(page) == "2 of 12 samples"
    page.fill("[name=search]", "nothing says this")
    assert count(page) == "0 of 12 samples"


def eventually(page: Any, expression: str) -> Any:
    """The expression's value as soon as it is true; what opens, fills itself a moment later."""
    for _ in range(100):
        if found := page.evaluate(expression):
            return found
        page.wait_for_timeout(50)
    return None


def test_the_keyboard_reaches_everything(view: Any) -> None:
    page = view()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("[name=task]")
    page.focus("#filters button")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "search"
    page.keyboard.type("/j")
    assert page.input_value("[name=search]") == "/j"
    page.fill("[name=search]", "")
    page.focus("#filters button")
    page.keyboard.press("j")
    page.keyboard.press("j")
    number = "[...document.querySelectorAll('.sample')].indexOf(document.activeElement)"
    assert page.evaluate(number) == 1
    page.keyboard.press("k")
    assert page.evaluate(number) == 0
    page.keyboard.press("p")
    assert eventually(page, "document.activeElement.querySelectorAll('.prompt').length")


def test_single_keys_work_from_anywhere_and_can_be_switched_off(view: Any) -> None:
    page = view()
    page.focus(".scroll")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.className") == "sample"
    page.uncheck("#keys")
    page.focus(".scroll")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.className") == "scroll"


def test_the_address_says_what_is_shown(view: Any, browser: Any) -> None:
    page = view()
    assert page.evaluate("location.hash") == ""
    page.select_option("[name=task]", "vqav2")
    page.select_option("[name=type]", "number")
    page.fill("[name=search]", "plain & <b>")
    address = page.evaluate("location.href")
    assert address.endswith("#samples?task=vqav2&type=number&search=plain+%26+%3Cb%3E")
    again = browser.new_page()
    again.goto(address)
    assert again.input_value("[name=search]") == "plain & <b>"
    assert (count(again), again.input_value("[name=type]")) == (count(page), "number")
    again.close()
    page.click("text=Clear")
    assert eventually(page, "location.hash === '#samples'")


def test_every_sample_has_an_address_of_its_own(view: Any, browser: Any) -> None:
    page = view()
    link = page.locator(".where a").nth(2)
    name, address = link.text_content(), link.evaluate("one => one.href")
    link.click()
    assert eventually(page, "document.querySelectorAll('.sample').length === 1")
    again = browser.new_page()
    again.goto(address)
    assert again.locator(".where a").all_text_contents() == [name]
    assert count(again) == "1 of 12 samples"
    assert again.evaluate("document.activeElement.className") == "sample"
    again.click("text=Clear")
    assert eventually(again, "document.getElementById('count').textContent[1] === '2'")
    again.goto(address.partition("#")[0] + "#sample/nothing/%E0%A4%A")
    assert count(again) == "12 of 12 samples; %E0%A4%A is not among them"
    again.close()


def test_wrong_answers_come_first_or_any_other_order(view: Any) -> None:
    page = view()
    page.select_option("[name=task]", "mme")
    scores = "[...document.querySelectorAll('.score')].map((one) => one.textContent)"
    assert page.evaluate(scores) == ["✗ 0", "30", "✓ 100", "unscored"]
    page.select_option("[name=order]", "best")
    assert page.evaluate(scores) == ["✓ 100", "30", "✗ 0", "unscored"]
    page.select_option("[name=order]", "id")
    assert page.locator(".where a").all_text_contents() == ["q0", "q1", "q2", "q3"]
    page.select_option("[name=order]", "long")
    assert page.locator(".said").first.text_content() == "a dog"


def test_a_table_is_sorted_by_any_column_and_back(view: Any) -> None:
    page = view()
    figures = page.locator("table.figures").first
    shots = "table => [...table.tBodies[0].rows].map((row) => Number(row.cells[1].textContent))"
    before = figures.evaluate(shots)
    button = figures.locator("thead button", has_text="Shots")
    seen = []
    for _ in range(3):
        button.click()
        said = figures.locator("th").nth(1).get_attribute("aria-sort")
        seen.append((said, figures.evaluate(shots)))
    assert [said for said, _ in seen] == ["descending", "ascending", None]
    assert seen[0][1] == sorted(before, reverse=True)
    assert (seen[1][1], seen[2][1]) == (sorted(before), before)


def test_two_runs_stand_side_by_side_with_the_words_that_differ_marked(
    browser: Any, tmp_path: Path
) -> None:
    make = maker(tmp_path)
    said = ["a red dog on the beach", "same", "<b>one</b>", ""]
    other = ["a blue dog on a beach", "same", "<b>two</b>", "something"]
    runs = [make(n, Made(answers=a), model=n) for n, a in (("one", said), ("two", other))]
    page = browser.new_page()
    page.goto(report.write(runs, tmp_path)[1].as_uri() + "#samples?order=id")
    assert page.locator(".pair").count() == 4
    assert page.locator(".pair").first.locator("thead th").all_text_contents() == ["one", "two"]
    marks = [line.locator("mark").all_text_contents() for line in page.locator(".pair").all()]
    assert marks == [["red", "the", "blue", "a"], [], ["one", "two"], ["something"]]
    assert page.locator(".said").all_text_contents()[4:6] == ["<b>one</b>", "<b>two</b>"]
    assert "(nothing)" in page.locator(".said").all_text_contents()
    page.close()


def test_every_sample_is_read_on_demand_from_the_folder_beside_the_page(
    browser: Any, tmp_path: Path
) -> None:
    many = 230
    answers = [*HOSTILE, *(f"answer {n}" for n in range(many - len(HOSTILE)))]
    values = [float(n % 5 > 0) for n in range(many)]
    run = maker(tmp_path)("run", Made(answers=answers, values=values))
    page = browser.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    page.goto(report.write([run], tmp_path, samples=None)[1].as_uri())
    assert eventually(page, "document.querySelectorAll('.sample').length === 40")
    assert count(page) == "230 of 230 samples"
    assert [name for name in asked if name.endswith(".js")] == ["0.js"]
    assert page.locator(".score").all_text_contents() == ["✗ 0"] * 40
    page.select_option("[name=score]", "right")
    assert eventually(page, "document.getElementById('count').textContent[0] === '1'")
    page.fill("[name=search]", "answer 220")
    assert eventually(page, "document.getElementById('count').textContent === '1 of 230 samples'")
    assert page.locator(".said").all_text_contents() == ["answer 220"]
    page.goto(page.url.partition("#")[0] + "#sample/vqav2/q0")
    assert eventually(page, "document.querySelectorAll('.said').length === 1")
    assert page.locator(".said").all_text_contents() == [HOSTILE[0]]
    assert (page.evaluate("window.hacked"), troubles) == (None, [])
    page.close()


def test_a_page_whose_folder_stayed_behind_says_so(browser: Any, tmp_path: Path) -> None:
    run = maker(tmp_path)("run", Made())
    path = report.write([run], tmp_path / "whole", samples=None)[1]
    alone = path.rename(tmp_path / "report.html")
    page = browser.new_page()
    page.goto(alone.as_uri())
    assert eventually(page, "document.getElementById('count').textContent.includes('beside')")
    assert "The samples lie in the folder report-samples" in count(page)
    assert page.is_visible("text=Pretraining benchmarks")
    page.close()


@pytest.mark.parametrize("media", ["screen", "print"])
def test_no_table_hides_a_column(view: Any, media: str) -> None:
    page = view(1280 if media == "screen" else 720)
    page.emulate_media(media=media)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    wide = page.eval_on_selector_all(
        ".scroll",
        "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.ariaLabel)",
    )
    assert page.locator(".scroll").count() > 2
    assert wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(view: Any, scheme: str, width: int) -> None:
    page = view(width, color_scheme=scheme)
    open_everything(page)
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ] == []


def test_it_fits_a_phone_and_keeps_its_looks_in_every_light(view: Any, page_file: Path) -> None:
    """Screenshots are left beside the page for people to look at."""
    looks: dict[str, Any] = {
        "light": view(color_scheme="light"),
        "dark": view(color_scheme="dark"),
        "phone": view(390),
        "print": view(),
    }
    looks["print"].emulate_media(media="print")
    colours = {}
    for name, page in looks.items():
        path = page_file.with_name(f"report-{name}.png")
        page.screenshot(path=path, full_page=True)
        assert path.stat().st_size > 20_000
        colours[name] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) == 0, name
    assert colours["light"] != colours["dark"]
    assert not looks["print"].is_visible("#filters")


def test_the_theme_can_be_chosen(view: Any) -> None:
    page = view(color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    page.click("#theme")
    assert page.text_content("#theme") == "Theme: dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_without_scripts_every_figure_is_still_there(view: Any) -> None:
    page = view(java_script_enabled=False)
    assert page.is_visible("text=Pretraining benchmarks")
    assert page.locator("svg.chart").count() >= 3
    assert page.locator("#list li").count() == 0


def test_no_figure_of_a_drawing_is_cut_off(browser: Any, tmp_path: Path) -> None:
    make = maker(tmp_path)
    runs = [
        make(
            name,
            *(
                Made(answers=["a"] * 3, values=[v] * 3, shots=k, value=v, ci95=None)
                for k, v in ((0, 12.5), (4, value))
            ),
        )
        for name, value in (("low", 638.04), ("high", 1398.25), ("higher", 1500.0))
    ]
    for chosen in (runs[:1], runs):
        page = browser.new_page()
        page.goto(report.write(chosen, tmp_path / str(len(chosen)))[1].as_uri())
        cut = page.eval_on_selector_all(
            "svg.chart text",
            """texts => texts.filter(t => {
                const box = t.getBBox(), all = t.ownerSVGElement.viewBox.baseVal;
                return box.x < -1 || box.x + box.width > all.width + 1;
            }).map(t => t.textContent)""",
        )
        assert page.locator("svg.chart text.value").count() >= len(chosen)
        assert cut == []
        page.close()


def test_a_report_of_twelve_benchmarks_opens_within_a_second_of_work(
    browser: Any, tmp_path: Path
) -> None:
    cells = [
        Made(task=f"task{n}", title=f"Task {n}", shots=shots, columns={},
             answers=["word " * 12] * 40, values=[float(k % 3 > 0) for k in range(40)])
        for n in range(12)
        for shots in (0, 4)
    ]  # fmt: skip
    path = report.write([maker(tmp_path)("run", *cells)], tmp_path)[1]
    page = browser.new_page()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # a busy machine is no matter
    page.goto(path.as_uri())
    told = session.send("Performance.getMetrics")["metrics"]
    spent = {metric["name"]: metric["value"] for metric in told}["TaskDuration"]
    assert count(page) == "200 of 200 samples"
    assert 0.01 < spent < 1
    page.close()
