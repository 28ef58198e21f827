"""Environment files as real instances of 2.16 have them, by name. ``@DIR@`` stands for the working directory.

The database's lines are added by the tests. Two Fernet pairs are given as ``@TOKEN@`` and ``@KEY@``.
"""

from __future__ import annotations

_BASE = """\
# fractal-server
JWT_SECRET_KEY=jwt-secret-canary
"""
_SLURM = """\
FRACTAL_RUNNER_BACKEND=slurm
FRACTAL_TASKS_DIR=@DIR@/tasks
FRACTAL_RUNNER_WORKING_BASE_DIR=@DIR@/jobs
FRACTAL_SLURM_CONFIG_FILE=config_slurm.json
"""
_SSH = _SLURM.replace("=slurm\n", "=slurm_ssh\n") + "FRACTAL_SLURM_WORKER_PYTHON=/opt/cluster/venv/bin/python3\n"
_PYTHONS = """\
FRACTAL_TASKS_PYTHON_DEFAULT_VERSION="3.11"
FRACTAL_TASKS_PYTHON_3_9=/opt/python3.9/bin/python3
FRACTAL_TASKS_PYTHON_3_11=/opt/python3.11/bin/python3
FRACTAL_TASKS_PYTHON_3_12=/opt/python3.12/bin/python3
"""
_EMAIL = """\
FRACTAL_EMAIL_SENDER=fractal@example.org
FRACTAL_EMAIL_PASSWORD=@TOKEN@
FRACTAL_EMAIL_PASSWORD_KEY=@KEY@
FRACTAL_EMAIL_SMTP_SERVER=smtp.example.org
FRACTAL_EMAIL_SMTP_PORT=587
FRACTAL_EMAIL_INSTANCE_NAME="Fractal @ the lab"
FRACTAL_EMAIL_RECIPIENTS=a@example.org,b@example.org
FRACTAL_EMAIL_USE_STARTTLS=true
FRACTAL_EMAIL_USE_LOGIN=true
"""
_OIDC = """\
OAUTH_KEYCLOAK_CLIENT_ID=fractal
OAUTH_KEYCLOAK_CLIENT_SECRET='a secret with # and "quotes"'
OAUTH_KEYCLOAK_OIDC_CONFIGURATION_ENDPOINT=https://idp.example.org/realms/lab/.well-known/openid-configuration
OAUTH_KEYCLOAK_REDIRECT_URL=https://fractal.example.org/auth/login/oauth2
"""

INSTANCES: dict[str, str] = {
    "slurm, the least": _BASE + _SLURM,
    "slurm, as the container example": """\
FRACTAL_TASKS_DIR=@DIR@/Tasks
FRACTAL_RUNNER_BACKEND=slurm
FRACTAL_RUNNER_WORKING_BASE_DIR=@DIR@/Artifacts
FRACTAL_LOGGING_LEVEL=10
FRACTAL_SLURM_CONFIG_FILE=config_slurm.json
FRACTAL_PIXI_CONFIG_FILE=pixi_config.json
JWT_SECRET_KEY=jwt_secret_key
JWT_EXPIRE_SECONDS=84600
FRACTAL_DEFAULT_ADMIN_EMAIL=admin@fractal.xy
FRACTAL_DEFAULT_ADMIN_PASSWORD=1234
FRACTAL_SLURM_WORKER_PYTHON=/venv-server/bin/python3
FRACTAL_TASKS_PYTHON_DEFAULT_VERSION="3.11"
FRACTAL_TASKS_PYTHON_3_11=/venv-server/bin/python3
FRACTAL_API_V1_MODE=include
""",
    "slurm, github": _BASE
    + _SLURM
    + _PYTHONS
    + "# OAuth\nOAUTH_GITHUB_CLIENT_ID=Iv1.0123\nOAUTH_GITHUB_CLIENT_SECRET=gh-secret-canary # rotate\n",
    "slurm, google": _BASE
    + _SLURM
    + "export OAUTH_GOOGLE_CLIENT_ID='x.apps'\nexport OAUTH_GOOGLE_CLIENT_SECRET=\"go'secret\"\n"
    + "OAUTH_GOOGLE_REDIRECT_URL=https://fractal.example.org/auth/login/oauth2\n",
    "slurm, OIDC and e-mail": _BASE + _SLURM + _OIDC + _EMAIL,
    "slurm, e-mail without log-in": _BASE
    + _SLURM
    + _EMAIL.replace("USE_LOGIN=true", "USE_LOGIN=false").replace("@TOKEN@", "no token"),
    "slurm, viewer of users' folders": _BASE
    + _SLURM
    + "FRACTAL_VIEWER_AUTHORIZATION_SCHEME=users-folders\nFRACTAL_VIEWER_BASE_FOLDER=/data/zarr\n",
    "slurm, viewer paths and an unused relative folder": _BASE
    + _SLURM
    + "FRACTAL_VIEWER_AUTHORIZATION_SCHEME=viewer-paths\nFRACTAL_VIEWER_BASE_FOLDER=zarr\n",
    "slurm, Python 3.13 and relative folders": _BASE
    + _SLURM.replace("@DIR@/", "")
    + "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION=3.13\nFRACTAL_TASKS_PYTHON_3_13=/opt/python3.13/bin/python3\n"
    + "FRACTAL_TASKS_PYTHON_3_10=/opt/python3.10/bin/python3\nFRACTAL_PIP_CACHE_DIR=/var/cache/pip\n",
    "slurm, only Python 3.13": _BASE
    + _SLURM
    + "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION=3.13\nFRACTAL_TASKS_PYTHON_3_13=/opt/python3.13/bin/python3\n",
    "slurm, interpolation and odd values": _BASE
    + "BASE=@DIR@\nFRACTAL_TASKS_DIR=${BASE}/tasks/\nFRACTAL_RUNNER_WORKING_BASE_DIR=${BASE}//jobs\n"
    + "FRACTAL_SLURM_CONFIG_FILE=${BASE:-x}/config_slurm.json\nFRACTAL_RUNNER_BACKEND='slurm'\nDB_ECHO=No\n"
    + "FRACTAL_VIEWER_BASE_FOLDER=${FRACTAL_TASKS_DIR}\nHTTPS_PROXY=http://u:p@proxy:3128\nPGSSLMODE=prefer\n"
    + "FRACTAL_SLURM_POLL_INTERVAL= 7 \nPROJECT_NAME=Mine\nFRACTAL_SLURM_POLL_INTERVAL=8\n",
    "slurm, CRLF and byte order mark": ("\ufeff" + _BASE + _SLURM + _PYTHONS + _OIDC).replace("\n", "\r\n")[:-2],
    "slurm_ssh": _BASE + _SSH + _PYTHONS,
    "slurm_ssh with pixi, OIDC, e-mail": _BASE + _SSH + _OIDC + _EMAIL + "FRACTAL_PIXI_CONFIG_FILE=pixi_config.json\n",
    "local": _BASE
    + "FRACTAL_TASKS_DIR=@DIR@/tasks\nFRACTAL_RUNNER_WORKING_BASE_DIR=@DIR@/jobs\n"
    + "FRACTAL_LOCAL_CONFIG_FILE=local.json\n",
    "everything set": _BASE
    + _SLURM
    + _PYTHONS
    + _OIDC
    + _EMAIL
    + """\
JWT_EXPIRE_SECONDS=3600
COOKIE_EXPIRE_SECONDS=43200
DB_ECHO=False
FRACTAL_LOGGING_LEVEL=30
FRACTAL_API_MAX_JOB_LIST_LENGTH=75
FRACTAL_GRACEFUL_SHUTDOWN_TIME=45
FRACTAL_LOCAL_CONFIG_FILE=local.json
FRACTAL_SLURM_WORKER_PYTHON=/opt/worker/bin/python3
FRACTAL_TASKS_PYTHON_3_10=/opt/python3.10/bin/python3
FRACTAL_TASKS_PYTHON_3_13=/opt/python3.13/bin/python3
FRACTAL_SLURM_POLL_INTERVAL=11
FRACTAL_PIP_CACHE_DIR=/var/cache/pip
FRACTAL_PIXI_CONFIG_FILE=pixi_config.json
FRACTAL_VIEWER_AUTHORIZATION_SCHEME=viewer-paths
FRACTAL_VIEWER_BASE_FOLDER=/data/zarr
FRACTAL_DEFAULT_ADMIN_EMAIL=admin@example.org
FRACTAL_DEFAULT_ADMIN_PASSWORD=admin-canary
FRACTAL_DEFAULT_ADMIN_USERNAME=admin
PROJECT_NAME=Fractal
PROJECT_VERSION=2.16.6
""",
}

PIXI_CONFIG = {
    "versions": {"0.47.0": "/opt/pixi/0.47.0", "0.48.2": "/opt/pixi/0.48.2"},
    "default_version": "0.48.2",
    "SLURM_CONFIG": {"partition": "main", "cpus": 2, "mem": "4G", "time": "01:00:00"},
}
LOCAL_CONFIG = {"parallel_tasks_per_job": 3}
