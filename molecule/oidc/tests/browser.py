"""Chromium logs in through fractal-web as its users do.

browser.py PAIR password EMAIL PASSWORD, or browser.py PAIR provider SUB: print as JSON what the last page says.

The browser asks for the addresses that are set on the hosts, as on the machine itself: there it takes ``Secure``
cookies without TLS. They are led to the containers, and nothing else is reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

WEB = "http://localhost:5173"
PROVIDER = "http://127.0.0.1:9400"
SESSION = "fastapiusersauth"
LIB = Path(__file__).resolve().parents[3] / "tests" / "bed" / "lib.sh"
PAGE = """
const done = arguments[0];
const user = document.getElementById('user');
const page = {path: location.pathname, text: document.body.innerText, user: user && user.textContent};
fetch('/api/auth/current-user').then((answer) => answer.json()).then((me) => done({...page, id: me.id ?? null}));
"""


def _address(container: str) -> str:
    line = ["bash", "-c", '. "$0"; address "$1"', str(LIB), container]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def browser(pair: str) -> Iterator[Chrome]:
    """Start a browser without a past."""
    hosts = {WEB: f"{_address(f'{pair}-web')}:5173", PROVIDER: f"{_address(f'{pair}-server')}:9400"}
    rules = [f"MAP {urlsplit(url).netloc} {address}" for url, address in hosts.items()]
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "no-proxy-server"):
        options.add_argument(f"--{option}")
    options.add_argument(f"--host-resolver-rules={', '.join([*rules, 'MAP * ~NOTFOUND'])}")
    driver = Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def _press(driver: Chrome, button: str) -> None:
    driver.find_element(By.XPATH, f"//button[normalize-space()='{button}']").click()


def _wait(driver: Chrome, script: str) -> None:
    waiting = WebDriverWait(driver, 60, ignored_exceptions=[WebDriverException])
    waiting.until(lambda _driver: driver.execute_script(f"return document.readyState === 'complete' && {script}"))


def by_password(driver: Chrome, email: str, password: str) -> dict[str, Any]:
    """Fill in the form of the log-in page."""
    driver.get(f"{WEB}/auth/login")
    driver.find_element(By.XPATH, "//summary[normalize-space()='Log in with username & password']").click()
    for name, value in (("username", email), ("password", password)):
        driver.find_element(By.NAME, name).send_keys(value)
    driver.execute_script("window.before = true")
    _press(driver, "Log in")
    _wait(driver, "!window.before")
    return page(driver)


def by_provider(driver: Chrome, sub: str) -> dict[str, Any]:
    """Press the button of the log-in page, tell the provider who one is, and come back."""
    driver.get(f"{WEB}/auth/login")
    _press(driver, "Log in with institutional account")
    _wait(driver, f"location.origin === '{PROVIDER}'")
    driver.find_element(By.NAME, "sub").send_keys(sub)
    _press(driver, "Authorize")
    _wait(driver, f"location.origin === '{WEB}' && !document.body.innerText.startsWith('Loading')")
    return page(driver)


def page(driver: Chrome) -> dict[str, Any]:
    """Return what the page says, whom fractal-server takes this browser for, and its session."""
    seen: dict[str, Any] = driver.execute_async_script(PAGE)
    return {**seen, "session": driver.get_cookie(SESSION)}


if __name__ == "__main__":
    with browser(sys.argv[1]) as started:
        by, words = sys.argv[2], sys.argv[3:]
        print(json.dumps(by_password(started, *words) if by == "password" else by_provider(started, *words)))
