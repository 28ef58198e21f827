"""Every scenario has the facts and fixtures of scenario.py."""

pytest_plugins = ["scenario"]
