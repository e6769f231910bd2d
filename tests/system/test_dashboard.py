"""The page of the admin port in a real browser: what it shows, and what can be done with it."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from support.cluster import IDS, Cluster
from support.wait import eventually
from support.wire import connect, fetch, request

FUNCTIONS = ("echo", "sleep?seconds=0.02")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    options = ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Five nodes in dynamic mode, three of which are called all the time."""
    cluster = Cluster(tmp_path_factory.mktemp("dashboard") / "cluster", architecture="dynamic")
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            for function in FUNCTIONS:
                for entry in ("edge1", "edge2", "cloud"):
                    cluster.call(entry, f"/function/{function}")

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    yield cluster
    done.set()
    for caller in callers:
        caller.join()
    cluster.stop()


def opened(browser: Chrome, busy: Cluster, width: int = 1200, scheme: str = "light") -> str:
    host, port = busy.nodes["edge1"].admin
    page = f"http://{host}:{port}/"
    browser.set_window_size(width, 900)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    # Window managers have a least width; what a phone shows does not.
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page)
    eventually(lambda: said(browser, "link") == "live", "events arrive")
    return page


def said(browser: Chrome, element: str) -> str:
    return browser.find_element(By.ID, element).text


def rows(browser: Chrome, table: str) -> dict[str, list[str]]:
    """The cells of each row, by the first: read at once, since each event makes new ones."""
    script = "return [...document.getElementById(arguments[0]).tBodies[0].rows].map(r => [...r.cells].map(c => c.innerText))"
    return {row[0]: row for row in browser.execute_script(script, table)}


def pictured(browser: Chrome, name: str, tmp_path: Path) -> None:
    """A screenshot of the whole page, for people: HOPWISE_SCREENSHOTS names where they go."""
    directory = Path(os.environ.get("HOPWISE_SCREENSHOTS", tmp_path))
    directory.mkdir(parents=True, exist_ok=True)
    height = browser.execute_script("return document.documentElement.scrollHeight")
    size = browser.execute_script("return window.innerWidth")
    metrics = {"width": size, "height": height, "deviceScaleFactor": 1, "mobile": size < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.save_screenshot(str(directory / f"{name}.png"))


def no_complaints(browser: Chrome) -> None:
    complaints = [
        entry
        for entry in browser.get_log("browser")
        # A sidecar that keeps no decisions says so once.
        if entry["level"] in ("SEVERE", "WARNING") and "/decisions" not in entry["message"]
    ]
    assert not complaints


def test_it_shows_what_the_node_sees(browser: Chrome, busy: Cluster, tmp_path: Path) -> None:
    opened(browser, busy)
    assert said(browser, "node") == "edge1"
    assert said(browser, "mode") == "dynamic"

    eventually(lambda: int(rows(browser, "nodes")["edge1"][6]) > 0, "what ran here is counted")
    seen = rows(browser, "nodes")
    assert tuple(seen) == IDS
    assert {row[3] for row in seen.values()} == {"healthy"}
    assert len(browser.find_elements(By.CSS_SELECTOR, "#map rect.node")) == len(IDS)
    functions = Select(browser.find_element(By.ID, "function"))
    assert {option.text for option in functions.options} == {"echo", "sleep"}
    functions.select_by_visible_text("sleep")
    eventually(lambda: any(int(row[2]) for row in rows(browser, "functions").values()), "samples")
    drawn = "#latency path, #ratio path"
    eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, drawn)) >= 3, "lines are drawn")
    pictured(browser, "dashboard", tmp_path)
    no_complaints(browser)


def test_a_mode_is_switched_with_the_keyboard_alone(browser: Chrome, busy: Cluster) -> None:
    opened(browser, busy)
    node = busy.nodes["edge1"]
    mode = browser.find_element(By.ID, "mode-value")
    eventually(lambda: mode.get_property("value") == "dynamic", "the mode in force is shown")
    mode.send_keys("f", Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    eventually(lambda: said(browser, "said").startswith("Done: generation"), "the answer is told")
    assert node.json("GET", "/configuration", admin=True)["mode"] == "federated"
    eventually(lambda: said(browser, "mode") == "federated", "the page follows")
    eventually(lambda: "dynamic → federated" in said(browser, "marks"), "the switch is marked")
    Select(mode).select_by_visible_text("dynamic")
    browser.find_element(By.CSS_SELECTOR, "#mode-form button").click()
    eventually(lambda: said(browser, "mode") == "dynamic", "the page follows")
    no_complaints(browser)


def test_a_refused_change_says_why_and_changes_nothing(browser: Chrome, busy: Cluster) -> None:
    opened(browser, busy)
    node = busy.nodes["edge1"]
    before = node.json("GET", "/configuration", admin=True)
    soft = browser.find_element(By.NAME, "soft_d2f")
    eventually(lambda: soft.get_property("value") != "", "the thresholds in force are shown")
    soft.clear()
    soft.send_keys("9", Keys.ENTER)
    eventually(lambda: said(browser, "said").startswith("Refused:"), "the answer is told")
    assert "soft_d2f" in said(browser, "said")
    after = node.json("GET", "/configuration", admin=True)
    assert (after["generation"], after["thresholds"]) == (before["generation"], before["thresholds"])
    soft.clear()
    soft.send_keys("1.4", Keys.ENTER)
    eventually(lambda: said(browser, "said").startswith("Done:"), "the answer is told")
    assert node.json("GET", "/configuration", admin=True)["thresholds"]["soft_d2f"] == 1.4


@pytest.mark.parametrize(("name", "width", "scheme"), [("phone", 390, "light"), ("dark", 1200, "dark")])
def test_it_fits_a_phone_and_the_night(
    browser: Chrome, busy: Cluster, tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    opened(browser, busy, width, scheme)
    drawn = "#map rect.node"
    eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, drawn)) == len(IDS), "the map is drawn")
    inside = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert inside, "the page is wider than the screen"
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in back[4:-1].split(",")) > 3 * 128
    assert light == (scheme == "light")
    pictured(browser, f"dashboard-{name}", tmp_path)


def test_everything_has_a_name_that_can_be_read_aloud(browser: Chrome, busy: Cluster) -> None:
    opened(browser, busy)
    eventually(lambda: browser.find_elements(By.CSS_SELECTOR, "#map svg"), "the map is drawn")
    for control in browser.find_elements(By.CSS_SELECTOR, "input, select, button"):
        assert control.accessible_name or not control.is_displayed(), control.get_attribute("outerHTML")
    # Each event makes new ones, so they are asked at once.
    script = "return [...document.querySelectorAll('svg')].map(s => [s.getAttribute('role'), s.ariaLabel])"
    pictures = browser.execute_script(script)
    assert len(pictures) == 5
    for role, name in pictures:
        assert role == "img"
        assert name
    for section in browser.find_elements(By.CSS_SELECTOR, "section:not([hidden])"):
        assert section.aria_role == "region"
        assert section.accessible_name


@pytest.mark.parametrize("width", [1280, 1440, 1920])
def test_all_columns_of_response_times_are_in_view(
    browser: Chrome, busy: Cluster, width: int
) -> None:
    opened(browser, busy, width=width)
    eventually(lambda: len(rows(browser, "functions")) == 3, "the function's rows")
    script = "const t = document.getElementById('functions'); return [t.scrollWidth, t.parentElement.clientWidth]"
    needed, there = browser.execute_script(script)
    assert needed <= there


def test_what_is_too_long_is_shortened_and_told_in_full(browser: Chrome, busy: Cluster) -> None:
    opened(browser, busy)
    long = "hopwise-edge-daemonset-x7k2p.zone-west-1.example"
    shown, whole = browser.execute_script(
        "const t = label(0, 0, arguments[0], 150); return [t.firstChild.data, t.lastChild.textContent]",
        long,
    )
    assert whole == long and len(shown) <= 20 and shown.startswith("hopwise-") and "…" in shown


def test_a_switch_of_a_function_is_marked(browser: Chrome, busy: Cluster) -> None:
    opened(browser, busy)
    before = {name: "federated" for name in "abcde"}
    now = {**{name: "centralized" for name in "abcde"}, "f": "federated"}
    words = browser.execute_script("return switched(arguments[0], arguments[1])", before, now)
    assert words[0] == "a: federated → centralized" and len(words) == 4, words
    assert "2 more" in words[3]
    assert browser.execute_script("return switched(arguments[0], arguments[0])", before) == []


def test_a_wrong_token_is_told(browser: Chrome, busy: Cluster) -> None:
    opened(browser, busy)
    browser.get_log("browser")  # of what earlier tests provoked
    browser.execute_script("token = 'wrong'; ask()")
    assert said(browser, "token-said").startswith("That is not the token")
    field = browser.find_element(By.ID, "token-value")
    field.send_keys("тайна", Keys.ENTER)
    assert "ASCII" in said(browser, "token-said")
    assert browser.find_element(By.ID, "token").is_displayed()
    no_complaints(browser)


def test_it_needs_nothing_from_elsewhere(busy: Cluster) -> None:
    page = fetch(busy.nodes["edge1"].admin, "GET", "/")
    assert page.status == 200
    text = page.body.decode()
    outside = [line for line in text.split("\n") if "//" in line and "http://www.w3.org/2000/svg" not in line]
    assert not [line for line in outside if "src=" in line or "href=" in line or "http" in line]


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://{admin}", "{admin}", 200),
        ("http://evil.example", "{admin}", 403),
        # A name that its owner lets point here: the page seems to come from where it calls.
        ("http://evil.example:{port}", "evil.example:{port}", 403),
        ("http://localhost:{port}", "localhost:{port}", 200),
        ("null", "{admin}", 403),
    ],
)
def test_only_its_own_page_may_change_anything(
    busy: Cluster, origin: str, host: str, status: int
) -> None:
    address, port = busy.nodes["edge2"].admin
    named = {"admin": f"{address}:{port}", "port": port}
    body = b'{"architecture": "dynamic"}'
    field = f"Origin: {origin.format(**named)}"
    with connect((address, port)) as wire:
        wire.send(request("POST", "/reload", field, body=body, host=host.format(**named)))
        answer = wire.response()
    assert answer.status == status, answer.body
