"""The page of a run in a real browser, from a file: no error, nothing asked of a network; it sorts, plays, redraws."""

from __future__ import annotations

import pytest

from idolctl.evaluation.evaluate import EvalRequest
from idolctl.report.make import report_runs
from tests.browser.chromium import Chromium
from tests.browser.made_runs import make_data, make_run

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
ORDER = "[...document.querySelectorAll('#clip-table tbody tr')].map(row => row.cells[0].textContent)"
CARDS = "[...document.querySelectorAll('#cards .card')].map(card => card.id)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run on six clips, with a class and a run whose names are HTML."""
    home = tmp_path_factory.mktemp("page")
    annotations = make_data(home, videos=6, names=(HOSTILE, "</script><script>document.title='owned'</script>"))
    run = make_run(home / "runs" / "a & <b>b", annotations)
    report_runs([run], home / "page.html", EvalRequest(None, home / "runs", None, (), None))
    return home / "page.html"


@pytest.fixture
def browser(page):
    with Chromium() as opened:
        opened.open(page)
        yield opened


def test_it_opens_without_an_error_or_a_request_and_runs_nothing_that_names_bring(browser):
    assert browser.messages == []
    assert browser.run("document.title") == "a & <b>b · idolctl report"
    assert browser.run("document.querySelector('#classes tbody td').textContent") == HOSTILE
    assert browser.run("document.querySelectorAll('main img:not(.player img), h1 b').length") == 0
    assert browser.run("document.querySelectorAll('script:not([type])').length") == 1


def test_clips_are_sorted_by_a_click_and_their_pictures_with_them(browser):
    assert browser.run(ORDER)[0] == browser.run("document.querySelector('.card h3').firstChild.textContent.trim()")
    before = browser.run(CARDS)
    browser.run("document.querySelector('#clip-table thead button').click()")  # by name
    names = browser.run(ORDER)
    assert names == sorted(names)
    assert len(names) == 6
    assert browser.run(CARDS) == [f"clip-{n}" for n in range(1, 7)]
    assert browser.run(CARDS) != before
    browser.run("document.querySelector('#clip-table thead button').click()")
    assert browser.run(ORDER) == names[::-1]


def test_curves_are_redrawn_over_time_and_smoothed(browser):
    chart = "document.querySelector('#training svg.lines')"
    path, axis = f"{chart}.querySelector('.line').getAttribute('d')", f"{chart}.querySelector('.xa').textContent"
    before = browser.run(path)
    assert browser.run(axis).endswith("iteration")
    browser.run("document.querySelector('input[value=minutes]').click()")
    assert browser.run(axis).endswith("minutes")
    over_time = browser.run(path)
    assert over_time != before
    browser.run("document.querySelector('input[value=iteration]').click()")
    redrawn = browser.run(path)  # by the script, before by Python: the same to a tenth of a pixel
    assert len(redrawn.split("L")) == len(before.split("L"))
    for here, there in zip(redrawn[1:].split("L"), before[1:].split("L"), strict=True):
        assert [float(v) for v in here.split()] == pytest.approx([float(v) for v in there.split()], abs=0.15)
    slide = "(s => {s.value = .9; s.dispatchEvent(new Event('input', {bubbles: true}))})"
    browser.run(f"{slide}(document.querySelector('[name=smooth]'))")
    assert browser.run(path) != redrawn


def test_a_clip_plays_and_obeys_the_keyboard(browser):
    image = "document.querySelector('.player img').src"
    output = "document.querySelector('.player output').value"
    browser.run("(r => {r.value = 0; r.oninput(); r.focus()})(document.querySelector('.player input'))")
    first = browser.run(image)
    assert browser.run(output) == "1 / 8"
    browser.press("ArrowRight", 39)
    assert browser.run(output) == "2 / 8"
    assert browser.run(image) != first
    play = "document.querySelector('.play')"
    browser.run(f"{play}.click()")
    assert browser.run(f"{play}.textContent") == "Pause"
    moved = (
        "new Promise(done => {const t = setInterval(() => {if (%s !== '2 / 8') {clearInterval(t); done(true)}}, 20)})"
    )
    assert browser.run(moved % output)
    browser.run(f"{play}.click()")
    assert browser.run(f"{play}.textContent") == "Play"


def test_a_chart_tells_its_values_under_the_arrow_keys(browser):
    browser.run("document.querySelector('#training svg.lines').focus()")
    browser.press("ArrowRight", 39)
    assert browser.run("document.getElementById('tip').hidden") is False
    assert "iteration 20" in browser.run("document.getElementById('tip').textContent")


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_telephone_in_light_and_dark(page, dark):
    with Chromium(width=390, height=800, dark=dark) as browser:
        browser.open(page)
        assert browser.run("document.documentElement.scrollWidth") <= 390
        grounds = "getComputedStyle(document.body).backgroundColor"
        first = browser.run(grounds)
        browser.run("document.getElementById('theme').click()")
        assert browser.run(grounds) != first
        assert browser.messages == []
