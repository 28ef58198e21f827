"""Measure the window of the upgrade playbook against the bare commands that must happen inside it.

Both run in this one run, one after the other, on identical copies of the prepared instance, each with its new
environment built beforehand. Prints the steps side by side and the ratio; asserts nothing.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAIR = "fractal-bench"
STAGES = {
    "Stop fractal-server": "stop",
    "Back up, prove the backup": "backup",
    "Migrate the environment file": "environment file",
    "Switch to fractal-server 2.17.0": "switch",
    "Migrate the schema to 2.17.0": "set-db",
    "Migrate the data for 2.17.0": "update-db-data",
    "Start fractal-server": "start",
}


def run(*command: str, **options: object) -> str:
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def in_server(*command: str, **options: object) -> str:
    return run("podman", "exec", "-i", f"{PAIR}-server", *command, **options)


def module(inventory: str, name: str, **arguments: object) -> None:
    run(
        "ansible",
        "--become",
        "-i",
        inventory,
        "server",
        "-m",
        f"fractal_ops.platform.{name}",
        "-a",
        json.dumps(arguments),
    )


def prepare(inventory: str) -> None:
    run("tests/bed/run_pair.sh", PAIR)
    module(inventory, "fractal_server_environment", releases=["2.17.0"], wheelhouse="/opt/wheelhouse")


def bare(inventory: str) -> dict[str, float]:
    prepare(inventory)
    env_file = "/opt/fractal/server/.fractal_server.env"
    in_server("install", "-d", "-o", "fractal", "/run/bench")
    in_server("cp", "-p", env_file, "/run/bench/new")
    common = {"path": "/run/bench/new", "old_path": "/run/bench/old", "server_python": "/opt/fractal/venv/bin/python3"}
    module(inventory, "fractal_env_migrate", **common, service="fractal-server")
    script = (ROOT / "tests/bench/bare_window.sh").read_text()
    return json.loads(in_server("bash", "-c", script).splitlines()[-1])


def playbook(inventory: str, folder: str) -> tuple[dict[str, float], dict[str, float]]:
    prepare(inventory)
    run("ansible-playbook", "-i", inventory, "fractal_ops.platform.upgrade", "-e", f"fractal_report_dir={folder}")
    record = json.loads(pathlib.Path(folder, "server", "latest.json").read_text())
    stages = [one for one in record["stages"] if one["seconds"] is not None and one["title"] in STAGES]
    steps = {STAGES[one["title"]]: one["seconds"] for one in stages}
    return {**steps, "window": record["window_seconds"]}, record.get("backup_seconds") or {}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        inventory = f"{folder}/inventory.yml"
        pathlib.Path(inventory).write_text(inventory(PAIR))
        try:
            ours, backup = playbook(inventory, folder)
            bare_times = bare(inventory)
        finally:
            run("tests/bed/stop_pair.sh", PAIR)
    print(f"{'seconds':<22}{'playbook':>10}{'bare':>10}")
    for name in dict.fromkeys([*ours, *bare_times]):
        if name != "window":
            cells = [f"{times[name]:.2f}" if name in times else "" for times in (ours, bare_times)]
            print(f"{name:<22}{cells[0]:>10}{cells[1]:>10}")
    for name, seconds in backup.items():
        print(f"  of backup: {name:<11}{seconds:>10.2f}")
    print(f"{'window':<22}{ours['window']:>10.2f}{bare_times['window']:>10.2f}")
    print(f"ratio: {ours['window'] / bare_times['window']:.2f}")
    proof = backup.get("proof")
    if proof:
        print(f"ratio without the proof: {(ours['window'] - proof) / bare_times['window']:.2f}")


if __name__ == "__main__":
    main()
