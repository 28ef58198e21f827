"""The prechecks on real hosts: systemd, SLURM, sudo, PostgreSQL, OpenID provider, Node.

A good host first, then everything that can be wrong at once: each must be found, in one run.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from host_containers import HostContainer, running_pair

pytestmark = pytest.mark.xdist_group("precheck-pair")  # one pair for all, in this order
_MODULE = "fractal_server_precheck"
_BREAK = """
cd /opt/fractal/server
unit=/etc/systemd/system/fractal-server.service.d/50-odd.conf
mkdir -p "$(dirname $unit)"
printf '[Service]\\nUMask=0077\\nNoNewPrivileges=yes\\nRestart=no\\nExecStart=\\n' > $unit
echo 'ExecStart=/opt/fractal/venv/bin/gunicorn --workers 3 fractal_server.main:app' >> $unit
echo 'Environment=FRACTAL_LOGGING_LEVEL=10 JWT_EXPIRE_SECONDS=84600' >> $unit
systemctl disable -q fractal-server
systemctl daemon-reload
echo '# changed' >> $unit
touch -d '+1 minute' $unit
curl -s http://localhost:8000/api/settings/ http://localhost:8000/auth/users/1/settings/ > /dev/null
echo 'fractal ALL=(bob) NOPASSWD: /usr/bin/sbatch' > /etc/sudoers.d/fractal
chmod 0700 /opt/fractal/jobs
systemctl stop slurmctld oidc-mock
sed -i 's#^FRACTAL_SLURM_WORKER_PYTHON=.*#FRACTAL_SLURM_WORKER_PYTHON=/usr/bin/python3.11#' .fractal_server.env
echo '{"default_slurm_config": {' > config_slurm.json
cd /
runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 fractal_db <<'SQL'
UPDATE user_settings SET slurm_user = 'nobody-here'
    WHERE id = (SELECT user_settings_id FROM user_oauth WHERE email = 'bob@example.org');
UPDATE jobv2 SET status = 'submitted' WHERE id = (SELECT min(id) FROM jobv2);
INSERT INTO taskgroupactivityv2 (user_id, timestamp_started, pkg_name, version, status, action)
    VALUES (1, now() - interval '1 day', 'p', '1', 'ongoing', 'collect');
UPDATE alembic_version SET version_num = 'b3ffb095f973';
ALTER ROLE fractal NOCREATEDB;
ALTER TABLE jobv2 OWNER TO postgres;
GRANT SELECT ON jobv2 TO fractal;
SQL
for program in /usr/lib/postgresql/*/bin/pg_dump /usr/bin/pg_dump /usr/bin/unzip; do
    mv $program $program.away
done
mv /usr/lib/python3.11/ensurepip /usr/lib/python3.11/ensurepip.away
mkdir /opt/empty
"""
UNIT, SLURM_CONFIG = "fractal-server.service", "/opt/fractal/server/config_slurm.json"
EXPECTED = {
    ("config.not_json", SLURM_CONFIG),
    ("release.no_venv", "/usr/bin/python3.11"),
    ("release.not_offered", "2.17.0"),
    ("release.not_offered", "2.17.2"),
    ("release.program_missing", "unzip"),
    ("unit.needs_reload", UNIT),
    ("unit.not_enabled", UNIT),
    ("unit.no_restart", UNIT),
    ("unit.several_workers", UNIT),
    ("unit.umask", UNIT),
    ("unit.variable_shadowed", "FRACTAL_LOGGING_LEVEL"),
    ("unit.no_new_privileges", UNIT),
    ("oauth.provider_unreachable", "OAUTH_MOCK_OIDC_CONFIGURATION_ENDPOINT"),
    ("slurm.no_answer", "squeue"),
    ("worker.broken", "/usr/bin/python3.11"),
    ("client.gone_endpoints", "API"),
    ("database.no_dump_programs", "pg_dump"),
    ("database.not_readable", "fractal"),
    ("database.not_owner", "fractal"),
    ("database.no_createdb", "fractal"),
    ("database.no_frozen_copy", "fractal_db"),
    ("database.revision_differs", "fractal_db"),
    ("work.job_stale", "job"),
    ("work.activity_stale", "activity"),
    ("slurm.user_unknown", "slurm_user"),
    *{("slurm.sudo_refused", program) for program in ("sbatch", "scancel", "cat", "mkdir")},
    ("slurm.folder_closed", "/opt/fractal/jobs"),
}


# Debian 12's own Node, with OAuth; and nobody to ask for help.
OF_THE_BED = {("web.node_cookies", "/usr/bin/node"), ("web.no_support_address", "PUBLIC_FRACTAL_ADMIN_SUPPORT_EMAIL")}


def web_server(version: str) -> dict[str, object]:
    """Return a running server, as fractal_observe describes it."""
    return {"active_state": "active", "hold": None, "version": version}


_UP = """
for i in $(seq 600); do
    curl -sf http://localhost:8000/api/alive/ > /dev/null && exit 0
    read -rt 0.1 <> <(:) || :
done
false
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[HostContainer, HostContainer]]:
    yield from running_pair()


def digest(host: HostContainer) -> str:
    """Return a digest of the rows, files, packages and units of the server."""
    return host.sh("""
        cd /
        runuser -u postgres -- pg_dump fractal_db | grep -v '^.restrict\\|^.unrestrict' | sha256sum
        find /opt/fractal /etc /usr/local /var/backups /root -xdev -type f -printf '%p %s %T@\\n' | sort | sha256sum
        /opt/fractal/venv/bin/python3 -m pip freeze 2>/dev/null | sha256sum
        dpkg-query -W | sha256sum
        systemctl show fractal-server --property=MainPID,NRestarts,ActiveEnterTimestamp
    """)


def test_good_server_and_nothing_changes(pair: tuple[HostContainer, HostContainer]) -> None:
    server, _unused = pair
    before = digest(server)
    options = {"target_version": "2.17.2", "wheelhouse": "/opt/wheelhouse"}
    found = server.module(_MODULE, service="fractal-server", **options)["findings"]
    assert {finding["id"] for finding in found} <= {"client.api_changes", "client.gone_endpoints"}
    users = server.module("fractal_user_precheck", service="fractal-server")
    assert [finding for finding in users["findings"] if finding["severity"] == "blocker"] == []
    assert digest(server) == before


def test_good_web_host(pair: tuple[HostContainer, HostContainer]) -> None:
    _unused, web = pair
    archive = "/opt/archives/node-18-fractal-web-v1.21.1.tar.gz"
    checksum = web.sh(f"sha256sum {archive}").split()[0]
    before = web.sh("find /opt /etc -xdev -type f -printf '%p %s %T@\\n' | sort")
    options = {"version": "1.21.1", "server_version": "2.17.0", "archive": archive, "checksum": checksum}
    server = web_server("2.16.6")
    assert web.findings("fractal_web_precheck", server=server, **options) == OF_THE_BED
    assert web.findings("fractal_web_precheck", server=web_server("2.16.5"), **options) == {
        *OF_THE_BED,
        ("web.server_is_another", "http://server:8000"),
    }
    assert web.sh("find /opt /etc -xdev -type f -printf '%p %s %T@\\n' | sort") == before


_AT_80 = """
unit=/etc/systemd/system/fractal-web.service.d/50-port.conf
mkdir -p "$(dirname $unit)"
printf '[Service]\\nAmbientCapabilities=CAP_NET_BIND_SERVICE\\nEnvironment=HOST=::1 PORT=80\\n' > $unit
cp -a /opt/fractal-web/.env /root/web.env
sed -i '/^\\(HOST\\|PORT\\)=/d' /opt/fractal-web/.env
systemctl daemon-reload
systemctl restart fractal-web
"""
_AT_ITS_OWN = """
rm /etc/systemd/system/fractal-web.service.d/50-port.conf
mv /root/web.env /opt/fractal-web/.env
systemctl daemon-reload
systemctl restart fractal-web
"""
_STATUS = "curl -s -o /dev/null -w '%{http_code}' --retry 30 --retry-delay 1 --retry-connrefused "


def test_the_maintenance_page_takes_an_ipv6_address_with_a_port_that_is_not_everybodys(
    pair: tuple[HostContainer, HostContainer],
) -> None:
    """Its account is nobody, who may bind neither."""
    _unused, web = pair
    web.sh(_AT_80)
    try:
        assert web.sh(_STATUS + "'http://[::1]:80/alive'") == "200"
        up = web.module("fractal_maintenance_page", service="fractal-web", state="present", patience=300, deadline=600)
        assert up["page"] is True, up
        assert web.sh("curl -s -o /dev/null -w '%{http_code}' 'http://[::1]:80/alive'") == "503"
        process = web.sh("systemctl show -P MainPID fractal-maintenance-fractal-web.service").strip()
        assert web.sh(f"stat -c %U /proc/{process}").strip() == "nobody"
        looked = web.module("fractal_observe", kind="web", service="fractal-web")
        assert looked["instance"]["page_is_up"] is True
        down = web.module("fractal_maintenance_page", service="fractal-web", state="absent")
        assert down["page"] is False and web.sh(_STATUS + "'http://[::1]:80/alive'") == "200"
    finally:
        web.sh(_AT_ITS_OWN)
    assert web.sh(_STATUS + "http://localhost:5173/alive") == "200"


def test_another_unit_of_the_same_instance_and_an_address_at_which_nobody_answers(
    pair: tuple[HostContainer, HostContainer],
) -> None:
    server, web = pair
    server.sh("""
        cd /etc/systemd/system
        sed 's/--port 8000/--port 8010/' fractal-server.service > fractal-server@test.service
        sed -i '/^ExecStart=/i ExecStartPre=/bin/touch /opt/fractal/server/.fractal_server.env' fractal-server.service
        systemctl daemon-reload
        systemctl start fractal-server@test
        systemctl restart fractal-server
    """)
    server.sh(_UP)
    result = server.module(
        _MODULE,
        service="fractal-server",
        target_version="2.17.2",
        wheelhouse="/opt/wheelhouse",
        url="http://127.0.0.1:8001",
    )
    found = {finding["id"]: finding["message"] for finding in result["findings"]}
    assert {"unit.shared", "unit.start_writes_file", "unit.no_answer"} <= set(found)
    shared = (
        "the Python environment /opt/fractal/venv",
        "the working directory",
        "the database",
        "fractal-server@test",
    )
    assert all(words in found["unit.shared"] for words in shared)
    assert "http://127.0.0.1:8001" in found["unit.no_answer"]
    assert "/bin/touch" in found["unit.start_writes_file"]
    server.sh("""
        cd /etc/systemd/system
        systemctl stop fractal-server@test
        rm fractal-server@test.service
        sed -i '/^ExecStartPre=/d' fractal-server.service
        systemctl daemon-reload
        systemctl restart fractal-server
    """)
    server.sh(_UP)
    options = {"version": "1.21.1", "url": "http://127.0.0.1:3000", "archive": "/none", "server": web_server("2.16.6")}
    assert ("web.no_answer", "fractal-web.service") in web.findings("fractal_web_precheck", **options)


def test_everything_wrong_on_a_web_host_is_found_in_one_run(pair: tuple[HostContainer, HostContainer]) -> None:
    _unused, web = pair
    web.sh("""
        systemctl stop fractal-web
        sed -i -e 's#^ORIGIN=.*#ORIGIN=http://fractal.example.org#' -e 's#//server:#//nowhere:#' /opt/fractal-web/.env
        printf "AUTH_COOKIE_NAME=mine\\nLOG_FILE='never closed\\n" >> /opt/fractal-web/.env
        mkdir -p /etc/systemd/system/fractal-web.service.d
        printf '[Service]\\nUser=\\n' > /etc/systemd/system/fractal-web.service.d/50-odd.conf
        systemctl daemon-reload
        echo '#' >> /etc/systemd/system/fractal-web.service.d/50-odd.conf
        touch -d '+1 minute' /etc/systemd/system/fractal-web.service.d/50-odd.conf
        systemd-run -q --unit=other --property=DynamicUser=no node -e 'require("http").createServer().listen(5173)'
        timeout 30 bash -c 'until (echo > /dev/tcp/127.0.0.1/5173) 2>/dev/null; do read -rt 0.1 <> <(:) || :; done'
        cp /opt/archives/node-18-fractal-web-v1.21.1.tar.gz /opt/archives/node-20-fractal-web-v1.21.1.tar.gz
    """)
    unit, archive = "fractal-web.service", "/opt/archives/node-20-fractal-web-v1.21.1.tar.gz"
    options = {"version": "1.21.1", "server_version": "2.16.6", "archive": archive, "checksum": "0" * 64}
    assert web.findings("fractal_web_precheck", **options) == {
        *OF_THE_BED,
        ("web.unit_not_active", unit),
        ("web.unit_needs_reload", unit),
        ("web.runs_as_root", unit),
        ("environment.line_unreadable", "fractal-web's file"),
        ("web.node_mismatch", "/usr/bin/node"),
        ("web.version_pairing", "1.21.1"),
        ("web.archive_unusable", archive),
        ("web.port_taken", "5173"),
        ("web.cookie_name", "AUTH_COOKIE_NAME"),
        ("web.oauth_needs_https", "ORIGIN"),
        ("web.server_unreachable", "http://nowhere:8000"),
    }


def test_everything_wrong_on_a_server_is_found_in_one_run(pair: tuple[HostContainer, HostContainer]) -> None:
    server, _unused = pair
    server.sh(_BREAK)
    options = {"target_version": "2.17.2", "wheelhouse": "/opt/empty"}
    assert server.findings(_MODULE, service="fractal-server", **options) == EXPECTED


def test_unit_that_does_not_run_and_database_that_is_down(pair: tuple[HostContainer, HostContainer]) -> None:
    server, _unused = pair
    server.sh(f"systemctl stop fractal-server postgresql; echo '{{' > {SLURM_CONFIG}")
    found = server.findings(_MODULE, service="fractal-server", target_version="2.17.2", wheelhouse="/nonexistent")
    assert {("unit.not_active", UNIT), ("database.unreachable", UNIT)} <= found
    assert {("config.not_json", SLURM_CONFIG), ("release.not_offered", "2.17.2")} <= found


def test_account_and_working_directory_that_do_not_exist(pair: tuple[HostContainer, HostContainer]) -> None:
    server, _unused = pair
    server.sh("""
        drop_in=/etc/systemd/system/fractal-server.service.d/60-nowhere.conf
        mkdir -p "$(dirname $drop_in)"
        printf '[Service]\\nUser=nobody-here\\nWorkingDirectory=/opt/empty-folder\\n' > $drop_in
        systemctl daemon-reload
    """)
    found = server.findings(_MODULE, service="fractal-server", target_version="2.17.2", wheelhouse="/nonexistent")
    assert {("unit.account_unknown", UNIT), ("unit.no_environment_file", UNIT)} <= found
    assert not {"database.unreachable", "check.failed", "release.backend_local"} & {rule for rule, _subject in found}
    assert ("release.not_offered", "2.17.2") in found
