"""Keyboard, screen reader, phones, color schemes; axe-core finds no violation."""

import pytest

from .conftest import EXAMPLES, await_answers, axe_source

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.slow

RUN_AXE = """
async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join("  ")}`);
}
"""
LONG_NAME = "a-photograph-of-a-boot-" * 8 + ".jpg"


def show_everything(page) -> None:
    """Show an answer, an abstention and errors."""
    page.watch.expects_failures = True
    page.get_by_role("button", name="Key, which is none of the classes").click()
    boot = (EXAMPLES / "boot.jpg").read_bytes()
    page.set_input_files(
        "#choose",
        [
            {"name": LONG_NAME, "mimeType": "image/jpeg", "buffer": boot},
            {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no image"},
        ],
    )
    await_answers(page, 3)
    page.get_by_text("About this model").click()
    page.get_by_role("button", name="Classify drawing").click()
    expect(page.get_by_role("alert")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(open_page, server, scheme, width):
    source = axe_source()
    page = open_page(server, size=(width, 844), color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator("#about")).to_be_visible()
    page.evaluate(source)
    assert page.evaluate(RUN_AXE) == []
    show_everything(page)
    assert page.evaluate(RUN_AXE) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_where_a_token_is_needed(open_page, strict_server, scheme):
    source = axe_source()
    page = open_page(strict_server, color_scheme=scheme, expects_failures=True)
    expect(page.get_by_label("Access token")).to_be_focused()
    page.evaluate(source)
    assert page.evaluate(RUN_AXE) == []


@pytest.mark.parametrize("width", [320, 390, 700, 1280])
def test_nothing_is_wider_than_the_window(open_page, server, width):
    page = open_page(server, size=(width, 844), has_touch=width < 700, is_mobile=width < 700)
    expect(page.locator("#about")).to_be_visible()
    show_everything(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_keyboard_alone_classifies_an_example_and_a_file(page):
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id || 'other'"))
        if page.evaluate("() => document.activeElement.matches('.example')"):
            break
    assert reached[:2] == ["other", "choose"]  # the link to the results, the file input
    assert page.locator(".example:focus-visible").count() == 1
    page.keyboard.press("Enter")
    await_answers(page, 1)
    expect(page.locator(".card .label")).to_have_text("T-shirt/top")
    with page.expect_file_chooser() as chooser:
        page.locator("#choose").focus()
        page.keyboard.press("Enter")
    chooser.value.set_files(EXAMPLES / "bag.jpg")
    await_answers(page, 2)
    expect(page.locator(".card .label").first).to_have_text("Bag")


def test_every_control_is_reached_and_shows_the_focus(page):
    reached = {}
    for _ in range(40):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => {
              const element = document.activeElement;
              const shown = element.matches("[type=file], [type=radio]")
                ? element.nextElementSibling : element;
              const { outlineStyle } = getComputedStyle(shown);
              return [element.id || element.textContent.trim(), outlineStyle];
            }"""
        )
        reached[name] = outline
    expected = {"choose", "canvas", "tool-brush", "width", "shade", "mirror", "classify"}
    assert expected <= reached.keys()
    assert {reached[name] for name in expected} == {"solid"}


def test_focus_stays_on_the_page_when_its_button_disappears(page):
    page.watch.expects_failures = True
    page.context.set_offline(True)
    page.set_input_files("#choose", EXAMPLES / "boot.jpg")
    await_answers(page, 1)
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").press("Enter")
    expect(page.locator(".card .label")).to_have_text("Ankle boot")
    expect(page.locator(".card")).to_be_focused()


def test_probabilities_are_a_table_for_screen_readers(page):
    page.set_input_files("#choose", EXAMPLES / "boot.jpg")
    await_answers(page, 1)
    table = page.get_by_role("table", name="Probability of each class")
    expect(table.get_by_role("row")).to_have_count(11)
    expect(table.get_by_role("rowheader").first).to_have_text("Ankle boot")
    expect(table.get_by_role("columnheader")).to_have_text(["Class", "Probability"])
    expect(page.get_by_role("img", name="Heat map: Center of the image")).to_be_visible()


def test_dark_mode_is_dark(open_page, server):
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = open_page(server, color_scheme="light").evaluate(background)
    dark = open_page(server, color_scheme="dark").evaluate(background)
    assert (light, dark) == ("rgb(246, 245, 241)", "rgb(19, 21, 19)")


@pytest.mark.parametrize(("motion", "name"), [("reduce", "none"), ("no-preference", "appear")])
def test_motion_only_where_it_is_wanted(open_page, server, motion, name):
    page = open_page(server, reduced_motion=motion)
    page.set_input_files("#choose", EXAMPLES / "boot.jpg")
    await_answers(page, 1)
    animation = page.locator(".card").evaluate("(card) => getComputedStyle(card).animationName")
    assert animation == name
