"""The page in a browser: headless Chromium at the widths of a phone and of a desk, without network. Skipped where there is no Chromium."""

import shutil
from pathlib import Path

import pytest

from riemgn.report import write_report
from tests.report.test_page import certified, EVIL, lay_all, lay_certificates

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split()
WIDTHS = {"phone": (390, 844), "desk": (1280, 900)}

if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: on Debian, `apt-get install chromium`", allow_module_level=True)
playwright = pytest.importorskip(
    "playwright.sync_api", reason='the Python package playwright is missing: pip install "riemgn[dev]"'
)


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    root = lay_all(tmp_path_factory.mktemp("results"))
    lay_certificates(root / "evil.json", certified(EVIL, 2.0, subject=EVIL))
    (root / "half.json").write_text("{")
    return Path(write_report(root).path).as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, address, request):
    """The page at the width of the test's parameter, and what went wrong on it."""
    width, height = WIDTHS[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=request.param == "phone", offline=True
    )
    page, wrong = context.new_page(), []
    page.on(
        "console",
        lambda message: (
            wrong.append(f"{message.type}: {message.text}") if message.type in ("error", "warning") else None
        ),
    )
    page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
    page.on("requestfailed", lambda asked: wrong.append(f"failed: {asked.url}"))
    page.on(
        "request",
        lambda asked: wrong.append(f"asked for {asked.url}") if asked.url not in (address, "data:,") else None,
    )
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.goto(address)
    yield page, wrong
    context.close()


at_both_widths = pytest.mark.parametrize("opened", WIDTHS, indirect=True)


@at_both_widths
def test_the_page_opens_without_error_and_fits(opened):
    page, wrong = opened
    assert page.evaluate(
        "document.documentElement.scrollWidth <= window.innerWidth && document.body.scrollWidth <= window.innerWidth"
    )
    assert page.locator("h1").is_visible() and page.locator("figure svg").first.bounding_box()["height"] > 50
    page.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert wrong == []


@at_both_widths
def test_a_figure_is_enlarged_zoomed_and_put_back_by_keyboard(opened):
    page, wrong = opened
    button = page.locator(".picture").nth(2)
    button.focus()
    page.keyboard.press("Enter")
    dialog, figure = page.locator("#large"), page.locator("#large svg")
    assert dialog.is_visible() and page.locator("#large-name").inner_text() == button.get_attribute("data-name")
    box = page.locator(".stage").bounding_box()
    assert box["width"] >= 0.95 * page.viewport_size["width"] and box["height"] >= 0.6 * page.viewport_size["height"]
    page.keyboard.press("0")
    whole = width_of(figure)
    page.keyboard.press("+")
    assert width_of(figure) == pytest.approx(whole / 1.3, rel=1e-3)
    before = figure.get_attribute("viewBox")
    page.keyboard.press("ArrowRight")
    assert figure.get_attribute("viewBox") != before
    page.keyboard.press("0")
    assert width_of(figure) == pytest.approx(whole)
    page.keyboard.press("Escape")
    assert not dialog.is_visible() and button.evaluate("button => button === document.activeElement")
    assert page.evaluate("document.querySelectorAll('#large svg').length") == 0
    assert wrong == []


@at_both_widths
def test_a_figure_is_enlarged_zoomed_and_moved_by_hand(opened):
    page, wrong = opened
    page.locator(".picture").nth(3).click()
    figure, box = page.locator("#large svg"), page.locator(".stage").bounding_box()
    page.locator("[data-do=fit]").click()
    whole, (x, y) = width_of(figure), (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -100)
    page.wait_for_function(
        "whole => Number(document.querySelector('#large svg').getAttribute('viewBox').split(' ')[2]) < whole", arg=whole
    )
    before = corner_of(figure)
    page.mouse.down()
    page.mouse.move(x - 40, y)
    page.mouse.up()
    assert corner_of(figure) > before
    page.locator("[data-do=out]").click()
    page.locator("[data-do=close]").click()
    assert not page.locator("#large").is_visible()
    assert wrong == []


@at_both_widths
def test_a_command_is_copied_or_selected(opened):
    page, wrong = opened
    command = page.locator(".command").nth(4)
    command.locator("button").click()
    page.wait_for_function(
        "button => /Copied|Selected/.test(button.textContent)", arg=command.locator("button").element_handle()
    )
    assert wrong == []


def width_of(figure) -> float:
    return float(figure.get_attribute("viewBox").split()[2])


def corner_of(figure) -> float:
    return float(figure.get_attribute("viewBox").split()[0])
