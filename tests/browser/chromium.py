"""A Chromium without a window: what it shows, asks for and complains of."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)
ITS_OWN = ("chrome://", "chrome-untrusted://", "data:", "about:", "blob:")  # of its new tab, and no network


@dataclass
class Browser:
    """A browser window. driver: Selenium's"""

    driver: Any

    def open(self, url: str, width: int = 1280, height: int = 800, scheme: str = "light") -> None:
        """Load an address anew, in a window of this size, with a preference for light or dark."""
        self.driver.get("about:blank")
        self.requests(), self.complaints()  # what came before is forgotten
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        wish = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", wish)
        self.driver.get(url)

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def until(self, text: str, seconds: float = 30.0) -> Any:
        """Wait until a script returns something; what it returns."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds).until(lambda _: self.script(text), f"never: {text}")

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call, but for those of its own pages."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(ITS_OWN)]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        entries = self.driver.get_log("browser")
        return [str(entry["message"]) for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(self.driver.get_screenshot_as_png())
