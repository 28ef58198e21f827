"""Log in through the OpenID provider without a browser, and print as JSON how it ended.

oauth_log_in.py SUB [START] [--forget-cookies]: START is the address whose answer leads to the provider, by default
fractal-server's own. Cookies are sent back whatever the scheme, as a browser does over HTTPS.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPMessage
from typing import Any

SERVER = "http://localhost:8000"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None


def send(url: str, form: dict[str, str] | None = None, cookies: str = "") -> tuple[int, HTTPMessage, bytes]:
    data = urllib.parse.urlencode(form).encode() if form else None
    request = urllib.request.Request(url, data, {"Cookie": cookies} if cookies else {})
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def cookies_of(headers: HTTPMessage) -> str:
    return "; ".join(value.split(";")[0] for value in headers.get_all("Set-Cookie", []))


arguments = [word for word in sys.argv[1:] if not word.startswith("--")]
start = arguments[1] if len(arguments) > 1 else f"{SERVER}/auth/mock/authorize/"
_unused, began, body = send(start)
_unused, consented, _unused = send(json.loads(body)["authorization_url"], {"sub": arguments[0]})
sent_back = "" if "--forget-cookies" in sys.argv else cookies_of(began)
# What fractal-web does with those whom the provider sends back to it.
back = urllib.parse.urlsplit(consented["Location"]).query
status, ended, text = send(f"{SERVER}/auth/mock/callback/?{back}", cookies=sent_back)
result: dict[str, Any] = {"status": status, "cookies": began.get_all("Set-Cookie", []), "text": text.decode()}
if status == 204:
    for name, path in (("user", "/auth/current-user/"), ("projects", "/api/v2/project/")):
        code, _unused, data = send(SERVER + path, cookies=cookies_of(ended))
        result[name] = json.loads(data) if code == 200 else code
print(json.dumps(result))
