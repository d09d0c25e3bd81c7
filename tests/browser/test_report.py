"""The report of a real run, in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from chromium import Browser

pytestmark = pytest.mark.browser

LARGEST = 2_000_000  # bytes of a page
CONTRAST = """
const light = colour => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const page = light(getComputedStyle(document.body).backgroundColor);
const parts = document.querySelectorAll("h1, p, td, th, dt, dd, pre, .legend, .plot li, .axis text");
return [...parts].map(part => {
  const style = getComputedStyle(part);
  const own = light(part.namespaceURI.endsWith("svg") ? style.fill : style.color);
  return part.closest(".warning") ? 21 : (Math.max(own, page) + 0.05) / (Math.min(own, page) + 0.05);
});
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("kind", ["trained", "problems"])
def test_the_page_is_whole_in_any_window(
    browser: Browser,
    written: Callable[[Path], str],
    request: pytest.FixtureRequest,
    kind: str,
    width: int,
    height: int,
    scheme: str,
) -> None:
    folder: Path = request.getfixturevalue(kind)
    address = written(folder)
    assert (folder / "report.html").stat().st_size < LARGEST
    browser.open(address, width, height, scheme)
    assert browser.requests() == [address]
    assert browser.complaints() == []
    assert browser.script("return document.documentElement.scrollWidth") == width
    dark = browser.script("return getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    assert min(browser.script(CONTRAST)) >= 4.5  # WCAG 2, AA
    shown = browser.script(
        "return [...document.querySelectorAll('.chart svg')].filter(c => c.checkVisibility()).map(c => "
        "Math.min(...[...c.querySelectorAll('.axis text')].map(t => t.getBoundingClientRect().height)))"
    )
    assert len(shown) >= 2  # the learning curve, and skill against samples or simulations
    assert min(shown) >= 10  # pixels: text of axes can be read
    boards = browser.script("return document.querySelectorAll('.board svg').length")
    assert (boards > 0) == (kind == "trained")


def test_the_pointer_shows_the_value_of_a_point(
    browser: Browser, written: Callable[[Path], str], trained: Path
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    browser.open(written(trained))
    assert browser.script("return document.querySelector('.tip').hidden")
    dot = browser.driver.find_element(By.CSS_SELECTOR, ".chart.wide .serie-0 .dot")
    browser.script("arguments[0].scrollIntoView({block: 'center'})", dot)
    ActionChains(browser.driver).move_to_element(dot).perform()
    browser.until("return !document.querySelector('.tip').hidden")
    text, inside = browser.script(
        "const tip = document.querySelector('.tip'), box = tip.getBoundingClientRect();"
        "return [tip.textContent, box.left >= 0 && box.right <= innerWidth && box.top >= 0];"
    )
    assert re.match(r"phase imitate, 0: [\d.]+%(\n|$)", text), text
    assert inside


def test_paper_gets_everything_dark_on_light(
    browser: Browser, written: Callable[[Path], str], trained: Path
) -> None:
    browser.open(written(trained), scheme="dark")
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    colour = browser.script("return getComputedStyle(document.body).color")
    browser.script("dispatchEvent(new Event('beforeprint'))")
    closed = browser.script("return document.querySelectorAll('details:not([open])').length")
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert colour == "rgb(0, 0, 0)"
    assert closed == 0
    assert len(printed) > 10_000
