"""What stands around a unit, with a real systemd: triggers, templates, variables, sockets, processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from host_containers import BED, HostContainer, library

_NAME = f"surroundings-{os.getpid()}"
_IMAGE = "localhost/fractal-ops/base:12"
_ALIVE = """
import http.server, json, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"alive": True, "version": "2.16.6"}).encode()
        self.send_response(200 if self.path == "/api/alive/" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self): return "client"
def serve(listener):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket = listener
    server.serve_forever()
if os.environ.get("LISTEN_FDS"):
    serve(socket.socket(fileno=3))
where = sys.argv[-1] if sys.argv[-1].startswith(("/", "1")) else os.environ["WHERE"]
if where.startswith("/"):
    listener = socket.socket(socket.AF_UNIX); listener.bind(where); listener.listen()
else:
    host, port = where.split(":"); listener = socket.create_server((host, int(port)))
other = socket.create_server(("127.0.0.1", 9100))
serve(listener)
"""
# A virtual environment whose fractal-server is a name and a version only, and a gunicorn that is the server above.
_SETUP = f"""
mkdir -p /opt/v/bin /opt/v/lib/python3.11/site-packages/fractal_server-2.16.6.dist-info /srv/fractal
ln -s /usr/bin/python3 /opt/v/bin/python3
printf 'home = /usr/bin\\ninclude-system-site-packages = false\\nversion = 3.11.2\\n' > /opt/v/pyvenv.cfg
printf 'Metadata-Version: 2.1\\nName: fractal-server\\nVersion: 2.16.6\\n' \\
    > /opt/v/lib/python3.11/site-packages/fractal_server-2.16.6.dist-info/METADATA
for name in gunicorn fractalctl; do
cat > /opt/v/bin/$name <<'PY'
#!/opt/v/bin/python3
{_ALIVE}
PY
chmod 0755 /opt/v/bin/$name
done
mkdir -p /opt/v/lib/python3.11/site-packages/gunicorn
cp /opt/v/bin/gunicorn /opt/v/lib/python3.11/site-packages/gunicorn/__main__.py
touch /srv/fractal/.fractal_server.env
"""
_UNTIL = (
    "for i in $(seq 200); do systemctl is-active -q {unit} && {test} && exit 0; read -rt 0.1 <> <(:) || :; done; false"
)


@pytest.fixture(scope="module")
def machine() -> Iterator[HostContainer]:
    if subprocess.run(["podman", "image", "exists", _IMAGE], check=False).returncode != 0:
        pytest.skip(f"there is no image {_IMAGE}: run 'make bed'")
    environment = {**os.environ, "CONTAINERS_CONF": str(BED / "containers.conf")}
    command = ["podman", "run", "-d", "--systemd=always", "--pull=never", "--name", _NAME, _IMAGE, "/sbin/init"]
    try:
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        host = HostContainer(_NAME, "python3")
        host.receive(library())
        wait = (
            "for i in $(seq 300); do systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded' && exit 0; "
        )
        host.sh(wait + "read -rt 0.1 <> <(:) || :; done; false")
        host.sh(_SETUP)
        yield host
    finally:
        subprocess.run(
            ["podman", "rm", "-f", "-t", "0", _NAME], env=environment, check=False, stdout=subprocess.DEVNULL
        )


def run(machine: HostContainer, name: str, service: str, socket: str = "", test: str = ":") -> None:
    """Write a unit (and its socket), start it, and wait for ``test``."""
    script = f"cat > '/etc/systemd/system/{name}.service' <<'UNIT'\n[Service]\n{service}\nUNIT\n"
    started = f"{name}.service"
    if socket:
        script += f"cat > '/etc/systemd/system/{name}.socket' <<'UNIT'\n[Socket]\n{socket}\nUNIT\n"
        started = f"{name}.socket"
    machine.sh(script + f"systemctl daemon-reload; systemctl start '{started}'")
    machine.sh(_UNTIL.format(unit=f"'{started}'", test=test))


def port(number: int) -> str:
    return f"(: > /dev/tcp/127.0.0.1/{number}) 2>/dev/null"


def instance(machine: HostContainer, name: str, **options: str) -> dict[str, object]:
    found: dict[str, object] = machine.module("fractal_observe", service=name, **options)["instance"]
    return found


@pytest.mark.parametrize(
    ("name", "service", "test", "url"),
    [
        ("plain", "ExecStart=/opt/v/bin/gunicorn x:app 127.0.0.1:8101", port(8101), "http://127.0.0.1:8101"),
        (
            "conf",
            "WorkingDirectory=/srv/fractal\nEnvironment=WHERE=127.0.0.1:8102\nExecStart=/opt/v/bin/gunicorn x:app",
            port(8102),
            "http://127.0.0.1:8102",
        ),
        (
            "expanded",
            'Environment=WHERE=127.0.0.1:8103 "OPTS=x:app --reload"\nExecStart=/opt/v/bin/gunicorn $OPTS ${WHERE}',
            port(8103),
            "http://127.0.0.1:8103",
        ),
        (
            "shell",
            'Environment=WHERE=127.0.0.1:8104\nExecStart=/bin/sh -c "cd /opt/v ; . bin/activate ; exec gunicorn x:app"',
            port(8104),
            "http://127.0.0.1:8104",
        ),
        (
            "module",
            "ExecStart=/opt/v/bin/python3 -m gunicorn x:app 127.0.0.1:8105",
            port(8105),
            "http://127.0.0.1:8105",
        ),
        ("unix", "ExecStart=/opt/v/bin/gunicorn /run/f.sock", "test -S /run/f.sock", "http+unix://%2Frun%2Ff.sock"),
    ],
)
def test_the_sockets_of_the_processes_tell_where_it_answers(
    machine: HostContainer, name: str, service: str, test: str, url: str
) -> None:
    machine.sh("echo 'PATH=/opt/v/bin:$PATH' > /opt/v/bin/activate")
    run(machine, name, service, test=test)
    found = instance(machine, name)
    assert (found["url"], found["python"], found["version"]) == (url, "/opt/v/bin/python3", "2.16.6")
    health = machine.module("fractal_service_hold", service=name, state="absent", version="2.16.6", timeout=20)
    assert health["health"]["url"] == url
    machine.sh(f"systemctl stop {name}")


def test_an_instance_of_a_template(machine: HostContainer) -> None:
    machine.sh("""
        cd /etc/systemd/system
        printf '[Service]\\nExecStart=/opt/v/bin/gunicorn x:app 127.0.0.1:81%%i\\n' > fractal@.service
        systemctl daemon-reload; systemctl start fractal@20
    """)
    machine.sh(_UNTIL.format(unit="fractal@20", test=port(8120)))
    assert instance(machine, "fractal@20")["url"] == "http://127.0.0.1:8120"
    seen = machine.module("fractal_observe", service="fractal@")
    assert seen["instance"] is None and "template" in seen["reason"]
    machine.sh("systemctl stop fractal@20")


def test_the_distributions_python_is_not_taken(machine: HostContainer) -> None:
    machine.sh(
        "printf '#!/usr/bin/python3\\nprint(1)\\n' > /usr/local/bin/gunicorn; chmod 0755 /usr/local/bin/gunicorn"
    )
    machine.sh("printf '[Service]\\nExecStart=/usr/bin/env gunicorn x:app\\n' > /etc/systemd/system/odd.service")
    machine.sh("systemctl daemon-reload")
    seen = machine.module("fractal_observe", service="odd")
    assert seen["instance"] is None and "/usr/bin/python3, which has no fractal-server" in seen["reason"]
    assert "fractal_server_python" in seen["reason"]
    seen = machine.module("fractal_observe", service="odd", python="/opt/v/bin/python3")
    assert seen["instance"]["version"] == "2.16.6"
    assert not seen["database"]["reachable"] and ".fractal_server.env: No such file" in seen["database"]["reason"]
    assert seen["environment"]["failed"] and "no environment file" in seen["environment"]["msg"]
    machine.sh("rm /usr/local/bin/gunicorn")


def test_a_socket_rests_while_its_service_is_held_and_comes_back_first(machine: HostContainer) -> None:
    run(
        machine,
        "fractal-server",
        "Environment=WHERE=127.0.0.1:8999\nExecStart=/opt/v/bin/gunicorn x:app",
        "ListenStream=8130",
    )
    machine.sh(_UNTIL.format(unit="fractal-server.socket", test=port(8130)))
    machine.sh(_UNTIL.format(unit="fractal-server.service", test=":"))
    assert instance(machine, "fractal-server")["url"] == "http://127.0.0.1:8130"
    held = machine.module("fractal_service_hold", service="fractal-server")
    assert held["changed"], held
    for _request in range(30):  # systemd allows 20 starts within two seconds
        machine.sh(f"! {port(8130)}")
    states = "systemctl is-active fractal-server.socket fractal-server.service || :"
    assert machine.sh(states).split() == ["inactive", "inactive"]
    machine.sh("systemctl daemon-reload; ! systemctl start fractal-server.socket 2>/dev/null")
    again = machine.module("fractal_service_hold", service="fractal-server")
    assert not again["changed"], again
    back = machine.module(
        "fractal_service_hold", service="fractal-server", state="absent", version="2.16.6", timeout=30
    )
    assert "health" in back, back
    assert back["health"]["url"] == "http://127.0.0.1:8130"
    assert machine.sh(states).split() == ["active", "active"]
    assert machine.sh("ls -d /etc/systemd/system/fractal-server.*.d 2>/dev/null || :") == ""
    machine.sh("systemctl stop fractal-server.socket fractal-server.service; rm /etc/systemd/system/fractal-server.*")
    machine.sh("systemctl daemon-reload")


def test_units_and_processes_that_share_the_environment_are_named(machine: HostContainer) -> None:
    script = """
import json, sys
sys.path.insert(0, "/opt/precheck-test")
from types import SimpleNamespace
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.sharing import check_shared
host = SimpleNamespace(unit=read_unit("one"), instance=SimpleNamespace(environment="/opt/v"), values={})
print(json.dumps([(one.id, one.message) for one in check_shared(host)]))
"""
    run(machine, "one", "ExecStart=/opt/v/bin/gunicorn x:app 127.0.0.1:8140", test=port(8140))
    assert machine.sh(f"python3 - <<'PY'\n{script}\nPY").strip() == "[]"
    machine.sh("""
        printf '[Service]\\nExecStart=/opt/v/bin/fractalctl start\\n' > /etc/systemd/system/two.service
        printf '[Timer]\\nOnCalendar=daily\\n' > /etc/systemd/system/two.timer
        systemctl daemon-reload; systemctl start two.timer
        systemd-run -q --scope --unit=shell setsid /opt/v/bin/python3 -c 'import time; time.sleep(600)' < /dev/null &
        until pgrep -f 'time.sleep.600' > /dev/null; do read -rt 0.1 <> <(:) || :; done
    """)
    found = machine.sh(f"python3 - <<'PY'\n{script}\nPY")
    assert "two.service" in found and "time.sleep(600)" in found and "unit.shared_process" in found
    machine.sh("systemctl stop one two.timer shell.scope")
