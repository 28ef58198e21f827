"""Where a service listens, by its command line and what stands around it: each row is one way to run it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.address import (
    Address,
    AddressUnknown,
    server_addresses,
    web_addresses,
    worker_count,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.command_line import (
    Surroundings,
    expand,
    read_command,
)
from hypothesis import given
from hypothesis import strategies as st

HOME = "/srv/fractal"
CONF = HOME + "/gunicorn.conf.py"
APP = "fractal_server.main:app"


@dataclass(frozen=True)
class Row:
    """A command line as systemd shows it, what stands around it, and the URLs to expect; a text alone is a reason."""

    command: str
    expected: list[str] | str
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    sockets: tuple[str, ...] = ()

    def around(self) -> Surroundings:
        return Surroundings(self.env, HOME, self.files.get, self.sockets)


def local(port: int, scheme: str = "http") -> list[str]:
    return [f"{scheme}://127.0.0.1:{port}"]


SERVER = [
    # fractalctl
    Row("/v/bin/fractalctl start", local(8000)),
    Row("/v/bin/fractalctl start -p 8010", local(8010)),
    Row("/v/bin/fractalctl start -p8010", local(8010)),
    Row("/v/bin/fractalctl start --port=8010 --host 0.0.0.0", local(8010)),
    Row("/v/bin/fractalctl start --host ::", ["http://127.0.0.1:8000", "http://[::1]:8000"]),
    Row("/v/bin/fractalctl start --host 10.0.0.5 --port 80", ["http://10.0.0.5:80"]),
    Row("/v/bin/fractalctl start --port 8010 --port 8020", local(8020)),
    Row("/v/bin/fractalctl start --port ${PORT}", local(8010), {"PORT": "8010"}),
    Row("/v/bin/fractalctl start $OPTS", local(8011), {"OPTS": "--host 127.0.0.1 --port 8011"}),
    Row("/v/bin/fractalctl start $OPTS", local(8000)),
    Row("/v/bin/fractalctl start --port ${NOWHERE}", local(8000)),
    Row("/v/bin/fractalctl start --port ${PORT}", "'abc', which is no port", {"PORT": "abc"}),
    Row("/v/bin/fractalctl start --port 0", "no port"),
    Row("/v/bin/fractalctl start --port 80800", "no port"),
    # gunicorn
    Row(f"/v/bin/gunicorn {APP}", local(8000)),
    Row(f"/v/bin/gunicorn {APP}", local(8010), {"PORT": "8010"}),
    Row(f"/v/bin/gunicorn {APP} -b :8010", local(8010)),
    Row(f"/v/bin/gunicorn -b:8010 {APP}", local(8010)),
    Row(f"/v/bin/gunicorn -b [::]:8010 {APP}", ["http://127.0.0.1:8010", "http://[::1]:8010"]),
    Row(f"/v/bin/gunicorn -b [::1]:8010 {APP}", ["http://[::1]:8010"]),
    Row(f"/v/bin/gunicorn -b [::1] {APP}", ["http://[::1]:8000"]),
    Row(f"/v/bin/gunicorn --bind=10.0.0.1 {APP}", ["http://10.0.0.1:8000"]),
    Row(f"/v/bin/gunicorn --bind fractal.example.org:8010 {APP}", ["http://fractal.example.org:8010"]),
    Row(f"/v/bin/gunicorn --bind tcp://0.0.0.0:8010 {APP}", local(8010)),
    Row(f"/v/bin/gunicorn -b unix:/run/f.sock {APP}", ["http+unix://%2Frun%2Ff.sock"]),
    Row(f"/v/bin/gunicorn -b unix:f.sock {APP}", ["http+unix://%2Fsrv%2Ffractal%2Ff.sock"]),
    Row(
        f"/v/bin/gunicorn -b unix:/run/f.sock -b 127.0.0.1:8000 {APP}",
        ["http+unix://%2Frun%2Ff.sock", "http://127.0.0.1:8000"],
    ),
    Row(f"/v/bin/gunicorn --certfile c --keyfile k -b 0.0.0.0:8443 {APP}", local(8443, "https")),
    Row(f"/v/bin/gunicorn -b fd://3 {APP}", "file descriptor 3"),
    Row(f"/v/bin/gunicorn -b fd://3 {APP}", local(8010), sockets=("127.0.0.1:8010",)),
    Row(f"/v/bin/gunicorn -b 127.0.0.1:9 {APP}", local(8010), sockets=("0.0.0.0:8010",)),
    Row(f"/v/bin/gunicorn {APP}", ["http+unix://%2Frun%2Ff.sock"], sockets=("/run/f.sock",)),
    Row(f"/v/bin/gunicorn -b 127.0.0.1:http {APP}", "'http', which is no port"),
    Row(f"/v/bin/gunicorn {APP}", local(8010), {"GUNICORN_CMD_ARGS": "--bind=127.0.0.1:8010 --workers=3"}),
    Row(f"/v/bin/gunicorn {APP} -b :8020", local(8020), {"GUNICORN_CMD_ARGS": "--bind=127.0.0.1:8010"}),
    Row(f"/v/bin/gunicorn {APP}", local(8010), files={CONF: "bind = '127.0.0.1:8010'\n"}),
    Row(f"/v/bin/gunicorn {APP}", [*local(8010), *local(8011)], files={CONF: "bind = ['127.0.0.1:8010', ':8011']\n"}),
    Row(f"/v/bin/gunicorn {APP}", [*local(8010), *local(8011)], files={CONF: "bind: str = ':8010, :8011'\n"}),
    Row(f"/v/bin/gunicorn {APP}", local(8443, "https"), files={CONF: "bind = ':8443'\ncertfile = '/c.pem'\n"}),
    Row(f"/v/bin/gunicorn -b :8020 {APP}", local(8020), files={CONF: "import os\nbind = os.environ['B']\n"}),
    Row(f"/v/bin/gunicorn {APP}", "computes 'bind'", files={CONF: "import os\nbind = os.environ['B']\n"}),
    Row(f"/v/bin/gunicorn {APP}", "computes 'bind'", files={CONF: "bind = ':1'\nif True:\n    bind = ':2'\n"}),
    Row(f"/v/bin/gunicorn {APP}", "computes 'bind'", files={CONF: "bind = []\nbind += [':2']\n"}),
    Row(f"/v/bin/gunicorn {APP}", "computes 'bind'", files={CONF: "from common import *\n"}),
    Row(f"/v/bin/gunicorn {APP}", "no Python", files={CONF: "bind = \n"}),
    Row(f"/v/bin/gunicorn {APP}", local(8000), files={CONF: "workers = 2\n"}),
    Row(f"/v/bin/gunicorn -c /etc/g.py {APP}", local(8010), files={"/etc/g.py": "bind = ':8010'", CONF: "bind = ':9'"}),
    Row(f"/v/bin/gunicorn --config=file:g.py {APP}", local(8010), files={HOME + "/g.py": "bind = ':8010'"}),
    Row(f"/v/bin/gunicorn -c python:settings {APP}", "module settings"),
    Row(f"/v/bin/gunicorn -c /etc/missing.py {APP}", "/etc/missing.py, which cannot be read"),
    Row(f"/v/bin/gunicorn {APP}", local(8010), {"GUNICORN_CMD_ARGS": "-c /etc/g.py"}, {"/etc/g.py": "bind = ':8010'"}),
    # uvicorn
    Row(f"/v/bin/uvicorn {APP}", local(8000)),
    Row(f"/v/bin/uvicorn {APP} --port 8443 --ssl-certfile c --ssl-keyfile k", local(8443, "https")),
    Row(f"/v/bin/uvicorn {APP} --uds /run/u.sock", ["http+unix://%2Frun%2Fu.sock"]),
    Row(f"/v/bin/uvicorn {APP} --fd 3", local(8010), sockets=("0.0.0.0:8010",)),
    Row(f"/v/bin/uvicorn {APP} --fd 4", "file descriptor 4", sockets=("8010",)),
    Row(f"/v/bin/uvicorn {APP}", local(8010), {"UVICORN_PORT": "8010", "UVICORN_HOST": "0.0.0.0"}),
    # around them
    Row("/usr/bin/env PORT=8010 /v/bin/gunicorn x:app", local(8010)),
    Row("/usr/bin/env -u PORT -C /x /v/bin/gunicorn x:app -b unix:s", ["http+unix://%2Fx%2Fs"], {"PORT": "9"}),
    Row("/bin/bash -c exec /v/bin/gunicorn x:app -b :8010", local(8010)),
    Row("/bin/bash -lc 'source /v/bin/activate && exec gunicorn x:app -b :8010'", local(8010)),
    Row("/bin/sh -c cd /x ; PORT=8010 exec gunicorn x:app", local(8010)),
    Row("/bin/sh -c fractalctl set-db && exec fractalctl start --port ${P:-8010}", local(8010)),
    Row("/bin/sh -c export P=8010; fractalctl set-db; exec fractalctl start --port $P", local(8010)),
    Row("/bin/sh -c . ./vars; exec fractalctl start --port $P", local(8010), files={HOME + "/./vars": "P=8010\n"}),
    Row(
        "/srv/start.sh", local(8010), files={"/srv/start.sh": "#!/bin/bash\n# run\nexec gunicorn x:app \\\n -b :8010\n"}
    ),
    Row("/bin/bash start.sh", local(8010), files={HOME + "/start.sh": "exec gunicorn x:app -b :8010\n"}),
    Row("/v/bin/python3 -m gunicorn x:app -b :8010", local(8010)),
    Row("/v/bin/python3.11 -I -u -m fractal_server start -p 8010", local(8010)),
    Row("/v/bin/python -Im uvicorn x:app --port 8010", local(8010)),
    Row("/v/bin/python -X dev /v/bin/gunicorn x:app -b :8010", local(8010)),
    Row("/usr/bin/sudo -u gunicorn /v/bin/gunicorn x:app -b :8010", local(8010)),
    Row("/usr/bin/nice -n 5 taskset -c 0-3 numactl -N 0 /v/bin/gunicorn x:app -b :8010", local(8010)),
    Row("/usr/bin/gunicorn3 x:app -b :8010", local(8010)),
    Row("uv run --no-sync fractalctl start -p 8010", local(8010)),
    Row("/opt/start", "/opt/start is none of"),
    Row("", "the command is none of"),
]


@pytest.mark.parametrize("row", SERVER, ids=lambda row: row.command or "nothing")
def test_server(row: Row) -> None:
    around = row.around()
    command = read_command(row.command.split(), around)
    if isinstance(row.expected, str):
        with pytest.raises(AddressUnknown, match=row.expected):
            server_addresses(command, around)
    else:
        assert [url for address in server_addresses(command, around) for url in address.urls] == row.expected


@pytest.mark.parametrize(
    ("variables", "sockets", "urls"),
    [
        ({}, (), local(3000)),
        ({"PORT": "5173"}, (), local(5173)),
        ({"PORT": ""}, (), local(3000)),
        ({"HOST": "10.0.0.5", "PORT": "80"}, (), ["http://10.0.0.5:80"]),
        ({"HOST": "::"}, (), ["http://127.0.0.1:3000", "http://[::1]:3000"]),
        ({"SOCKET_PATH": "/run/web.sock", "PORT": "80"}, (), ["http+unix://%2Frun%2Fweb.sock"]),
        ({"PORT": "80"}, ("[::]:3001",), ["http://127.0.0.1:3001", "http://[::1]:3001"]),
        ({"PORT": "abc"}, (), None),
        ({"PORT": "70000"}, (), None),
        ({"PORT": "-1"}, (), None),
    ],
)
def test_web(variables: dict[str, str], sockets: tuple[str, ...], urls: list[str] | None) -> None:
    if urls is None:
        with pytest.raises(AddressUnknown, match="PORT is"):
            web_addresses(variables, sockets)
    else:
        assert [url for address in web_addresses(variables, sockets) for url in address.urls] == urls


@pytest.mark.parametrize(
    ("command", "program", "python", "synchroniser"),
    [
        ("/v/bin/gunicorn x:app", "gunicorn", "", ""),
        ("/v/bin/python3 -m gunicorn x:app", "gunicorn", "/v/bin/python3", ""),
        ("/bin/bash -c source /v/bin/activate && exec python -m gunicorn x:app", "gunicorn", "python", ""),
        ("/v/bin/python3 -m http.server", "python", "/v/bin/python3", ""),
        ("/v/bin/python3 -c pass", "python3", "/v/bin/python3", ""),
        ("/root/.local/bin/uv run fractalctl start", "fractalctl", "", "uv run"),
        ("uv --directory /x run --frozen fractalctl start", "fractalctl", "", "uv run"),
        ("uv run --no-sync fractalctl start", "fractalctl", "", ""),
        ("env UV_NO_SYNC=1 uv run fractalctl start", "fractalctl", "", ""),
        ("pixi run serve", "pixi", "", "pixi run"),
        ("pixi run --as-is gunicorn x:app", "gunicorn", "", ""),
        ("poetry run gunicorn x:app", "gunicorn", "", "poetry run"),
        ("pdm run gunicorn x:app", "gunicorn", "", "pdm run"),
        ("hatch run prod:serve", "hatch", "", "hatch run"),
        ("/bin/sh -c cd /x && exec uv run fractalctl start", "fractalctl", "", "uv run"),
        ("/bin/sh -c never 'closed", "sh", "", ""),
        ("/bin/sh -c fractalctl set-db", "sh", "", ""),
        ("env -i", "", "", ""),
    ],
)
def test_program(command: str, program: str, python: str, synchroniser: str) -> None:
    found = read_command(command.split(), Surroundings({}, HOME, {}.get))
    assert (found.program, found.interpreter, found.synchroniser) == (program, python, synchroniser)


def test_programs_are_found_where_the_process_would_find_them() -> None:
    there = {"/v/bin/gunicorn", "/usr/bin/gunicorn", "/usr/bin/python3"}.__contains__
    around = Surroundings({"PATH": "/usr/local/bin:/usr/bin"}, HOME, {}.get)
    plain = read_command(["gunicorn", "x:app"], around)
    assert plain.locate(plain.path, there) == "/usr/bin/gunicorn"
    activated = read_command("bash -c . /v/bin/activate; exec gunicorn x:app".split(), around)
    assert activated.locate(activated.path, there) == "/v/bin/gunicorn"
    assert plain.locate("venv/bin/python", there) == HOME + "/venv/bin/python"
    assert plain.locate("missing", there) == ""


def test_variables_are_put_in_as_systemd_does() -> None:
    words = ["a$B", "${B}c", "$B", "$$B", "${NO}", "$NO", "$Q"]
    assert expand(words, {"B": "1 2", "Q": "'x y' z"}) == ["a$B", "1 2c", "1", "2", "$B", "", "x y", "z"]


def test_workers() -> None:
    def count(line: str, env: dict[str, str] | None = None, conf: str = "") -> int:
        around = Surroundings(env or {}, HOME, {CONF: conf}.get if conf else {}.get)
        return worker_count(read_command(line.split(), around), around)

    assert count("gunicorn x:app --workers 4") == 4
    assert count("gunicorn x:app -w=3") == count("gunicorn x:app -w3") == 3
    assert count("gunicorn x:app", {"WEB_CONCURRENCY": "2"}) == 2
    assert count("gunicorn x:app", {"GUNICORN_CMD_ARGS": "--workers=5"}, "workers = 9") == 5
    assert count("gunicorn x:app", conf="workers = 9") == 9
    assert count("gunicorn x:app", conf="workers = 2 * cores() + 1") == 1
    assert count("fractalctl start") == 1


PIECES = "env bash -c gunicorn -b --bind uv run python3 -m $A ${A} -c; ' \" [::]: fd:// =".split()
WORDS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=8)
VARIABLES = st.dictionaries(st.sampled_from(["A", "PORT", "GUNICORN_CMD_ARGS", "PATH"]), st.text(max_size=12))


@given(WORDS, st.text(max_size=30), VARIABLES)
def test_no_command_line_breaks_it(words: list[str], text: str, env: dict[str, str]) -> None:
    around = Surroundings(env, HOME, lambda _path: text)
    command = read_command(words, around)
    try:
        assert all(address.urls for address in server_addresses(command, around))
    except AddressUnknown as error:
        assert str(error)
    worker_count(command, around)


@given(st.lists(st.text("abc -'\"$;", max_size=6), min_size=1, max_size=4))
def test_a_shell_sees_what_it_was_given(arguments: list[str]) -> None:
    script = "exec gunicorn " + " ".join(shlex.quote(word.replace("$", "")) for word in arguments)
    command = read_command(["/bin/sh", "-c", script], Surroundings({}, HOME, {}.get))
    assert command.arguments == [word.replace("$", "") for word in arguments]


def test_an_address_has_the_urls_of_its_own_machine() -> None:
    assert Address("0.0.0.0", 8000).urls == local(8000)
    assert Address("::1", 8000, tls=True).urls == ["https://[::1]:8000"]
    assert Address(path="@fractal").urls == ["http+unix://%40fractal"]
