"""Abstention, errors and access tokens."""

import json
import re

import pytest

from .conftest import EXAMPLES, TOKEN, await_answers

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.slow

BOOT = EXAMPLES / "boot.jpg"
NO_IMAGE = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no image"}


@pytest.fixture
def strict_page(open_page, strict_server):
    """Return the page of a server that needs a token, before it was entered."""
    page = open_page(strict_server, expects_failures=True)
    expect(page.get_by_label("Access token")).to_be_visible()
    return page


def enter_token(page, token: str) -> None:
    page.get_by_label("Access token").fill(token)
    page.keyboard.press("Enter")


def test_an_abstention_is_explained_with_confidence_and_threshold(strict_page):
    enter_token(strict_page, TOKEN)
    strict_page.set_input_files("#choose", BOOT)
    await_answers(strict_page, 1)
    card = strict_page.locator(".card")
    expect(card.locator("h3")).to_have_text("Not sure")
    expect(card).to_contain_text("The model is not sure which of its classes this is")
    expect(card).to_contain_text(re.compile(r"Confidence \d+\.\d%, below the threshold of >99\.9%"))
    expect(strict_page.locator("#status")).to_contain_text("the model is not sure. Best guess kind")


def test_of_many_classes_all_can_be_shown(strict_page):
    enter_token(strict_page, TOKEN)
    strict_page.set_input_files("#choose", BOOT)
    await_answers(strict_page, 1)
    rows = strict_page.locator(".card tbody tr:visible")
    expect(rows).to_have_count(10)
    strict_page.get_by_role("button", name="Show all 12 classes").press("Enter")
    expect(rows).to_have_count(12)
    expect(rows.nth(10).locator("th")).to_be_focused()


def test_a_token_is_asked_for_and_kept_in_memory_only(strict_page, strict_server):
    strict_page.set_input_files("#choose", BOOT)
    expect(strict_page.locator(".waiting")).to_have_text("Waiting")
    enter_token(strict_page, "wrong")
    expect(strict_page.locator("#token-help")).to_contain_text("does not accept this token")
    enter_token(strict_page, "ümlaut")
    expect(strict_page.locator("#token-help")).to_contain_text("only letters, digits")
    enter_token(strict_page, TOKEN)
    await_answers(strict_page, 1)
    expect(strict_page.locator("#token-form")).to_be_hidden()
    expect(strict_page.locator("#classes")).to_contain_text("kind 10 and kind 11.")
    stored = strict_page.evaluate(
        "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert json.loads(stored) == [{}, {}, ""]
    strict_page.goto(strict_server)
    expect(strict_page.get_by_label("Access token")).to_be_visible()


def test_examples_of_other_classes_are_hidden(strict_page):
    enter_token(strict_page, TOKEN)
    expect(strict_page.locator("#about")).to_be_visible()
    expect(strict_page.locator("#examples")).to_be_hidden()


def test_a_file_over_the_limit_is_not_sent(strict_page):
    enter_token(strict_page, TOKEN)
    expect(strict_page.locator("#limits")).to_contain_text("up to 1 MiB")
    large = {"name": "large.bmp", "mimeType": "image/bmp", "buffer": bytes(3 << 20)}
    strict_page.set_input_files("#choose", large)
    await_answers(strict_page, 1)
    expect(strict_page.locator(".failed p")).to_have_text(
        "3 MiB, over this server’s limit of 1 MiB. Send it at a smaller size."
    )


def test_a_file_that_is_no_image(page):
    page.watch.expects_failures = True
    page.set_input_files("#choose", NO_IMAGE)
    await_answers(page, 1)
    expect(page.locator(".failed p")).to_have_text(re.compile(r"^Not a JPEG, PNG, .*remove it\.$"))
    expect(page.locator("#status")).to_contain_text("notes.jpg: Not a JPEG")


def test_one_damaged_image_does_not_affect_others(page):
    empty = {"name": "empty.png", "mimeType": "image/png", "buffer": b""}
    boot = {"name": "boot.jpg", "mimeType": "image/jpeg", "buffer": BOOT.read_bytes()}
    page.set_input_files("#choose", [NO_IMAGE, boot, empty])
    await_answers(page, 3)
    expect(page.locator(".failed p")).to_contain_text(["Not a JPEG", "The file is empty."])
    expect(page.locator(".card .label")).to_have_text("Ankle boot")
    expect(page.locator("#status")).to_have_text("3 images: 1 classified, 0 not sure, 2 failed.")


def test_a_file_that_disappeared(page, tmp_path):
    page.context.set_offline(True)  # the first try fails
    page.watch.expects_failures = True
    file = tmp_path / "boot.jpg"
    file.write_bytes(BOOT.read_bytes())
    page.set_input_files("#choose", file)
    await_answers(page, 1)
    page.context.set_offline(False)
    file.unlink()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".failed p")).to_contain_text("It cannot be read.")


def test_an_unreachable_server_and_another_try(page):
    page.watch.expects_failures = True
    page.context.set_offline(True)
    page.set_input_files("#choose", [BOOT, EXAMPLES / "bag.jpg"])
    await_answers(page, 2)
    expect(page.locator(".failed p").first).to_contain_text("The server cannot be reached.")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").first.click()
    expect(page.locator(".card .label")).to_have_text("Ankle boot")
    expect(page.locator(".failed")).to_have_count(1)


def test_an_unreachable_server_is_not_reported_once_it_answers(page):
    page.watch.expects_failures = True
    page.route("**/v1/*", lambda route: route.abort())
    page.reload()
    page.set_input_files("#choose", BOOT)
    await_answers(page, 1)
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    page.unroute("**/v1/*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".card .label")).to_have_text("Ankle boot")
    expect(page.locator("#alert")).to_be_hidden()


def classify_boot(page, **response):
    """Send an image to a server that answers with this response."""
    page.route("**/v1/predict?*", lambda route: route.fulfill(**response))
    page.set_input_files("#choose", BOOT)
    await_answers(page, 1)


@pytest.mark.parametrize("body", ["null", "[]", '{"predictions": [null]}', '{"predictions": [{}]}'])
def test_an_answer_of_another_program(page, body):
    classify_boot(page, content_type="application/json", body=body)
    message = "The server sent an answer that this page does not understand."
    expect(page.locator(".failed p")).to_have_text(message)


def test_an_error_in_the_server_shows_its_id(page):
    page.watch.expects_failures = True
    problem = {"detail": "an error in the server; its log has it", "request_id": "4f1b"}
    classify_boot(page, status=500, body=json.dumps(problem))
    expected = "An error in the server; its log has it (4f1b)."
    expect(page.locator(".failed p")).to_have_text(expected)


def test_images_wait_for_a_token_that_became_necessary(page):
    page.watch.expects_failures = True
    page.route("**/v1/predict?*", lambda route: route.fulfill(status=401, body="{}"))
    page.set_input_files("#choose", BOOT)
    expect(page.get_by_label("Access token")).to_be_focused()
    expect(page.locator(".waiting")).to_have_text("Waiting")


def test_all_images_that_failed_are_sent_again(page):
    page.watch.expects_failures = True
    page.context.set_offline(True)
    page.set_input_files("#choose", [BOOT, EXAMPLES / "bag.jpg"])
    await_answers(page, 2)
    page.context.set_offline(False)
    page.get_by_role("button", name="Try 2 again").press("Enter")
    expect(page.locator(".card .label")).to_have_text(["Ankle boot", "Bag"])
    expect(page.locator("#retry")).to_be_hidden()
    expect(page.locator("#results")).to_be_focused()


def test_a_busy_server_is_asked_again(page):
    page.watch.expects_failures = True
    answers = []

    def answer(route) -> None:
        answers.append(route)
        if len(answers) == 1:
            route.fulfill(status=503, headers={"Retry-After": "1"}, body="{}")
        else:
            route.continue_()

    page.route("**/v1/predict?*", answer)
    page.set_input_files("#choose", BOOT)
    expect(page.locator("#progress-text")).to_have_text("The server is busy. Next try in 1 s")
    await_answers(page, 1)
    expect(page.locator(".card .label")).to_have_text("Ankle boot")


def test_a_model_without_heat_maps(page):
    page.watch.expects_failures = True

    def answer(route) -> None:
        if "explain=true" in route.request.url:
            route.fulfill(status=422, body='{"detail": "explain: needs the extra [train]"}')
        else:
            route.continue_()

    page.route("**/v1/predict?*", answer)
    page.set_input_files("#choose", [BOOT, EXAMPLES / "bag.jpg"])
    await_answers(page, 2)
    expect(page.locator(".card .label")).to_have_text(["Ankle boot", "Bag"])
    expect(page.locator(".legend").first).to_have_text("This model has no heat maps.")


def test_waiting_images_can_be_canceled(page):
    page.watch.expects_failures = True
    page.route("**/v1/predict?*", lambda route: route.fulfill(status=429, body="{}"))
    page.set_input_files("#choose", [BOOT, EXAMPLES / "bag.jpg"])
    page.get_by_role("button", name="Cancel").press("Enter")
    await_answers(page, 2)
    expect(page.locator(".failed p")).to_have_text(["Canceled.", "Canceled."])
    expect(page.locator("#results")).to_be_focused()  # as the button has disappeared


def test_the_focus_is_kept_when_the_last_answer_hides_its_button(page):
    answers = []

    def answer(route) -> None:
        answers.append(route)

    page.route("**/v1/predict?*", answer)
    page.set_input_files("#choose", BOOT)
    page.get_by_role("button", name="Cancel").focus()
    answers[0].continue_()
    await_answers(page, 1)
    expect(page.locator("#results")).to_be_focused()


def test_an_example_that_the_server_does_not_send(page):
    page.watch.expects_failures = True
    page.route("**/examples/boot.jpg", lambda route: route.fulfill(status=503, body="{}"))
    page.get_by_role("button", name="Boot").click()
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    expect(page.locator(".card")).to_have_count(0)


@pytest.mark.parametrize("name", ['a "quote".jpg', "a" * 250 + ".jpg", "\U0001f45f.jpg"])
def test_an_error_does_not_repeat_the_name(page, name):
    page.watch.expects_failures = True
    page.set_input_files("#choose", {**NO_IMAGE, "name": name})
    await_answers(page, 1)
    expect(page.locator(".failed p")).to_have_text(re.compile(r"^Not a JPEG"))


def test_the_same_message_is_announced_again(page):
    page.locator("#canvas").click()
    page.locator("#canvas").click(position={"x": 10, "y": 10})
    heard = page.evaluate_handle(
        """() => {
          const heard = [];
          const status = document.getElementById("status");
          new MutationObserver(() => heard.push(status.textContent.trim()))
            .observe(status, { childList: true, characterData: true, subtree: true });
          return heard;
        }"""
    )
    for _ in range(2):
        page.get_by_role("button", name="Undo").click()
    expect(page.locator("#undo")).to_be_disabled()
    assert heard.json_value() == ["Undone", "Undone"]
