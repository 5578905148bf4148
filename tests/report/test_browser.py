"""The page in headless Chromium at the widths of a phone and a desk, without network."""

import shutil
from pathlib import Path

import pytest

from riemgn.report import write_report
from tests.report.test_page import certified, EVIL, write_all, write_certificates

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: on Debian, `apt-get install chromium`", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason='install "riemgn[dev]" for playwright')


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    root = write_all(tmp_path_factory.mktemp("results"))
    write_certificates(root / "evil.json", certified(EVIL, 2.0, subject=EVIL))
    return Path(write_report(root).path).as_uri()


@pytest.mark.parametrize("size", [(390, 844), (1280, 900)], ids=["phone", "desk"])
def test_page_fits_the_screen_and_loads_nothing(address, size):
    trouble = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": size[0], "height": size[1]}, offline=True).new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        page.on("requestfailed", lambda request: trouble.append(request.url))
        page.goto(address)
        page.eval_on_selector_all("details", "all => all.forEach((one) => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        browser.close()
    assert trouble == []
