# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What can be wrong with a server, apart from its users, as a table."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    FindingRule,
    blocker,
    rule_table,
)

_MIGRATION = "fractal-server 2.17.0, data_migrations/2_17_0.py"


CHAPTERS = {
    "database": "Database",
    "host": "Hosts",
    "oauth": "OAuth",
    "release": "Releases to install",
    "slurm": "SLURM",
    "unit": "The unit of fractal-server",
    "work": "Work in flight",
    "worker": "Worker Python",
}

FINDINGS = rule_table(
    # --- the releases to install ---
    blocker(
        "release.unknown",
        "No way to the target",
        "{reason}",
        "Set fractal_target_version to a release that this collection knows.",
    ),
    blocker(
        "release.python_unsupported",
        "Python too old or too new",
        "fractal-server {subject} needs Python >= {lowest} and < {too_new}; for {environment} there is {pythons}.",
        "Install such a Python with its venv into /usr/bin, /usr/local/bin or /opt/<name>/bin, or name it in "
        "fractal_pythons. The whole way runs on {whole}. With fractal_install_strategy=in_place, the environment "
        "itself needs it.",
        "fractal-server, pyproject.toml of the release",
        settles={"fractal_pythons": [None]},
    ),
    blocker(
        "release.not_offered",
        "pip cannot find the release",
        "pip cannot get fractal-server {subject} from {source}: {reason}",
        "Name a proxy with fractal_environment, or an index with fractal_pip_extra_args; or put the wheels of "
        "fractal-server {subject} and all it needs into a folder on the host and set fractal_wheelhouse.",
        settles={
            "fractal_environment": {"https_proxy": None},
            "fractal_wheelhouse": None,
            "fractal_pip_extra_args": [None],
        },
    ),
    FindingRule(
        "release.not_checked",
        "warning",
        "Package index not asked",
        "Neither {subject} nor {base} has pip, so it was not checked whether the new release can be had.",
        "Nothing, if the upgrade's first stage succeeds: it builds the new environment while the service runs.",
    ),
    blocker(
        "release.no_venv",
        "No virtual environment can be made",
        "{subject} cannot make virtual environments: {reason}",
        "Install the venv package of that Python (python3-venv), or set fractal_install_strategy to in_place.",
        settles={"fractal_install_strategy": "in_place"},
        asks=True,
    ),
    blocker(
        "release.not_a_venv",
        "fractal-server does not run in a virtual environment",
        "{subject} is not a virtual environment, so its successor cannot take its place.",
        "Set fractal_install_strategy to in_place.",
        settles={"fractal_install_strategy": "in_place"},
    ),
    FindingRule(
        "release.program_missing",
        "warning",
        "Program that the release calls is missing",
        "fractal-server {release} calls {subject}, which is not installed.",
        "Install {subject} before the upgrade.",
        "fractal-server 2.17.2, CHANGELOG",
    ),
    # --- database ---
    blocker(
        "database.postgres_too_old",
        "PostgreSQL too old",
        "{subject} runs on PostgreSQL {version}; fractal-server's driver needs 10 or later.",
        "Upgrade PostgreSQL first.",
        "psycopg 3",
    ),
    blocker(
        "database.no_dump_programs",
        "No suitable pg_dump and pg_restore",
        "{reason}",
        "Install PostgreSQL's client programs, of the server's version or later, on this host.",
    ),
    blocker(
        "database.not_readable",
        "Database cannot be dumped",
        "The role {subject} may not read {objects}, or not all rows of it, so the database cannot be dumped.",
        "Let {subject} be their owner, or give it SELECT on them and USAGE on their schema; a table with row-level "
        "security, whose owner it is not, needs BYPASSRLS or another database.",
    ),
    blocker(
        "database.not_owner",
        "Schema cannot be migrated",
        "The role {subject} does not own {objects}, so set-db cannot alter them.",
        "As PostgreSQL's administrator, in this database: REASSIGN OWNED BY <their owner> TO the role {subject}.",
        "fractal-server 2.17.0, migrations/versions",
    ),
    blocker(
        "database.no_create",
        "Tables cannot be made",
        "The role {subject} may not create tables in the schema {schema}, so neither can set-db make those of the new "
        "release nor a rollback those of the backup.",
        "As PostgreSQL's administrator, in this database: GRANT CREATE ON SCHEMA {schema} TO {quoted};",
        "fractal-server 2.17.0, migrations/versions; PostgreSQL 15, release notes (schema public)",
    ),
    blocker(
        "database.no_createdb",
        "Backup cannot be proved",
        "The role {subject} may not create databases, so the backup cannot be proved by restoring it.",
        "As PostgreSQL's administrator: ALTER ROLE {quoted} CREATEDB; or set fractal_backup_proof to list.",
        settles={"fractal_backup_proof": "list"},
        asks=True,
    ),
    blocker(
        "database.not_dumped",
        "Database cannot be dumped",
        "pg_dump cannot read the schema as the role {subject}. {reason}",
        "Mend what pg_dump names.",
    ),
    blocker(
        "database.scratch_unreachable",
        "No other database can be used",
        "The backup is proved in another database beside {subject}, which cannot be made or connected to: {reason}",
        "Let the role connect to all databases whose names begin with {subject}: in pg_hba.conf, and in [databases] "
        "of pgbouncer (an entry for *), if there is one. Or set fractal_backup_proof to list; a rollback then works "
        "within the database.",
        settles={"fractal_backup_proof": "list"},
        asks=True,
    ),
    blocker(
        "database.trial_failed",
        "Backup cannot be proved",
        "The schema of {subject} cannot be restored into a scratch database: {reason}",
        "Mend what PostgreSQL names, or set fractal_backup_proof to list.",
        settles={"fractal_backup_proof": "list"},
        asks=True,
    ),
    FindingRule(
        "database.no_frozen_copy",
        "warning",
        "The downtime will hold a dump",
        "No frozen copy of the database {subject} ({size}) can be made as things are: {reasons}. The backup inside the "
        "downtime will be a dump and its proof, which take about {dump}; a copy takes about {copy}.",
        "Mend what is named, or plan the longer downtime. With fractal_backup_method=dump this is not asked.",
    ),
    blocker(
        "database.copy_refused",
        "A frozen copy cannot be made",
        "fractal_backup_method is copy, but no frozen copy of the database {subject} can be made: {reasons}.",
        "Mend what is named, or set fractal_backup_method to auto, which makes a dump instead.",
        settles={"fractal_backup_method": "auto"},
        asks=True,
    ),
    FindingRule(
        "database.left_out",
        "info",
        "Not all in the database can be proved",
        "Only an administrator of PostgreSQL can make {count} thing(s) in the database again, so the proof of the "
        "backup goes without them: {objects}.",
        "Nothing: the backup holds them, and fractal-server needs none. The manifest lists all.",
    ),
    FindingRule(
        "database.left_behind",
        "warning",
        "Not all would come back",
        "A rollback makes a fresh database, in which the role {subject} cannot make again: {behind}. Nor can it "
        "restore within the database, because of {objects}. What had the name is kept aside and has them.",
        "Make {quoted} a member of their owners for the time of the upgrade, or keep the statements that make them.",
    ),
    FindingRule(
        "database.no_way_back",
        "blocker",
        "A rollback would be refused",
        "The role {subject} can only restore within the database, where {objects} would be lost: they need Fractal's "
        "tables, and the role could not make them again. A rollback would be refused.",
        "As PostgreSQL's administrator: GRANT <their owner> TO {quoted}; or ALTER ROLE {quoted} CREATEDB; or remove "
        "them until the upgrade is finished.",
    ),
    FindingRule(
        "database.unmarked_copies",
        "info",
        "Databases of an earlier version",
        "These databases beside {subject} look like those that an early version of this collection made. They carry no "
        "mark of it, so they are never dropped: {names}.",
        "Drop them if you do not need them.",
    ),
    FindingRule(
        "database.other_sessions",
        "warning",
        "Others are connected to the database",
        "{count} session(s) of others are connected to the database {subject}: {who}. Their locks could stop the "
        "schema migration, and what they write after the backup would be lost by a rollback.",
        "Stop these programs for the upgrade.",
    ),
    FindingRule(
        "database.revision_differs",
        "blocker",
        "Schema and installed release do not belong together",
        "The database {subject} is at alembic revision {revision} ({at}); fractal-server {version} expects {expected}.",
        "Install the release that the schema belongs to, or run set-db of {version} if that was forgotten.",
        "fractal-server, migrations/versions of each release",
    ),
    # --- work in flight ---
    FindingRule(
        "work.job_in_flight",
        "warning",
        "Jobs run",
        "{count} job(s) run now: {who}. fractal_jobs_in_flight is {mode}.",
        "With 'fail', the upgrade does not begin while jobs run; with 'wait', it waits for their end; with 'abort', it "
        "ends them as failed. Choose a quiet hour.",
        "fractal-server 2.16.6, runner/shutdown.py",
        settles={"fractal_jobs_in_flight": "wait"},
        asks=True,
    ),
    FindingRule(
        "work.activity_in_flight",
        "warning",
        "Task collections run",
        "{count} task-group activities run now: {who}. fractal_jobs_in_flight is {mode}.",
        "Let them end before the upgrade; a stop kills them. With 'abort', they are marked as failed then.",
        "fractal-server 2.16.6, schemas/v2/task_group.py",
    ),
    FindingRule(
        "work.job_stale",
        "warning",
        "Jobs that only seem to run",
        "{count} job(s) are 'submitted' but began before fractal-server was last started, so nothing runs them any "
        "more: {who}. They block their datasets.",
        "For each: PATCH /admin/v2/job/<id>/ with status failed, before the upgrade; or fractal_jobs_in_flight: abort.",
        "fractal-server 2.16.6, routes/admin/v2/job.py",
        settles={"fractal_jobs_in_flight": "abort"},
        asks=True,
    ),
    FindingRule(
        "work.activity_stale",
        "warning",
        "Task collections that only seem to run",
        "{count} task-group activities began before fractal-server was last started, so nothing runs them any "
        "more: {who}.",
        "Set their status to failed in the table taskgroupactivityv2, Fractal has no endpoint for it; or "
        "fractal_jobs_in_flight: abort.",
        "fractal-server 2.16.6, schemas/v2/task_group.py",
        settles={"fractal_jobs_in_flight": "abort"},
        asks=True,
    ),
    FindingRule(
        "work.workflow_starts_non_parallel",
        "warning",
        "Workflows that fail on an empty dataset",
        "{count} workflow(s) begin with a plain non_parallel task; the new release does not run them on a dataset "
        "without images: {who}.",
        "Tell their owners: the first task must be of type converter_non_parallel.",
        "fractal-server 2.17.1, CHANGELOG (2971)",
    ),
    # --- host ---
    FindingRule(
        "host.disk_full",
        "blocker",
        "Not enough room",
        "The file system {subject} has {free} free; the upgrade needs {needed}: {parts}.",
        "Make room, or set fractal_backup_root to a folder on another file system.",
        settles={"fractal_backup_root": None},
    ),
    FindingRule(
        "host.clock_differs",
        "warning",
        "Clocks differ",
        "The clocks of this host and of the database server {subject} differ by {seconds} seconds.",
        "Synchronize both (NTP): log-in tokens and times of jobs depend on it.",
    ),
    FindingRule(
        "unit.not_active",
        "warning",
        "fractal-server does not run",
        "{subject} is {state}.",
        "Start it, or repair it first: an upgrade mends nothing that was broken before.",
    ),
    FindingRule(
        "unit.no_answer",
        "blocker",
        "fractal-server does not answer",
        "{subject} runs, but nothing of fractal-server answers at {url}: {reason}. The upgrade would wait there in "
        "vain.",
        "Set fractal_server_url to the address at which its API answers on its own host, or repair it first.",
        settles={"fractal_server_url": None},
    ),
    FindingRule(
        "unit.other_version",
        "blocker",
        "Another release of fractal-server answers",
        "At {url} fractal-server {found} answers; in the environment of {subject} {version} is installed.",
        "If {subject} was not restarted after its release was changed, restart it. If another instance answers there, "
        "set fractal_server_url to the address of this one.",
        settles={"fractal_server_url": None},
    ),
    FindingRule(
        "unit.address_unknown",
        "warning",
        "Address known only when it runs",
        "{subject} does not run, and it cannot be told where it will listen: {reason}.",
        "Start it, so that its sockets tell; or set fractal_server_url to the address at which its API answers on its "
        "own host.",
        settles={"fractal_server_url": None},
    ),
    FindingRule(
        "unit.synchronises",
        "blocker",
        "The start changes the environment",
        "{subject}: {reason}",
        "Let ExecStart= name the environment's own program, such as {environment}/bin/fractalctl start; or uv run "
        "--no-sync.",
        "documentation of uv run, pixi run, Poetry, PDM and Hatch",
    ),
    FindingRule(
        "unit.start_writes_file",
        "blocker",
        "The environment file is written at each start",
        "{env_file} is written anew whenever {subject} starts{how}, so the file of the new release would be replaced "
        "by the old one.",
        "Take that out of the unit, and keep the settings in {env_file} itself. If it does not write them, accept "
        "unit.start_writes_file.",
    ),
    FindingRule(
        "unit.start_names_file",
        "warning",
        "A command before the start has to do with the environment file",
        "{subject} runs before each start: {command}. If that writes {env_file}, the file of the new release would be "
        "replaced by the old one.",
        "Look at it, and take it out of the unit if it writes the file.",
    ),
    FindingRule(
        "unit.shared",
        "blocker",
        "Another unit shares what will be upgraded",
        "{subject} shares {what} with {unit}. It would be upgraded half: its process goes on with the old release on "
        "what is new, and its next start is one of the new release.",
        "Give it an environment, a folder and a database of its own; or stop and disable it for the upgrade, and "
        "accept unit.shared if it belongs to this instance.",
    ),
    FindingRule(
        "unit.shared_process",
        "warning",
        "Other processes run from the environment",
        "Processes that do not belong to {unit} run from {subject}: {who}.",
        "End them before the upgrade, which replaces the environment under them.",
    ),
    FindingRule(
        "unit.needs_reload",
        "warning",
        "Unit file changed on disk",
        "{subject} or one of its drop-ins was changed, but systemd still uses the old text; the upgrade reloads it.",
        "Check the change, then: systemctl daemon-reload.",
    ),
    FindingRule(
        "unit.variable_shadowed",
        "warning",
        "Variable set twice",
        "{subject} is set by the unit and differently by {env_file}; the unit's value counts.",
        "Remove one of the two, so that nobody changes the wrong one.",
        "systemd.exec(5); fractal-server 2.16.6, config.py",
    ),
    blocker(
        "unit.no_environment_file",
        "No environment file in the working directory",
        "{subject} has the working directory {directory}, where there is no .fractal_server.env; fractal-server and "
        "the data migration look for it there and nowhere else. Nothing else was checked that depends on it.",
        "Set WorkingDirectory= of the unit to the folder with .fractal_server.env; write there too what only the unit "
        "sets{files}.",
        "fractal-server 2.17.0, __main__.py (update-db-data) and config/_settings_config.py",
    ),
    blocker(
        "unit.account_unknown",
        "Account of the unit does not exist",
        "{subject} runs as {account}, an account that this host does not know.",
        "Correct User= in the unit, or create the account.",
    ),
    FindingRule(
        "unit.runs_as_root",
        "warning",
        "fractal-server runs as root",
        "{subject} has no User=, so fractal-server runs as root.",
        "Give the unit an account of its own.",
    ),
    FindingRule(
        "unit.not_enabled",
        "info",
        "Unit does not start with the host",
        "{subject} is {state}: after a reboot somebody has to start it.",
        "systemctl enable {subject}, if that is not meant.",
    ),
    FindingRule(
        "unit.no_restart",
        "info",
        "Unit does not start again after a crash",
        "{subject} has no Restart=.",
        "Set Restart=on-failure in the unit.",
    ),
    FindingRule(
        "unit.several_workers",
        "info",
        "Several workers",
        "{subject} runs {count} workers: gunicorn kills them 30 seconds after a stop, and their jobs stay "
        "'submitted' for ever.",
        "Let jobs end before every stop. The upgrade drains them first.",
        "gunicorn, --graceful-timeout; fractal-server 2.16.6, runner/shutdown.py",
    ),
    FindingRule(
        "unit.umask",
        "warning",
        "Umask under which jobs fail",
        "{subject} has UMask={umask}, so the SLURM users cannot read the files of their jobs.",
        "Set UMask=0022 in the unit.",
    ),
    FindingRule(
        "unit.no_new_privileges",
        "warning",
        "Unit forbids sudo",
        "{subject} has NoNewPrivileges=yes, so fractal-server cannot run sudo, and every job fails.",
        "Remove NoNewPrivileges from the unit.",
    ),
    blocker(
        "oauth.provider_unreachable",
        "OpenID provider does not answer",
        "{url} ({subject}) does not answer as an OpenID provider: {reason}. fractal-server asks it when it starts, "
        "and does not start without.",
        "Repair the provider or the network, or remove the OAuth client.",
        "fractal-server 2.17.0, app/routes/auth/oauth.py",
    ),
    # --- SLURM ---
    FindingRule(
        "slurm.no_answer",
        "warning",
        "SLURM does not answer",
        "{subject} does not work for {account}, which fractal-server runs as: {reason}",
        "Install or repair SLURM's client programs on this host.",
    ),
    FindingRule(
        "slurm.user_unknown",
        "warning",
        "SLURM users without account here",
        "These slurm_user have no account on this host, so their jobs fail: {names}.",
        "Correct slurm_user with fractal_users, or create the accounts.",
    ),
    FindingRule(
        "slurm.sudo_refused",
        "warning",
        "sudo refused",
        "fractal-server may not run {subject} as {accounts}: {reason}",
        "Allow sbatch, scancel, cat and mkdir for these accounts in sudoers, without password. (A rule that allows "
        "only certain arguments refuses this check too; then accept it.)",
        "fractal-server 2.16.6, runner/executors/slurm_sudo",
    ),
    FindingRule(
        "slurm.folder_closed",
        "warning",
        "SLURM user cannot reach a folder",
        "{accounts} cannot read {subject}, so their jobs fail.",
        "Open {subject} and the folders above it for reading (mode 0755).",
    ),
    FindingRule(
        "worker.remote",
        "blocker",
        "The cluster's fractal-server has to be upgraded too",
        "Jobs run with {subject} on the SSH host; fractal-server there must have exactly the server's version.",
        "Put that host into the group fractal_worker, and it is upgraded with the server. Or accept worker.remote and "
        "run there, right after the server's upgrade: {command}",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
    FindingRule(
        "worker.broken",
        "warning",
        "Worker Python does not run fractal-server",
        "{subject} (the workers' Python) has no fractal-server: {reason}",
        "Correct FRACTAL_SLURM_WORKER_PYTHON in the environment file; where resources are in the database already, "
        "jobs_slurm_python_worker of the resource.",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
    FindingRule(
        "worker.other_version",
        "warning",
        "Worker Python has another fractal-server",
        "{subject} (the workers' Python) has fractal-server {found}, the server has {version}; jobs fail.",
        "Install the server's version there now, so that a rollback finds it: {command}",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
    FindingRule(
        "worker.own_environment",
        "blocker",
        "Worker Python has an environment of its own",
        "{subject} (the workers' Python) is not in the server's environment, so the upgrade does not "
        "change it; jobs fail until it has the server's version.",
        "Put this host into the group fractal_worker too, and it is upgraded with the server. Or accept "
        "worker.own_environment and run, right after the server's upgrade: {command}",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
    FindingRule(
        "worker.other_path",
        "info",
        "Worker Python under another name",
        "{subject} (the workers' Python) is the server's own Python, but not by the same name ({python}), "
        "so Fractal runs it through sudo to compare versions.",
        "Set FRACTAL_SLURM_WORKER_PYTHON to {python}, and no sudo rule is needed for it.",
        "fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py",
    ),
    # --- clients ---
)
