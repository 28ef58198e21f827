#!/usr/bin/env bash
# The commands that must happen while the service is down, and nothing else; prints the seconds of each as JSON.
# The compressed dump is what the official page has in their place of the copy.
# Runs inside a server whose new environment (venv-2.17.0) and migrated environment file (/run/bench/new, /run/bench/old)
# were prepared before. Run as root.
set -euo pipefail
cd /opt/fractal/server
set -a && . ./.fractal_server.env && set +a 2>/dev/null
now() { date +%s.%N; }
as_fractal() { runuser -u fractal -- "$@"; }
export PGPASSWORD=$POSTGRES_PASSWORD PGHOST=$POSTGRES_HOST PGUSER=$POSTGRES_USER

t0=$(now)
systemctl stop fractal-server
t1=$(now)
pg_dump --format=custom --file=/run/bench/dump "$POSTGRES_DB"
t2=$(now)
psql -qX -d postgres -c "CREATE DATABASE bench_copy TEMPLATE \"$POSTGRES_DB\" STRATEGY file_copy"
t3=$(now)
mv /run/bench/old .fractal_server.env.old
mv /run/bench/new .fractal_server.env
mv ../venv ../venv-2.16.6
ln -s venv-2.17.0 ../venv
as_fractal env -i PATH="$PATH" /opt/fractal/venv/bin/fractalctl set-db >/run/bench/set-db.log 2>&1
t4=$(now)
printf 'yes\n%.0s' 1 2 3 4 5 | as_fractal env -i PATH="$PATH" /opt/fractal/venv/bin/fractalctl update-db-data >/run/bench/data.log 2>&1
grep -q 'END - all ok.' /run/bench/data.log
t5=$(now)
systemctl start fractal-server
until curl -sf http://127.0.0.1:8000/api/alive/ | grep -q '"2.17.0"'; do sleep 0.05; done
t6=$(now)
python3 - "$t0" "$t1" "$t2" "$t3" "$t4" "$t5" "$t6" <<'EOF'
import json, sys
times = [float(text) for text in sys.argv[1:]]
names = ["stop", "compressed dump", "file copy", "set-db", "update-db-data", "start"]
print(json.dumps({name: round(b - a, 2) for name, a, b in zip(names, times, times[1:])}))
EOF
