"""The two hosts that a bench works on."""

from __future__ import annotations


def inventory(pair: str, rehearsal: bool = True) -> str:
    """Return the inventory of a pair that run_pair.sh has started, with what it needs without a network."""
    return f"""
all:
  vars:
    ansible_python_interpreter: /usr/bin/python3
    fractal_rehearsal: {str(rehearsal).lower()}
fractal_server:
  hosts:
    server: {{ansible_host: {pair}-server, fractal_wheelhouse: /opt/wheelhouse}}
fractal_web:
  hosts:
    web: {{ansible_host: {pair}-web, fractal_web_archive: /opt/archives/node-18-fractal-web-v1.21.1.tar.gz}}
"""
