"""The docs site as `make docs` builds it: from files, in a real browser, without a network."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from chromium import Browser
from generated_pages import PAGES

from shuhari.loops.cli.main import HYDRA_COMMANDS, PLAIN_COMMANDS

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """What a page points to, and what can be pointed to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets, self.anchors = list[str](), set[str]()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.targets += [value for key in ("href", "src") if (value := found.get(key))]
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's folder."""
    for module in ("mkdocs", "material"):
        pytest.importorskip(module, reason="the site needs: pip install 'shuhari[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-P",
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(folder),
    ]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_link_and_image_holds(site: Path) -> None:
    pages = {path.as_uri(): Page(path) for path in site.glob("*.html") if path.name != "404.html"}
    assert len(pages) > len(PAGES)
    broken = []
    for address, page in pages.items():
        for target in page.targets:
            place, _, anchor = urljoin(address, target).partition("#")
            if urlsplit(place).scheme != "file":
                continue
            there = Path(unquote(urlsplit(place).path))
            if not there.is_file() or (anchor and anchor not in pages[there.as_uri()].anchors):
                broken.append((Path(urlsplit(address).path).name, target))
    assert not broken


def test_pages_that_are_made_have_everything(site: Path) -> None:
    commands = Page(site / "commands.html").anchors
    assert {f"shuhari-{name}" for name in HYDRA_COMMANDS | PLAIN_COMMANDS} <= commands
    environments = Page(site / "environments.html").anchors
    assert {"legs-v0", "tictactoe-v0", "kuhnpoker-v0", "taxi-v0", "dataset-v0"} <= environments


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 800, "light"), (390, 844, "dark")])
def test_pages_are_whole_and_ask_no_other_host(
    browser: Browser, site: Path, width: int, height: int, scheme: str
) -> None:
    for path in sorted(site.glob("*.html")):
        if path.name == "404.html":  # its addresses are those of a server
            continue
        browser.open(path.as_uri(), width, height, scheme)
        browser.until("return document.readyState == 'complete'")
        assert [url for url in browser.requests() if not url.startswith(site.as_uri())] == [], path.name
        assert browser.complaints() == [], path.name
        assert browser.script("return document.documentElement.scrollWidth") <= width, path.name
        hidden = "return [...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
        assert browser.script(hidden) == [], path.name
        dark = browser.script("return document.body.dataset.mdColorScheme") == "slate"
        assert dark == (scheme == "dark"), path.name


def test_search_finds_pages_from_files(browser: Browser, site: Path) -> None:
    from selenium.webdriver.common.by import By

    browser.open((site / "index.html").as_uri())
    query = browser.driver.find_element(By.CSS_SELECTOR, "[data-md-component=search-query]")
    query.click()
    query.send_keys("countdown")
    found = "[...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
    links = browser.until(f"const links = {found}; return links.length && links")
    assert any("environments.html" in link for link in links)
    assert [url for url in browser.requests() if not url.startswith(site.as_uri())] == []
    assert browser.complaints() == []
