"""TensorBoard of a real run, in a real browser: charts are drawn, and large enough to be read."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser

pytestmark = pytest.mark.browser

# All elements that a selector names, also in shadow roots, of which TensorBoard's dashboards are made.
EVERYWHERE = """
const found = (root, selector) => [...root.querySelectorAll(selector)].concat(
  ...[...root.querySelectorAll("*")].filter(e => e.shadowRoot).map(e => found(e.shadowRoot, selector)));
const large = selector => found(document, selector).filter(e => {
  const box = e.getBoundingClientRect();
  return box.width >= 200 && box.height >= 80;
});
"""


@pytest.fixture(scope="module")
def address(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where TensorBoard shows the run."""
    log = tmp_path_factory.mktemp("tensorboard") / "log"
    command = [
        sys.executable,
        "-P",
        "-m",
        "tensorboard.main",
        "--logdir",
        str(trained),
        "--host",
        "127.0.0.1",
    ]
    with log.open("w") as file:
        server = subprocess.Popen([*command, "--port", "0"], stdout=file, stderr=file)
    try:
        for _ in range(300):
            if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
                break
            try:
                server.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            break
        assert found, log.read_text()
        yield found[0]
    finally:
        server.terminate()
        server.wait(10)


def test_scalars_of_a_run_are_drawn(browser: Browser, address: str) -> None:
    browser.open(f"{address}/?tagFilter=skill#timeseries")
    browser.until(f"{EVERYWHERE} return large('scalar-card line-chart').length > 0", 60)
    tags = browser.script(
        f"{EVERYWHERE} return found(document, 'scalar-card .tag').map(e => e.textContent.trim())"
    )
    assert any("skill" in tag for tag in tags), tags
    assert [url for url in browser.requests() if not url.startswith(address)] == []


def test_a_custom_layout_is_drawn_where_the_run_has_one(browser: Browser, address: str) -> None:
    browser.open(f"{address}/data/plugin/custom_scalars/layout")
    if browser.script("return document.body.textContent").strip() in ("{}", ""):
        pytest.skip("the run has no layout for TensorBoard's custom scalars")
    browser.open(f"{address}/#custom_scalars")
    charts = "large('tf-custom-scalar-multi-line-chart, tf-custom-scalar-margin-chart')"
    assert browser.until(f"{EVERYWHERE} return {charts}.length", 60) > 0
    drawn = f"{EVERYWHERE} return large('vz-line-chart2, line-chart').length"
    assert browser.until(drawn, 60) > 0
