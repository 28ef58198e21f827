"""Parts of backup and restore that need no database."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import open_backup
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import (
    Contents,
    TableContents,
    check_statement,
    differences,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import administrators_entries
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    FAILED,
    PROOF,
    beside,
    literal,
    quoted,
)

USERS = TableContents(rows=2, digest="123", columns=["email", "id"], kept="123", max_id=7)
CONTENTS = Contents("981d588fe248", {"user_oauth": USERS}, {"user_oauth_id_seq": 7}, "abc")


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (replace(CONTENTS, revision="83bc2ad3ffcc"), "alembic revision 83bc2ad3ffcc instead of 981d588fe248"),
        (replace(CONTENTS, tables={}), "table user_oauth is missing"),
        (replace(CONTENTS, tables={"user_oauth": USERS, "resource": USERS}), "table resource is additional"),
        (replace(CONTENTS, tables={"user_oauth": replace(USERS, rows=3)}), "has 3 rows instead of 2"),
        (replace(CONTENTS, tables={"user_oauth": replace(USERS, digest="4")}), "other content"),
        (replace(CONTENTS, tables={"user_oauth": replace(USERS, columns=["id"])}), "other content"),
        (replace(CONTENTS, sequences={"user_oauth_id_seq": 8}), "sequences"),
        (replace(CONTENTS, structure="xyz"), "columns, constraints or indexes"),
    ],
)
def test_every_difference_is_named(found: Contents, named: str) -> None:
    assert differences(CONTENTS, CONTENTS) == []
    (line,) = differences(CONTENTS, found)
    assert named in line


def test_contents_survive_json() -> None:
    assert Contents.from_dict(json.loads(json.dumps(CONTENTS.as_dict()))) == CONTENTS


def test_the_check_names_every_table_of_the_manifest() -> None:
    statement = check_statement(CONTENTS)
    assert (
        "('user_oauth', 2, '123')" in statement and 'FROM "user_oauth"' in statement and "RAISE EXCEPTION" in statement
    )


def test_names_beside_a_database() -> None:
    assert beside("fractal", PROOF, "run-1") == "fractal_proof_run-1"
    assert beside("fractal", FAILED) == "fractal_failed_"
    for dbname in ("d" * 63, "ü" * 31):
        for run in ("run-1", "r" * 100):
            name = beside(dbname, PROOF, run)
            assert len(name.encode()) <= 63 and name.startswith(beside(dbname, PROOF))
    assert beside("d" * 63, PROOF, "a" * 100) != beside("d" * 63, PROOF, "b" * 100)
    assert beside("d" * 62 + "a", PROOF) != beside("d" * 62 + "b", PROOF)


def test_names_and_texts_in_statements() -> None:
    assert quoted('a"; DROP TABLE x; --') == '"a""; DROP TABLE x; --"'
    assert literal("it's") == "'it''s'"


def test_what_only_an_administrator_restores() -> None:
    entries = [
        "6; 2615 2200 SCHEMA - public postgres",
        "2; 3079 16385 EXTENSION - pg_trgm ",
        "3400; 0 0 COMMENT - EXTENSION pg_trgm ",
        "3401; 0 0 ACL - SCHEMA public postgres",
        "215; 1259 16386 TABLE public alembic_version fractal",
        "3402; 0 0 ACL public TABLE alembic_version fractal",
        "7; 2615 17000 SCHEMA - archive fractal",
    ]
    assert administrators_entries(entries) == [
        "SCHEMA - public postgres",
        "EXTENSION - pg_trgm",
        "COMMENT - EXTENSION pg_trgm",
        "ACL - SCHEMA public postgres",
    ]


@pytest.mark.parametrize("content", [None, "", "{}", '{"format": 1}', '{"format": 99}', "[]"])
def test_what_is_no_backup(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(FractalError, match=r"not a finished backup|has the format 99"):
        open_backup(str(tmp_path))
