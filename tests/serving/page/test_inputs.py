"""Images that are chosen, photographed, dropped, pasted or taken from the examples."""

import base64
import re

import pytest

from .conftest import EXAMPLES, await_answers

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.slow

BOOT = EXAMPLES / "boot.jpg"
GARMENTS = {
    "T-shirt": "T-shirt/top",
    "Trousers": "Trouser",
    "Dress": "Dress",
    "Bag": "Bag",
    "Boot": "Ankle boot",
}
"""Examples and their classes."""
MAKE_FILES = """
(files) => {
  const transfer = new DataTransfer();
  for (const { name, type, content } of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  return transfer;
}
"""
COPY_IMAGE = """
async (content) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const image = new Blob([bytes], { type: "image/png" });
  await navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
}
"""


def transfer(page, *names: str):
    files = [
        {
            "name": name,
            "type": "image/jpeg",
            "content": base64.b64encode((EXAMPLES / name).read_bytes()).decode(),
        }
        for name in names
    ]
    return page.evaluate_handle(MAKE_FILES, files)


def test_a_chosen_image_has_classes_views_and_heat_maps(page):
    page.set_input_files("#choose", BOOT)
    await_answers(page, 1)
    card = page.locator(".card")
    expect(card.locator("h3")).to_have_text(re.compile(r"Ankle boot \d+\.\d%"))
    expect(card.locator("tbody tr")).to_have_count(10)
    numbers = card.locator("tbody .number").all_inner_texts()
    values = [float(number.strip("<>%")) for number in numbers]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(100, abs=1)
    views = card.locator(".view img:not(.heat)")
    assert views.count() == card.locator(".view img.heat").count() >= 4
    assert (
        views.evaluate_all("all => all.map((image) => image.naturalWidth)") == [28] * views.count()
    )
    expect(page.locator("#status")).to_have_text(re.compile(r"boot\.jpg: Ankle boot, \d"))


@pytest.mark.parametrize(("example", "label"), GARMENTS.items())
def test_examples_work_at_once(page, example, label):
    page.get_by_role("button", name=example, exact=True).click()
    await_answers(page, 1)
    expect(page.locator(".card .label")).to_have_text(label)


def test_the_key_shows_an_abstention_and_the_sketches_their_class(page):
    for name in ("Key, which is none of the classes", "Sketch of a sandal, 28 by 28 pixels"):
        page.get_by_role("button", name=name).click()
    await_answers(page, 2)
    expect(page.locator(".card .label")).to_have_text(["Sandal", "Not sure"])
    expect(page.locator(".card").last).to_contain_text(
        "The model is not sure that this is one of its classes"
    )


def test_a_photograph_can_be_taken_where_there_is_a_touch_screen(page, open_page, server):
    expect(page.get_by_text("Take a photo")).to_be_hidden()
    phone = open_page(server, size=(390, 844), has_touch=True, is_mobile=True)
    expect(phone.get_by_text("Take a photo")).to_be_visible()
    expect(phone.locator(".drop-hint")).to_be_hidden()
    assert phone.locator("#camera").get_attribute("capture") == "environment"
    phone.set_input_files("#camera", BOOT)
    await_answers(phone, 1)
    expect(phone.locator(".card .label")).to_have_text("Ankle boot")


def test_images_are_dropped_anywhere_on_the_page(page):
    files = transfer(page, "bag.jpg", "dress.jpg")
    page.dispatch_event("#draw-title", "dragenter", {"dataTransfer": files})
    expect(page.locator("#drop")).to_have_class("drop over")
    page.dispatch_event("#draw-title", "drop", {"dataTransfer": files})
    expect(page.locator("#drop")).to_have_class("drop")
    await_answers(page, 2)
    expect(page.locator(".card .name")).to_have_text(["bag.jpg", "dress.jpg"])
    expect(page.locator(".card .label")).to_have_text(["Bag", "Dress"])


def test_a_dropped_link_is_not_followed(page):
    page.dispatch_event("#drop", "drop", {"dataTransfer": page.evaluate_handle(MAKE_FILES, [])})
    expect(page.get_by_role("alert")).to_contain_text("No file was dropped.")


def test_an_image_is_pasted(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sketch = base64.b64encode((EXAMPLES / "sketch-sandal.png").read_bytes()).decode()
    page.evaluate(COPY_IMAGE, sketch)
    page.keyboard.press("Control+V")
    await_answers(page, 1)
    expect(page.locator(".card .label")).to_have_text("Sandal")


def test_pasted_text_is_rejected(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("() => navigator.clipboard.writeText('boot')")
    page.keyboard.press("Control+V")
    expect(page.get_by_role("alert")).to_have_text("The clipboard contains no image.")
    page.set_input_files("#choose", EXAMPLES / "boot.jpg")
    await_answers(page, 1)
    expect(page.get_by_role("alert")).to_be_hidden()
    page.focus("#choose")
    page.keyboard.press("Control+V")
    expect(page.get_by_role("alert")).to_have_text("The clipboard contains no image.")


def test_many_images_are_sent_in_several_requests_and_keep_their_order(page):
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    names = ["sketch-sandal.png", "sketch-shirt.png"] * 5
    files = [
        {"name": f"{i}-{name}", "mimeType": "image/png", "buffer": (EXAMPLES / name).read_bytes()}
        for i, name in enumerate(names)
    ]
    page.set_input_files("#choose", files)
    expect(page.get_by_role("progressbar")).to_have_attribute("max", "10")
    await_answers(page, 10)
    assert len([url for url in sent if "/v1/predict" in url]) == 3
    expect(page.locator(".card .name")).to_have_text([file["name"] for file in files])
    expect(page.locator(".card .label")).to_have_text(["Sandal", "Shirt"] * 5)
    expect(page.locator("#status")).to_have_text("10 images: 10 classified, 0 not sure, 0 failed.")


def test_a_heic_that_the_browser_cannot_show_is_sent(page, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    from PIL import Image

    with Image.open(BOOT) as image:
        pillow_heif.from_pillow(image).save(tmp_path / "boot.heic")
    page.set_input_files("#choose", tmp_path / "boot.heic")
    await_answers(page, 1)
    expect(page.locator(".card .label")).to_have_text("Ankle boot")
    expect(page.locator(".card .suffix")).to_have_text("HEIC")


def test_newer_results_come_first_and_can_be_cleared(page):
    page.set_input_files("#choose", BOOT)
    await_answers(page, 1)
    page.set_input_files("#choose", EXAMPLES / "bag.jpg")
    await_answers(page, 2)
    expect(page.locator(".card .name")).to_have_text(["bag.jpg", "boot.jpg"])
    page.get_by_role("button", name="Clear results").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#empty")).to_be_visible()


def test_the_page_describes_the_model(page):
    expect(page.locator("#model-name")).to_have_text("Model photo")
    expect(page.locator("#classes")).to_contain_text("Sneaker, Bag and Ankle boot.")
    page.get_by_text("About this model").click()
    expect(page.locator("#facts")).to_contain_text("28×28 pixels, grayscale")
    addresses = page.locator("#data a").evaluate_all("all => all.map((link) => link.href)")
    documents = [page.request.get(address).json() for address in addresses]
    assert documents[0]["name"] == "photo"
    assert "/v1/predict" in documents[1]["paths"]
