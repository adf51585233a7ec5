"""Write docs/images/page-*.png: the page with faces of nobody, as the shipped model answers them.

    python docs/make_screenshots.py [MODEL]

Needs the extra ``serve``, the package playwright, and Chromium (``PERCEIVED_CHROMIUM`` names another).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

TARGET = Path(__file__).parent / "images"
VIEWS: dict[str, Any] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1180, "height": 820}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1180, "height": 820}},
}
PATIENCE = 300_000
"""Milliseconds."""


def shoot(browser: Browser, url: str, name: str) -> None:
    context = browser.new_context(**VIEWS[name])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.locator("#demo").click()
    page.locator(".face").nth(1).focus()
    page.locator("#results").evaluate("results => results.scrollIntoView()")
    page.screenshot(path=TARGET / f"page-{name}.png", timeout=PATIENCE)
    context.close()


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else "default"
    chromium = os.environ.get("PERCEIVED_CHROMIUM") or shutil.which("chromium")
    TARGET.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "perceived", "serve", "--model", model, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=PATIENCE)
            for name in VIEWS:
                shoot(browser, url, name)
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
