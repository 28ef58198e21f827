"""Time and memory of the user check for 1,000, 10,000 and 100,000 users: python tests/bench/bench_user_check.py.

A real PostgreSQL and the Python of the real release 2.16.6; each check is a process of its own. Of the users, one in
twenty is inactive, one in twenty not verified, one in a hundred has settings that stop the migration. Time is that of
the check, statements included, the fastest of three (on a busy machine, look at what the processor did for it);
memory is the greatest of the whole process, interpreter and libraries included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from conftest import COLLECTIONS_ROOT
from postgres_cluster import Database, running_cluster
from releases_environments import FractalFolder, python_of

SIZES = (1_000, 10_000, 100_000)
RUNS = 3
MOST_SECONDS, MOST_MEGABYTES = 3.0, 200.0

_CHECK = """
import json, os, resource, sys, time
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import DatabaseSettings, connect
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_report import check
settings = DatabaseSettings(**json.load(sys.stdin))
with connect(settings, read_only=True) as connection:
    start, processor = time.monotonic(), time.process_time()
    report = check(connection, {}, sys.argv[1], None)
    findings = [finding.as_dict() for finding in report.findings]
    seconds, processor = time.monotonic() - start, time.process_time() - processor
    backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    with open(f"/proc/{backend}/stat") as stat:
        postgres = sum(map(int, stat.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([seconds, processor, postgres, memory, len(findings), len(report.with_access)]))
"""
_USERS = """
INSERT INTO user_settings (id, slurm_accounts, slurm_user, project_dir,
                           ssh_host, ssh_username, ssh_private_key_path, ssh_tasks_dir, ssh_jobs_dir)
SELECT n, '["account1", "account2"]', 'user' || n,
       CASE WHEN n % 100 = 7 THEN 'relative' ELSE '/data/groups/user' || n END,
       'cluster.example.org', 'user' || n, '/home/fractal/.ssh/key' || n, '/home/user' || n || '/tasks',
       '/home/user' || n || '/jobs'
FROM generate_series(1, {number}) AS n;
INSERT INTO user_oauth (id, email, hashed_password, is_active, is_superuser, is_verified, user_settings_id)
SELECT n, 'user' || n || '@example.org', '$2b$12$' || repeat('x', 53), n % 20 <> 0, n = 1, n % 20 <> 3, n
FROM generate_series(1, {number}) AS n;
INSERT INTO oauthaccount (user_id, oauth_name, access_token, account_id, account_email)
SELECT n, 'openid', repeat('t', 200), n, 'user' || n || '@example.org' FROM generate_series(1, {number}) AS n;
INSERT INTO projectv2 (id, name, timestamp_created) SELECT n, 'p', now() FROM generate_series(1, {number}) AS n;
INSERT INTO linkuserprojectv2 (project_id, user_id) SELECT n, n FROM generate_series(1, {number}) AS n;
INSERT INTO jobv2 (user_email, status, start_timestamp, dataset_dump, workflow_dump, project_dump,
                   first_task_index, last_task_index)
SELECT 'user' || (n % {number}) || '@example.org', 'done', now() - interval '1 day', '{{}}', '{{}}', '{{}}', 0, 0
FROM generate_series(1, {number}) AS n;
"""


def measure(database: Database, backend: str, libraries: str) -> list[float]:
    """Return seconds, of them the processor's (check, PostgreSQL), megabytes, findings, users with access."""
    done = subprocess.run(
        [python_of("2.16.6"), "-c", _CHECK, backend],
        input=json.dumps(database.module_args()),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{libraries}:{COLLECTIONS_ROOT}"},
    )
    result: list[float] = json.loads(done.stdout)
    return result


def print_table(libraries: str) -> None:
    """Print the table; ``libraries``: a folder with Ansible alone."""
    over = False
    for cluster in running_cluster():
        template = cluster.create(dbname="template")
        with tempfile.TemporaryDirectory() as folder:
            done = FractalFolder(Path(folder), template).fractalctl("2.16.6", "set-db", "--skip-init-data")
            assert done.returncode == 0, done.stderr
        print("   users     backend  seconds  processor: check  PostgreSQL  us/user    MB  findings  with access")
        for number in SIZES:
            database = cluster.create(template.dbname)
            with database.connect() as connection:
                connection.execute(_USERS.format(number=number).encode())
                connection.execute("ANALYZE")
            for backend in ("slurm_sudo", "slurm_ssh"):
                runs = [measure(database, backend, libraries) for _unused in range(RUNS)]
                seconds, processor, postgres, memory, findings, access = min(runs)
                print(
                    f"{number:>8} {backend:>11} {seconds:>8.2f} {processor:>17.2f} {postgres:>11.2f} "
                    f"{seconds / number * 1e6:>8.1f} {memory:>5.0f} {findings:>9.0f} {access:>12.0f}",
                    flush=True,
                )
                over = over or seconds > MOST_SECONDS or memory > MOST_MEGABYTES
            cluster.drop(database.dbname)
    print(f"limits: {MOST_SECONDS:.0f} s, {MOST_MEGABYTES:.0f} MB: {'EXCEEDED' if over else 'kept'}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder_of_ansible:
        os.symlink(Path(ansible.__file__).parent, os.path.join(folder_of_ansible, "ansible"))
        print_table(folder_of_ansible)
