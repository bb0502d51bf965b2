"""The page of a running server in headless Chromium."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import fashioncnn
from fashioncnn.artifacts.model_folder import find_model
from fashioncnn.models import build_model
from fashioncnn.models.trained_model import TrainedModel, load_model, save_model

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EXAMPLES = Path(fashioncnn.__file__).parent / "serving" / "page" / "examples"
TOKEN = "correct-horse"
RECORD_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
});
"""
START_SECONDS = 120
SECONDS = 120
"""Limit on the time until an expected state of the page; machines may be slow."""


@pytest.fixture(scope="module")
def browser():
    """Return a browser; its event loop must not outlast the module, for tests with asyncio."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed (make browser)")
    playwright.expect.set_options(timeout=1000 * SECONDS)
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def running_server(*arguments: str) -> Iterator[str]:
    """Run ``fashioncnn serve`` and yield its address when it is ready."""
    pytest.importorskip("fastapi")
    command = [sys.executable, "-m", "fashioncnn", "serve", *arguments, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://\S+(?=;)", process.stderr.readline()).group()
            await_ready(address)
            yield address
        finally:
            process.terminate()
            process.communicate(timeout=30)


def await_ready(address: str) -> None:
    for _ in range(10 * START_SECONDS):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{address}/readyz", timeout=5).close()
            return
        time.sleep(0.1)
    pytest.fail(f"{address}: not ready after {START_SECONDS} s")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the address of a server of the model photo."""
    with running_server("photo") as address:
        yield address


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory) -> Iterator[str]:
    """Return the address of a server with a token and low limits.

    Its model is not trained, has twelve classes and no OOD detector, and always abstains.
    """
    folder = tmp_path_factory.mktemp("strict")
    spec = load_model(find_model(Path("photo"))).spec
    labels = tuple(f"kind {i}" for i in range(12))
    tiny = spec.architecture.model_copy(update={"channels": (4, 8, 8)})
    spec = spec.replace(architecture=tiny, labels=labels, abstain_below=0.9999, ood_detector=None)
    network = build_model(tiny, spec.preprocessing.image_size, len(labels)).eval()
    save_model(TrainedModel(network, spec), folder / "model", "A model that always abstains.")
    (folder / "token").write_text(TOKEN)
    limits = ("--max-body-mb", "1", "--token-file", str(folder / "token"))
    with running_server(str(folder / "model"), *limits) as address:
        yield address


class Watch:
    """What a page must not do; each test fails at its end if it did."""

    def __init__(self, page, address: str, *, expects_failures: bool) -> None:
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.expects_failures = expects_failures
        self._address = address
        page.add_init_script(RECORD_VIOLATIONS)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url))

    def _on_console(self, message) -> None:
        """Record errors; Chromium itself reports each response with an error status.

        On a busy machine a server may answer 429 or 503; the page tries again.
        """
        is_status = message.text.startswith("Failed to load resource")
        is_expected = self.expects_failures or any(f"of {s} " in message.text for s in (429, 503))
        if message.type in ("error", "warning") and not (is_status and is_expected):
            self.errors.append(message.text)

    def check(self) -> None:
        own = (self._address, "blob:", "data:")
        assert [url for url in self.hosts if not url.startswith(own)] == []
        assert self.errors == []


@pytest.fixture
def open_page(browser):
    """Return a function that opens a page; options are those of a browser context."""
    with contextlib.ExitStack() as stack:

        def open_at(
            address: str,
            *,
            size: tuple[int, int] = (1280, 900),
            expects_failures: bool = False,
            **options,
        ):
            """Open the page; `expects_failures` if its first requests are already refused."""
            width, height = size
            context = browser.new_context(viewport={"width": width, "height": height}, **options)
            stack.callback(context.close)
            context.set_default_timeout(1000 * SECONDS)
            page = context.new_page()
            page.watch = Watch(page, address, expects_failures=expects_failures)
            stack.callback(page.watch.check)
            page.goto(address)
            return page

        yield open_at


@pytest.fixture
def page(open_page, server):
    """Return the page of the model photo."""
    opened = open_page(server)
    opened.locator("#about").wait_for()
    return opened


def await_answers(page, count: int) -> None:
    """Wait until there are `count` cards, all with an answer or an error."""
    from playwright.sync_api import expect

    expect(page.locator(".card")).to_have_count(count)
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator("#progress")).to_be_hidden()


def axe_source() -> str:
    """Return the source of axe-core, or skip the test."""
    candidates = [os.environ.get("AXE_CORE"), *AXE_FOLDERS]
    for candidate in filter(None, candidates):
        file = Path(candidate) / "axe.min.js"
        if file.is_file():
            return file.read_text()
    pytest.skip("axe-core is not installed (make browser, or AXE_CORE=folder)")


ROOT = Path(__file__).parents[3]
AXE_FOLDERS = [ROOT / folder / "axe-core" for folder in ("node_modules", ".venv/node_modules")]
