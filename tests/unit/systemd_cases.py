"""Texts of EnvironmentFile= and what systemd makes of them; tests/integration asks a real systemd."""

from __future__ import annotations

SYSTEMD_CASES = {
    "A=1 # note\n": {"A": "1 # note"},
    "A='1' # note\n": {"A": "1# note"},
    "export A=1\n": {},
    "; note\nA = 1 \n": {"A": "1"},
    "A=x\\\ny\nB=2\n": {"A": "xy", "B": "2"},
    "A='x\ny'\n": {"A": "x\ny"},
    'A="x\\ty \\$ \\" \\\\"\n': {"A": 'x\\ty $ " \\'},
    "A=it\\'s\n": {"A": "it's"},
    "A='a''b'c\n": {"A": "abc"},
    "A=${HOME}\n": {"A": "${HOME}"},
    "A=\nB\nC=3": {"A": "", "C": "3"},
    "A=x'y'\n": {"A": "x'y'"},
    'A=" x "  \n': {"A": " x "},
    "A=1\r\nB=2\r\n": {"A": "1", "B": "2"},
}
