"""Takes the pictures of the report that docs/ shows.

Usage: python docs/screenshots.py CERTIFICATE.json [FOLDER]
Needs chromium and playwright (`make browser`). The page is loaded from a file, without a network.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from del_audit.certificate.model import Certificate
from del_audit.certificate.report import render
from del_audit.certificate.typed import typed

DESKTOP = {"viewport": {"width": 1000, "height": 1420}}
PHONE = {"viewport": {"width": 360, "height": 800}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "report.png": ("body", DESKTOP),
    "report-dark.png": ("[data-plot=attacks]", {**DESKTOP, "color_scheme": "dark"}),
    "report-phone.png": ("[data-plot=attacks]", PHONE),
}
"""Of each picture: what stands at its top, and the screen."""


def take(browser: Browser, page_file: Path, target: Path, top: str, screen: dict[str, Any]) -> None:
    """Writes one picture, with the part that `top` selects at its upper end."""
    context = browser.new_context(offline=True, **screen)
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.locator(".readout:not([hidden])").nth(page.locator(".readout").count() - 1).wait_for()
    page.evaluate("top => document.querySelector(top).scrollIntoView()", top)
    page.evaluate("scrollBy(0, -12)")
    page.screenshot(path=target)
    context.close()


def main() -> None:
    """Renders the certificate and takes every picture of it."""
    certificate = typed(Certificate, json.loads(Path(sys.argv[1]).read_text(encoding="utf8")))
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
    with tempfile.TemporaryDirectory() as beside, sync_playwright() as driver:
        page_file = Path(beside) / "report.html"
        page_file.write_text(render(certificate), encoding="utf8")
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (top, screen) in PICTURES.items():
            take(browser, page_file, folder / name, top, screen)
        browser.close()


if __name__ == "__main__":
    main()
