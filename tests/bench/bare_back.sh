#!/usr/bin/env bash
# Brings the instance back to where it was before bare_window.sh, for one more round. Runs inside the server, as root.
set -euo pipefail
cd /opt/fractal/server
set -a && . ./.fractal_server.env.old && set +a 2>/dev/null
export PGPASSWORD=$POSTGRES_PASSWORD PGHOST=$POSTGRES_HOST PGUSER=$POSTGRES_USER
systemctl stop fractal-server
psql -qX -d postgres -c "DROP DATABASE \"$POSTGRES_DB\"" -c "ALTER DATABASE bench_copy RENAME TO \"$POSTGRES_DB\""
mv .fractal_server.env.old .fractal_server.env
rm ../venv && mv ../venv-2.16.6 ../venv
systemctl start fractal-server
until curl -sf http://127.0.0.1:8000/api/alive/ | grep -q '"2.16.6"'; do sleep 0.05; done
