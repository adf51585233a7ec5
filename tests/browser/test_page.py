"""The page in a real browser: pictures in, faces outlined, the slider, keys, and what cannot be answered."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the package axe-playwright-python")


def give(page, *uploads, faces: int | None = None):
    page.set_input_files("#files", list(uploads))
    page.locator(".card:not(.waiting)").nth(len(uploads) - 1).wait_for()
    if faces is not None:
        assert page.locator(".face").count() == faces


def labels(page) -> list[str]:
    return page.locator(".face").evaluate_all("faces => faces.map(face => face.getAttribute('aria-label'))")


def painted(page) -> bool:
    """Whether anything is drawn over the picture."""
    return page.locator("canvas").first.evaluate(
        "c => !!c.width && c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"
    )


def set_slider(page, value: int):
    page.locator("#threshold").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value
    )


def test_faces_are_outlined_where_they_are_with_label_and_confidence(open_page, upload):
    page = open_page()
    give(page, upload.four, faces=4)
    assert labels(page) == [
        "Face 1: uncertain, 60.0\u00a0% sure",
        "Face 2: male, 75.0\u00a0% sure",
        "Face 3: female, 90.0\u00a0% sure",
        "Face 4: male, 99.9\u00a0% sure",
    ]
    picture, face = page.locator(".stage img").bounding_box(), page.locator(".face").first.bounding_box()
    assert (face["x"] - picture["x"]) / picture["width"] == pytest.approx(1 / 8, abs=0.01)
    assert (face["y"] - picture["y"]) / picture["height"] == pytest.approx(1 / 8, abs=0.01)
    assert face["width"] / picture["width"] == pytest.approx(1 / 4, abs=0.01)
    assert page.locator("#summary").text_content() == "4 faces: 1 female, 2 male, 1 uncertain"


def test_the_slider_labels_anew_without_a_request(open_page, upload):
    page = open_page()
    give(page, upload.four, faces=4)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    set_slider(page, 95)
    assert [label.split()[2].strip(",") for label in labels(page)] == ["uncertain", "uncertain", "uncertain", "male"]
    set_slider(page, 50)
    assert [label.split()[2].strip(",") for label in labels(page)] == ["female", "male", "female", "male"]
    assert page.locator("#summary").text_content() == "4 faces: 2 female, 2 male, 0 uncertain"
    assert asked == []


def test_pointing_at_a_face_shows_where_the_model_looked(open_page, upload):
    page = open_page()
    give(page, upload.four, faces=4)
    assert not painted(page)
    page.locator(".face").nth(2).hover()
    assert painted(page)
    assert "shown" in page.locator(".faces li").nth(2).get_attribute("class")
    page.locator("footer").hover()
    assert not painted(page)
    page.locator("#show-all").check()
    assert painted(page)


def test_the_keyboard_reaches_everything(open_page, upload):
    page = open_page()
    give(page, upload.four, faces=4)
    page.locator("#clear").focus()
    page.keyboard.press("Tab")
    focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.id"
    assert page.evaluate(focused).startswith("Face 1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused).startswith("Face 3")
    assert painted(page)
    page.keyboard.press("End")
    assert page.evaluate(focused).startswith("Face 4")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert page.locator("#as-table tbody tr").count() == 4
    page.locator("#threshold").focus()
    before = page.locator("#threshold").input_value()
    page.keyboard.press("ArrowRight")
    assert int(page.locator("#threshold").input_value()) == int(before) + 1


def test_what_is_no_picture_is_said_in_sentences_and_its_name_is_text(open_page, upload):
    page = open_page()
    turned_round = {**upload.none, "name": "evil\u202egpj.exe"}
    give(page, upload.text, upload.large, turned_round, upload.four, faces=4)
    failed = page.locator(".card.failed")
    assert failed.count() == 2
    text = failed.nth(0).inner_text()
    assert "<img src=x onerror=alert(1)>.txt" in text
    assert "is not a picture" in text
    assert "larger than the 3 MB" in failed.nth(1).inner_text()
    assert page.locator(".card img[src=x]").count() == 0
    assert "no face · 100 × 80 pixels" in page.locator(".card.faceless").inner_text()
    assert "evil\ufffdgpj.exe" in page.locator(".card.faceless").inner_text()
    assert page.locator("#summary").text_content().endswith("2 pictures without an answer")


def test_answers_are_saved_as_the_slider_has_them(open_page, upload):
    page = open_page()
    give(page, {**upload.four, "name": "=cmd.jpg"}, upload.none)
    set_slider(page, 95)
    with page.expect_download() as saved:
        page.locator("#save-json").click()
    rows = json.loads(Path(saved.value.path()).read_text(encoding="utf-8"))
    assert [face["perceived_gender"] for face in rows[0]["faces"]] == ["uncertain"] * 3 + ["male"]
    assert "activation" not in rows[0]["faces"][0]
    with page.expect_download() as saved:
        page.locator("#save-csv").click()
    table = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8"))))
    assert [row["source"] for row in table] == ["'=cmd.jpg"] * 4 + ["nobody.jpg"]
    assert table[3]["perceived_gender"] == "male"


def test_pictures_may_be_dropped_or_pasted(open_page, upload):
    page = open_page()
    for event, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([event, holder, bytes]) => {
              const transfer = new DataTransfer();
              transfer.items.add(new File([new Uint8Array(bytes)], event + '.jpg', { type: 'image/jpeg' }));
              const happened = event === 'drop' ? new DragEvent('drop', { dataTransfer: transfer, bubbles: true })
                : new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true });
              document.body.dispatchEvent(happened);
            }""",
            [event, holder, list(upload.four["buffer"])],
        )
    page.locator(".face").nth(7).wait_for()


def test_the_camera_is_asked_for_and_let_go(open_page):
    page = open_page()
    page.locator("#camera-open").click()
    page.locator("#camera-take").click()
    page.locator(".face").nth(3).wait_for()
    assert page.locator("#camera").is_hidden()
    assert page.evaluate("document.querySelector('video').srcObject") is None


def test_a_second_click_does_not_open_a_second_camera(open_page):
    page = open_page()
    page.evaluate("""() => { window.streams = [];
      const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (what) => {
        const stream = await ask(what); window.streams.push(stream); return stream; }; }""")
    page.evaluate("['camera-open', 'camera-open'].forEach((id) => document.getElementById(id).click())")
    page.locator("#camera-take:enabled").wait_for()
    page.locator("#camera-close").click()
    tracks = "window.streams.flatMap((stream) => stream.getTracks().map((track) => track.readyState))"
    assert page.evaluate(tracks) == ["ended"]


def test_a_camera_that_is_refused_is_said_so_for_all_to_see(open_page):
    page = open_page()
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no')); }")
    page.locator("#camera-open").click()
    page.get_by_role("alert").filter(has_text="The camera cannot be used.").wait_for()
    assert page.locator("#camera").is_hidden()
    assert axe.Axe().run(page).response["violations"] == []
    page.locator("#demo").click()
    page.locator(".face").first.wait_for()
    assert page.get_by_role("alert").is_hidden()


def test_until_the_slider_is_moved_the_page_says_what_the_server_says(open_page, start_server, new_seer, upload):
    with start_server(new_seer(threshold=0.998)) as url:
        page = open_page(url)
        give(page, upload.four, faces=4)
        assert labels(page)[3] == "Face 4: male, 99.9\u00a0% sure"
        assert page.locator("#threshold-text").text_content() == "99.8\u00a0%"
        set_slider(page, 100)
        assert labels(page)[3] == "Face 4: uncertain, 99.9\u00a0% sure"
        page.context.close()


def test_the_slider_goes_back_to_what_the_server_says(open_page, start_server, new_seer, upload):
    with start_server(new_seer(threshold=0.804)) as url:
        page = open_page(url)
        give(page, upload.four, faces=4)
        for value, shown in ((81, "81\u00a0%"), (80, "80.4\u00a0%"), (79, "79\u00a0%")):
            set_slider(page, value)
            assert page.locator("#threshold-text").text_content() == shown
        page.context.close()


def test_a_picture_is_tried_again_when_the_server_is_back(open_page, upload):
    page = open_page()
    page.evaluate("() => { window.setTimeout = (done) => queueMicrotask(done); }")
    page.route("**/v1/predict*", lambda route: route.abort())
    page.set_input_files("#files", [upload.four])
    page.locator(".card.failed").wait_for()
    assert "cannot be reached" in page.locator(".note").text_content()
    page.unroute("**/v1/predict*")
    page.get_by_role("button", name="Try again").click()
    page.locator(".face").nth(3).wait_for()
    assert page.locator("#summary").text_content() == "4 faces: 1 female, 2 male, 1 uncertain"


def test_a_link_that_is_dropped_is_said_to_be_no_picture(open_page):
    page = open_page()
    page.evaluate(
        """() => {
            const dropped = new DataTransfer();
            dropped.setData("text/uri-list", "https://example.org/face.jpg");
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
        }"""
    )
    assert "only a link" in page.get_by_role("alert").text_content()


def test_faces_of_nobody_are_at_hand(open_page):
    page = open_page()
    page.locator("#demo").click()
    page.locator(".face").nth(3).wait_for()
    page.locator("#clear").click()
    assert page.locator(".card").count() == 0
    assert page.locator("#results").is_hidden()


def test_many_pictures_at_once_show_their_progress(open_page, upload):
    page = open_page()
    page.evaluate("""() => { window.seen = [];
      new MutationObserver(() => window.seen.push(document.querySelector('#progress span').textContent))
        .observe(document.getElementById('progress'), { childList: true, subtree: true, characterData: true }); }""")
    give(page, *({**upload.none, "name": f"{index}.jpg"} for index in range(12)))
    page.locator("#progress").wait_for(state="hidden")
    assert "6 of 12" in page.evaluate("window.seen")


def test_a_key_is_asked_for_where_there_is_one(open_page, start_server, upload):
    with start_server(api_key="sesame", detect=False) as url:
        page = open_page(url, ready=False)
        page.set_input_files("#files", [upload.four])
        page.locator("#key-input").fill("open")
        page.keyboard.press("Enter")
        page.get_by_role("alert").filter(has_text="This key does not open the server.").wait_for()
        page.locator("#key-input").fill("schl\u00fcssel\u20ac")
        page.keyboard.press("Enter")
        page.get_by_role("alert").filter(has_text="This key does not open the server.").wait_for()
        page.locator("#key-input").fill(" sesame")
        page.keyboard.press("Enter")
        page.locator(".face").wait_for()
        assert page.get_by_role("alert").is_hidden()
        page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_axe_finds_nothing_and_nothing_is_cut_off(open_page, upload, scheme, width):
    page = open_page(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 740})
    give(page, upload.text, upload.none, upload.four)
    page.locator("summary").click()
    page.locator(".face").first.focus()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
