"""Note when fractal-server answers and when it does not, until killed: python3 outage.py LOG, on the server itself."""

from __future__ import annotations

import sys
import time
import urllib.request

answered = None
with open(sys.argv[1], "w", buffering=1, encoding="utf-8") as log:
    while True:
        try:
            with urllib.request.urlopen("http://127.0.0.1:8000/api/alive/", timeout=2) as answer:
                answers = answer.status == 200
        except OSError:
            answers = False
        if answers != answered:
            log.write(f"{time.time():.2f} {'up' if answers else 'down'}\n")
            answered = answers
        time.sleep(0.05)
