"""Readings that are noted on the page of probable label errors: kept, taken back, and saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perceived.pages import label_errors as label_errors_page

pytest.importorskip("playwright.sync_api", reason="needs the package playwright")

FOUND = {
    "candidates": [
        {"id": f"{name}.png", "split": "val", "label": "male", "suggested": "female", "self_confidence": 0.01}
        for name in ("one", "two, the second")
    ],
    "duplicates": {"contradictions": [], "pairs": 0, "pictures": 2, "without_hash": 0},
    "pictures": {"judged": 2, "unreadable": 0},
    "on": ["val"],
    "source": {"kind": "model", "name": "tiny", "learnt": ["here"]},
    "noise": {"female": 0.0, "male": 0.5},
    "labels": {"female": 0, "male": 2},
    "thresholds": {"female": 0.5, "male": 0.5},
    "confident_joint": {"female": {"female": 0, "male": 0}, "male": {"female": 2, "male": 0}},
    "agreement": 0.0,
    "notes": [],
    "unreadable": [],
}


def test_readings_are_kept_by_the_browser_taken_back_and_saved(browser, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(picture)
    label_errors_page.write(tmp_path, FOUND, {row["id"]: str(picture) for row in FOUND["candidates"]})
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.goto((tmp_path / "labels.html").as_uri())
    counted, save = page.locator("#count"), page.get_by_role("button", name="Save readings")
    assert (counted.text_content(), save.is_disabled()) == ("none noted yet", True)
    first, second = (page.locator(".one").nth(i).get_by_role("radio") for i in (0, 1))
    first.nth(0).click()
    second.nth(1).click()
    assert counted.text_content() == "2 of 2 noted"
    for _ in range(50):  # a page's next process may begin before the browser has what the last one kept
        page.reload()
        if counted.text_content() != "none noted yet":
            break
        page.wait_for_timeout(100)
    assert (counted.text_content(), first.nth(0).is_checked(), second.nth(1).is_checked()) == (
        "2 of 2 noted",
        True,
        True,
    )
    first.nth(0).click()
    assert (counted.text_content(), first.nth(0).is_checked()) == ("1 of 2 noted", False)
    with page.expect_download() as download:
        save.click()
    saved = Path(download.value.path()).read_text()
    reading = second.nth(1).get_attribute("value")
    assert saved == f'id,label,reading\n"two, the second.png",male,{reading}\n'
    context.close()
