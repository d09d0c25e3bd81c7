"""Runs of seconds, and Debian's Chromium to look at them. Without it the tests here skip."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import FLAGS, Browser
from small_runs import mirror, run_folder, small_game

from shuhari.loops.cli import report
from shuhari.loops.config import ImitateConfig
from shuhari.loops.train import train


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium has none for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(running)
    finally:
        running.quit()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real run, of seconds."""
    out = tmp_path_factory.mktemp("runs")
    train(small_game(out, env_args={"game": "hex(board_size=2)"}))
    return run_folder(out)


@pytest.fixture(scope="session")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of problems."""
    out = tmp_path_factory.mktemp("runs")
    train(mirror(out, phases={"imitate": ImitateConfig(examples=100, steps=20, batch=16)}))
    return run_folder(out)


@pytest.fixture(scope="session")
def written() -> Callable[[Path], str]:
    """Writes the report of a run; its address."""

    def write(folder: Path) -> str:
        assert report.main([str(folder)]) == 0
        return (folder / "report.html").as_uri()

    return write
