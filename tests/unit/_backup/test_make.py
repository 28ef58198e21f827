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
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    entries_without,
    object_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import literal, quoted
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    FAILED,
    PROOF,
    beside,
    create_options,
)

USERS = TableContents(rows=2, digest="123", columns=["email", "id"], kept="123", max_id=7)
CONTENTS = Contents("981d588fe248", {"user_oauth": USERS}, {"user_oauth_id_seq": 7}, {"public.user_oauth": "abc"})


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
        (replace(CONTENTS, structure={"public.user_oauth": "x"}), "public.user_oauth is defined differently"),
        (replace(CONTENTS, structure={}), "public.user_oauth is missing"),
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
        "('user_oauth', 2, '123')" in statement
        and 'FROM ONLY "user_oauth"' in statement
        and "RAISE EXCEPTION" in statement
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


def test_a_locale_of_each_provider_is_kept() -> None:
    facts = {"encoding": "UTF8", "collate": "C", "ctype": "C", "locale": "de", "icu_rules": None}
    assert create_options({**facts, "locale_provider": "c"}) == "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    assert create_options({**facts, "locale_provider": "i"}).endswith(" LOCALE_PROVIDER 'icu' ICU_LOCALE 'de'")
    assert create_options({**facts, "locale_provider": "i", "icu_rules": "&V << w"}).endswith("ICU_RULES '&V << w'")
    assert create_options({**facts, "locale_provider": "b"}).endswith(" LOCALE_PROVIDER 'builtin' BUILTIN_LOCALE 'de'")


def test_names_and_texts_in_statements() -> None:
    assert quoted('a"; DROP TABLE x; --') == '"a""; DROP TABLE x; --"'
    assert literal("it's") == "'it''s'"


ENTRIES = [
    "2; 3079 16385 EXTENSION - pg_stat_statements ",
    "3400; 0 0 COMMENT - EXTENSION pg_stat_statements ",
    "215; 1259 16386 TABLE public alembic_version fractal",
    "216; 1259 16387 TABLE stats notes bi",
    "300; 0 16387 TABLE DATA stats notes bi",
    "301; 0 16399 TABLE DATA public of_the_extension postgres",
    "302; 0 16386 TABLE DATA public alembic_version fractal",
    "400; 2606 1 FK CONSTRAINT stats notes notes_job_id_fkey bi",
    "401; 1255 2 FUNCTION public f(integer, text) fractal",
]


def test_rows_go_with_what_they_belong_to() -> None:
    assert entries_without(ENTRIES, []) == ENTRIES
    assert entries_without(ENTRIES, ENTRIES[:1]) == [*ENTRIES[1:5], *ENTRIES[6:]]
    assert entries_without(ENTRIES, [ENTRIES[3]]) == [*ENTRIES[:3], *ENTRIES[5:]]


def test_what_an_entry_is_about() -> None:
    assert [object_of(entry) for entry in ENTRIES] == [
        "-.pg_stat_statements",
        "-.EXTENSION pg_stat_statements",
        "public.alembic_version",
        "stats.notes",
        "stats.notes",
        "public.of_the_extension",
        "public.alembic_version",
        "stats.notes notes_job_id_fkey",
        "public.f(integer, text)",
    ]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ('216; 1259 1 TABLE s1 Odd "name".x bi', 's1.Odd "name".x'),
        ("216; 1259 1 TABLE STATS RUNS bi", "STATS.RUNS"),
        ("216; 1259 1 TABLE DATA STATS RUNS bi", "STATS.RUNS"),
        ("7; 3079 1 EXTENSION - PLV8 ", "-.PLV8"),
        ("9; 6104 1 PUBLICATION TABLES IN SCHEMA ALL ALL bi", "ALL.ALL"),
        ("9; 0 1 SOMETHING-NEW s x bi", "SOMETHING-NEW.s x"),
    ],
)
def test_an_entry_may_be_about_any_name(entry: str, name: str) -> None:
    assert object_of(entry) == name


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("jobv2", "public.jobv2"),
        ("log s", "public.log s"),
        ('"log.x"', "public.log.x"),
        ("stats.runs", "stats.runs"),
        ('s1."Odd ""name"".x"', 's1.Odd "name".x'),
        ('"a.b ""c""".t', 'a.b "c".t'),
        ('"Stats"."log s"', "Stats.log s"),
    ],
)
def test_a_table_is_told_as_a_dump_tells_it(key: str, address: str) -> None:
    assert CONTENTS.address(key) == address
    table = CONTENTS.tables["user_oauth"]
    contents = replace(
        CONTENTS, tables={key: table}, structure={address: "a", f"{address} {key} check": "b", "x.y": "c"}
    )
    left = contents.without({address})
    assert (left.tables, left.structure) == ({}, {"x.y": "c"})


def test_what_is_left_out_is_not_compared() -> None:
    contents = replace(
        CONTENTS, structure={"public.user_oauth": "a", "public.user_oauth check": "b", "public.f(x)": "c"}
    )
    assert contents.without({"public.user_oauth"}).structure == {"public.f(x)": "c"}
    assert contents.without({"public.user_oauth"}).tables == {}
    assert contents.without({"public.f"}).tables == CONTENTS.tables
    assert contents.without({"public.user_oauth_id_seq"}).sequences == {}


def test_an_early_manifest_knows_one_schema() -> None:
    early = Contents.from_dict({**CONTENTS.as_dict(), "structure": "md5 of everything"})
    now = replace(CONTENTS, tables={"user_oauth": USERS, "stats.notes": USERS})
    assert differences(early, now) == [] and differences(CONTENTS, now) == ["table stats.notes is additional"]


@pytest.mark.parametrize("content", [None, "", "{}", '{"format": 1}', '{"format": 99}', "[]"])
def test_what_is_no_backup(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(FractalError, match=r"not a finished backup|has the format 99"):
        open_backup(str(tmp_path))
