"""The report: outcomes, the window, what remains, and that HTML stays HTML."""

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import with_headline
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report import empty_record, failures, gather
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report_pages import (
    render_markdown,
    render_summary,
    render_text,
)
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.report_html import render_html
from report_records import RUN

STAGES = [
    {"name": "stop", "title": "Stop fractal-server", "state": "pending", "reason": "active", "release": ""},
    {
        "name": "schema",
        "title": "Migrate the schema to 2.17.0",
        "state": "pending",
        "reason": "x|y",
        "release": "2.17.0",
    },
]
FINDING = {
    "id": "user.x",
    "severity": "warning",
    "subject": "<anna>",
    "message": "is odd",
    "fix": "mend",
    "accepted": False,
}


def server(window=True, failure="", **facts):
    state = {
        "instance": {"version": "2.16.6"},
        "plan": {"stages": STAGES if window else [], "window": window},
        "findings": [FINDING],
        "failure": "",
        "target": "2.17.0",
    }
    return {
        "__server_state": state,
        "__server_failure": failure,
        **facts,
    }


def window(**told):
    return {"__server_upgrade_window": {"window": told}}


DONE = {
    **window(
        outcome="upgraded",
        window_seconds=13.5,
        stages={
            "stop": {"state": "done", "seconds": 2.0},
            "hop 2.17.0": {"state": "done", "seconds": 1.5},
            "start": {"state": "done", "seconds": 3.5},
        },
        results={"hop 2.17.0": {"schema": {"changed": True, "duration": 1.5}, "data": None}},
    ),
    "__backup_made": {"backup": {"path": "/var/backups/x", "proof": {"kind": "restore"}}, "duration": 1.0},
}
GROUPS = {"fractal_server": ["s"], "fractal_web": []}


def record(facts, kind="upgrade"):
    return {**with_headline(gather({"s": facts}, GROUPS, kind)[0], "upgrade", ""), "run": RUN}


def test_an_upgrade_is_told_with_its_window_backup_and_undo():
    found = record(server(**DONE))
    assert (found["outcome"], found["window_seconds"]) == ("upgraded", 13.5)
    assert [stage["seconds"] for stage in found["stages"]] == [2.0, 1.5]
    assert found["undo"].endswith("platform.rollback")  # the only instance: no host has to be named
    text = render_markdown(found)
    assert "down for 13.5 s" in text
    assert "x\\|y" in text
    assert "/var/backups/x, proved by a restore" in text


def test_a_backup_without_proof_is_named_with_the_statement_that_changes_that():
    facts = server(**{**DONE, "__backup_made": {"backup": {"path": "/b", "proof": {"kind": "list"}}}})
    facts["__server_state"]["database"] = {"role": "fractal"}
    found = record(facts)
    assert [todo for todo in found["remaining"] if "ALTER ROLE fractal CREATEDB;" in todo]
    for page in (render_markdown(found), render_html(found)):
        assert "/b, readable, but not proved by a restore" in page
    assert not [todo for todo in record(server(**DONE))["remaining"] if "CREATEDB" in todo]


def test_a_frozen_copy_is_told_with_what_its_dump_took_afterwards():
    copy = {"path": "/b", "frozen_copy": "fractal_frozen_r", "proof": {"kind": "copy"}}
    made = {"backup": copy, "duration": 9.0, "copy_seconds": 8.0, "dump_seconds": 0.0, "proof_seconds": 2.0}
    waiting = record(server(**{**DONE, "__backup_made": made}))
    assert (waiting["backup_proof"], waiting["backup_seconds"]) == ("copy", {"copy": 8.0})
    assert [todo for todo in waiting["remaining"] if "Run the upgrade again: it makes the dump" in todo]
    proved = {**copy, "proof": {"kind": "restore"}}
    archived = {"archived": [proved], "dump_seconds": 55.0, "proof_seconds": 139.0, "gone": ["/old"]}
    found = record(server(**{**DONE, "__backup_made": made, "__backup_archived": archived}))
    assert found["backup_proof"] == "restore"
    assert found["backup_seconds"] == {"copy": 8.0, "dump": 55.0, "proof": 139.0}
    assert not [todo for todo in found["remaining"] if "Run the upgrade again" in todo]
    assert [todo for todo in found["remaining"] if "frozen copy fractal_frozen_r" in todo]
    assert [todo for todo in found["remaining"] if "/old holds no database" in todo]
    for page in (render_markdown(waiting), render_html(waiting)):
        assert "/b, a frozen copy of the database, without its dump yet" in page


def test_a_rollback_is_told_with_what_was_kept_of_the_new_release():
    facts = server(
        __rollback_done=True,
        __rollback_way={"version": "2.16.6", "nothing": ""},
        __rollback_database={
            "method": "fresh_database",
            "kept_aside": "fractal_failed_r",
            "task_folders": ["The folder /tasks/1/new stays."],
        },
    )
    facts["__server_state"]["instance"]["version"] = "2.17.0"
    found = record(facts, "rollback")
    assert (found["outcome"], found["from"], found["to"]) == ("rolled back", "2.17.0", "2.16.6")
    assert [todo for todo in found["remaining"] if "kept as fractal_failed_r" in todo]
    assert "The folder /tasks/1/new stays." in found["remaining"]
    in_place = {**facts, "__rollback_database": {"method": "in_place", "kept_aside": ""}}
    assert [todo for todo in record(in_place, "rollback")["remaining"] if "no copy" in todo]
    assert record({**facts, "__server_failure": "refused"}, "rollback")["outcome"] == "failed"


def test_one_instance_of_many_is_undone_with_its_own_web_hosts():
    groups = {"fractal_server": ["s", "t"], "fractal_web": ["v", "w"]}
    web = {"__web_state": {"instance": {"version": "1"}, "version": "1", "findings": [], "failure": ""}}
    hostvars = {
        "s": server(**DONE),
        "t": server(**DONE),
        "v": {**web, "fractal_server_host": "s"},
        "w": {**web, "fractal_server_host": "t"},
    }
    assert [one["undo"].partition("--limit ")[2] for one in gather(hostvars, groups)] == [
        "s,v",
        "t,w",
    ]


@pytest.mark.parametrize(
    ("facts", "kind", "outcome"),
    [
        (server(window=False), "upgrade", "up to date"),
        (server(window=False), "prediction", "up to date"),
        (server(), "prediction", "upgrade planned"),
        (server(), "upgrade", "failed"),
        (server(failure="set-db broke"), "upgrade", "failed"),
        (server(), "verification", "verified"),
        (server(failure="no answer"), "verification", "failed"),
    ],
)
def test_outcomes(facts, kind, outcome):
    assert record(facts, kind)["outcome"] == outcome


def test_a_host_that_was_lost_on_the_way_fails_the_run():
    for kind in ("upgrade", "rollback"):
        found = record(server(window=kind == "upgrade"), kind)
        assert (found["outcome"], failures(found)) == ("failed", [f"s: {found['failure']}"])
        assert "Run it again" in found["failure"]
    web = {
        "__web_state": {"instance": {"version": "1.20.1"}, "version": "1.21.1", "findings": [], "failure": ""},
        "fractal_server_host": "s",
        "__web_failure": "",
    }
    hosts = {"s": server(**DONE), "w": web}
    lost = gather(hosts, {"fractal_server": ["s"], "fractal_web": ["w"]})[0]
    assert lost["outcome"] == "upgraded"
    assert [line.partition(":")[0] for line in failures(lost)] == ["w"]


def test_only_a_run_that_may_upgrade_shows_the_stages():
    shown = {
        kind: len(record(server(), kind)["stages"]) for kind in ("prediction", "upgrade", "verification", "rollback")
    }
    assert shown == {"prediction": 2, "upgrade": 2, "verification": 0, "rollback": 0}


def test_a_stage_that_failed_is_not_shown_as_done():
    stage = {"name": "start", "title": "Start fractal-server", "state": "pending", "reason": "new", "release": "2.17.0"}
    failed = window(outcome="left", stages={"start": {"state": "failed", "seconds": 1.2}}, results={})
    facts = server(failure="it does not stay up", **failed)
    facts["__server_state"]["plan"]["stages"] = [stage]
    assert "| Start fractal-server | failed |  | new |" in render_markdown(record(facts))


def test_an_instance_that_went_back_by_itself_says_what_was_kept_and_left():
    results = {"old database": {"kept_aside": "fractal_failed_r"}, "clean up": {"left": ["Not removed."]}}
    found = record(server(failure="set-db broke", **window(outcome="back", results=results)))
    assert found["outcome"] == "failed" and found["left"] == ["Not removed."]
    assert [todo for todo in found["remaining"] if "kept as fractal_failed_r" in todo]


def test_a_rollback_without_anything_to_go_back_to_says_so():
    facts = server(__rollback_done=True, __rollback_way={"version": None, "nothing": "no upgrade is in progress"})
    assert record(facts, "rollback")["outcome"] == "nothing to go back to: no upgrade is in progress"


def test_what_a_rollback_could_not_clean_up_remains():
    facts = server(
        __rollback_done=True, __rollback_way={"version": "2.16.6", "nothing": ""}, __rollback_left=["Not all workers"]
    )
    found = record(facts, "rollback")
    assert (found["outcome"], found["remaining"]) == ("rolled back", ["Not all workers"])
    assert failures(found) == ["s: Not all workers"]


def test_a_web_host_that_was_at_its_release_was_not_rolled_back():
    web = {
        "__web_state": {"instance": {"version": "1.20.1"}, "version": "1.21.1", "findings": [], "failure": ""},
        "fractal_server_host": "s",
        "__rollback_web_run": {"health": {"version": "1.20.1"}},
        "__rollback_web": {"changed": False},
    }
    hosts = {"s": server(), "w": web}
    groups = {"fractal_server": ["s"], "fractal_web": ["w"]}
    assert [one["outcome"] for one in gather(hosts, groups, "rollback")[0]["web"]] == ["up to date"]
    web["__rollback_web"]["changed"] = True
    assert [one["outcome"] for one in gather(hosts, groups, "rollback")[0]["web"]] == ["rolled back"]
    web["__web_failure"] = "its server is not back"
    assert [one["outcome"] for one in gather(hosts, groups, "rollback")[0]["web"]] == ["failed"]


def test_a_blocked_instance_says_so():
    facts = server(failure="1 blocking finding(s)")
    facts["__server_state"]["failure"] = "1 blocking finding(s)"
    assert record(facts)["outcome"] == "blocked"


def test_a_web_host_is_shown_with_its_server():
    web = {
        "__web_state": {"instance": {"version": "1.20.1"}, "version": "1.21.1", "findings": [], "failure": ""},
        "fractal_server_host": "s",
        "__web_failure": "",
        "__web_upgrade_run": {"health": {"version": "1.21.1"}},
    }
    hosts = {"s": server(**DONE), "w": web, "t": server(window=False)}
    first, second = gather(hosts, {"fractal_server": ["s", "t"], "fractal_web": ["w"]})
    assert [one["outcome"] for one in first["web"]] == ["upgraded"]
    assert second["web"] == []


def test_hosts_that_took_no_part_are_left_out():
    assert gather({"s": {}, "w": {}}, {"fractal_server": ["s"], "fractal_web": ["w"]}) == []


def test_a_failed_check_fails_the_run_and_remains_to_do():
    check = {"id": "log_in", "status": "failed", "subject": "alice", "message": "refused", "fix": "Mend it."}
    found = record(server(**DONE, __verify_server={"checks": [check]}))
    assert failures(found) == ["s: verification failed: log_in: refused"]
    assert found["remaining"][0] == "alice: refused Mend it."
    assert failures(record(server(**DONE))) == []


def test_what_the_first_look_has_verified_is_told_unless_something_was_verified_later_or_failed():
    early = {"checks": [{"id": "service", "status": "passed"}], "findings": reviewed("erin")["findings"]}
    late = {"checks": [{"id": "log_in", "status": "passed"}]}
    for facts, ids, remaining in (
        (server(window=False), ["service"], 1),
        (server(window=False, __verify_server=late), ["log_in"], 0),
        (server(window=False, __verify_server={"failed": True, "msg": "lost"}), [], 0),
        (server(window=False, failure="Lost."), [], 0),
    ):
        facts["__server_state"]["verification"] = early
        found = record(facts)
        assert [check["id"] for check in found["checks"]] == ids and len(found["remaining"]) == remaining
    web = {"instance": {"version": "1.21.1"}, "version": "1.21.1", "findings": [], "failure": "", "verification": early}
    for failure, ids in (("", ["service"]), ("Its server is not upgraded.", [])):
        hosts = {
            "s": server(window=False),
            "w": {"__web_state": web, "fractal_server_host": "s", "__web_failure": failure},
        }
        (told,) = gather(hosts, {"fractal_server": ["s"], "fractal_web": ["w"]})[0]["web"]
        assert [check["id"] for check in told["checks"]] == ids


def test_every_check_is_shown_with_its_result_and_how_to_mend_it_those_of_the_web_host_too():
    skipped = {"id": "job", "status": "skipped", "subject": "x", "message": "no account", "fix": "Set one."}
    failed = {"id": "web_alive", "status": "failed", "subject": "w", "message": "no answer", "fix": "Start it."}
    found = {**record(server(**DONE, __verify_server={"checks": [skipped]})), "web": [{**WEB, "checks": [failed]}]}
    text = render_markdown(found)
    assert "| job | skipped | no account | Set one. |" in text
    assert "| web_alive | failed | no answer | Start it. |" in text


WEB = {"name": "w", "outcome": "upgraded", "from": "1.20.1", "to": "1.21.1", "failure": "", "findings": []}


def reviewed(*subjects):
    rule = {"id": "user_without_access", "severity": "info", "fix": "If they should: do it."}
    return {"findings": [{**rule, "subject": one, "message": f"{one} cannot use Fractal."} for one in subjects]}


def test_what_the_review_leaves_for_a_person_remains_to_do():
    found = record(server(window=False, __verify_server=reviewed("erin", "dora")))
    assert found["remaining"] == [
        "erin cannot use Fractal. If they should: do it.",
        "dora cannot use Fractal. If they should: do it.",
    ]
    assert "## What remains for you" in render_markdown(found)
    assert "dora cannot use Fractal." in render_html(found)


def test_work_that_was_ended_is_to_be_submitted_again():
    results = {"drain": {"stopped": ["job 1 of a@x"]}, "settle": {"stopped": ["job 2 of b@x"]}}
    facts = window(results=results)
    found = record(server(window=False, **facts))
    assert found["remaining"] == [
        "Ended for the upgrade, to be submitted again by their owners: job 1 of a@x, job 2 of b@x."
    ]
    assert record(server(window=False, **window(results={"drain": {"stopped": []}})))["remaining"] == []


def test_the_copy_of_the_backup_remains_in_the_operators_care():
    found = record(server(window=False, __backup_copy={"dest": "/copies/server-1.tar"}))
    assert found["remaining"] == [
        "A copy of the backup is at /copies/server-1.tar on this controller; it holds secrets, too."
    ]


def test_many_alike_are_counted_on_the_page_and_all_in_the_record():
    found = record(server(window=False, __verify_server=reviewed(*[f"user {i}" for i in range(40)])))
    assert len(found["remaining"]) == 6
    assert "35 more" in found["remaining"][-1]
    assert len(found["review"]) == 40


def test_the_workers_are_a_stage_with_the_seconds_of_all_of_them():
    facts = server(**DONE, __server_upgrade_workers=[{"duration": 0.5, "worker": {}}, {"duration": 0.25, "worker": {}}])
    stage = {"name": "workers", "title": "Switch", "state": "pending", "reason": "c has 2.16.6", "release": "2.17.0"}
    facts["__server_state"]["plan"]["stages"] = [stage]
    facts["__server_state"]["workers"] = [{"host": "c", "version": "2.16.6"}]
    found = record(facts)
    assert found["stages"][0]["seconds"] == 0.75
    assert found["workers"][0]["host"] == "c"
    assert "| Switch | done now | 0.8 s | c has 2.16.6 |" in render_markdown(found)


def test_nothing_that_a_host_says_moves_the_cursor_of_a_terminal():
    """A service account writes its journal, its process names and its files, and would hide a line that it dislikes."""
    evil = "bad\x1b[2K\r\x1b]0;title\x07 \u202egnp.exe\x9b1A"
    facts = server(failure=evil, __rollback_left=[evil])
    facts["__server_state"]["findings"] = [
        {"id": "a.b", "severity": "warning", "subject": evil, "message": evil, "fix": evil, "reference": evil}
    ]
    found = record(facts)
    shown = [render_markdown(found), *render_text(found), *render_summary(found, "/r")]
    assert any("bad?[2K??]0;title?" in one for one in shown)
    assert all(line.isprintable() for one in shown for line in one.split("\n"))


def test_html_is_one_page_in_which_nothing_is_markup_that_was_text():
    page = render_html(record(server(**DONE)))
    assert "&lt;anna&gt;" in page
    assert "<anna>" not in page
    assert "http" not in page and "<script" not in page


def page_with(*findings, **values):
    found = record(server())
    return {**found, "findings": [{**FINDING, **one} for one in findings], **values}


def test_what_blocks_comes_first_in_every_format():
    found = page_with(
        {"id": "a.info", "severity": "info"},
        {"id": "b.warning", "severity": "warning", "accepted": True},
        {"id": "c.blocker", "severity": "blocker", "message": "a|b", "reference": "2_17_0.py"},
        remaining=["Mend the roof."],
    )
    markdown, html = render_markdown(found), render_html(found)
    for page, order in (
        (markdown, ("## Blockers (1)", "Mend the roof", "## Stages", "## Warnings (1)", "## Info (1)")),
        (html, ("Blockers (1)", "Mend the roof", "Stages", "Accepted (1)", "Good to know (1)")),
    ):
        places = [page.index(part) for part in order]
        assert places == sorted(places)
    assert "| c.blocker<br><anna> | a\\|b | mend | 2_17_0.py |" in markdown
    assert "| b.warning (accepted)<br><anna> | is odd | mend |  |" in markdown
    assert "c.blocker · &lt;anna&gt; · 2_17_0.py" in html and "b.warning · &lt;anna&gt; · accepted" in html


def test_the_screen_has_what_blocks_and_warns_and_counts_the_rest():
    text = render_text(page_with({"id": "a.info", "severity": "info"}, {"id": "c.blocker", "severity": "blocker"}))
    assert "BLOCKER c.blocker: is odd" in text and "  -> mend" in text
    assert not [line for line in text if "a.info" in line]
    summary = render_summary(page_with({"severity": "info"}, {"severity": "info"}), "/r/s/latest.html")
    assert "Found: 2 infos." in summary[1]


def test_the_screen_has_no_tables_of_an_instance_that_is_as_it_has_to_be() -> None:
    """But what is left to do and what is not right; and all of one that fails or is not upgraded yet."""
    stages = [{**STAGES[0], "seconds": 1.0}]
    quiet = {**page_with(outcome="upgraded", failure="", stages=stages), "findings": [], "remaining": []}
    assert render_text(quiet) == [] and "Stop fractal-server" in render_markdown(quiet)
    left = render_text({**quiet, "remaining": ["Tell the users."]})
    assert "- Tell the users." in left and "STAGES" not in left
    check = {"id": "a", "status": "failed", "subject": "x", "message": "m", "fix": ""}
    assert "VERIFICATION" in render_text({**quiet, "checks": [check]})
    for other in ({"outcome": "upgrade planned"}, {"outcome": "failed", "failure": "why"}):
        assert "STAGES" in render_text({**quiet, **other})


def test_what_is_accepted_is_counted_apart() -> None:
    found = page_with({"severity": "blocker", "accepted": True}, {"id": "c.blocker", "severity": "blocker"})
    assert "Found: 1 blocker, 1 accepted." in render_summary(found, "/r")[1]
    assert "Blockers (1)" in render_html(found) and "user.x" not in "\n".join(render_text(found))


def test_the_summary_is_five_lines_and_ends_with_the_report():
    check = {"id": "a", "status": "failed", "subject": "x", "message": "m", "fix": ""}
    for facts in (server(**DONE, __verify_server={"checks": [check]}), server(**DONE), server(window=False)):
        summary = render_summary(record(facts), "/r/s/latest.html")
        assert len(summary) <= 5 and summary[-1] == "Report: /r/s/latest.html"
    assert any(line.startswith("To undo: ") for line in render_summary(record(server(**DONE)), "/r"))


def test_no_failure_is_told_twice_on_the_screen():
    blocker = {**FINDING, "severity": "blocker", "message": "the disk is full"}
    facts = server(failure="1 blocking finding(s): the disk is full")
    facts["__server_state"].update(failure="1 blocking finding(s): the disk is full", findings=[blocker])
    found = record(facts)
    assert "\n".join([*render_text(found), *render_summary(found, "/r")]).count("the disk is full") == 1


def test_tables_fit_the_screen():
    long = "word " * 60 + "x" * 200
    text = render_text(page_with({"id": "c.blocker", "message": long, "fix": long, "subject": "s" * 90}, failure=long))
    assert max(map(len, text)) <= 110
    assert "".join(text).count("word") == 3 * 60, "something was left out"


def test_who_will_have_access_is_counted():
    lost = [{"email": name, "hurt": name == "uma"} for name in ("ivy", "uma")]
    found = page_with(access={"with_access": ["ann"], "without_access": lost})
    sentence = "1 user(s) will have access, 2 will not; 1 of these own projects"
    assert sentence in render_markdown(found) and sentence in render_html(found)
    assert sentence in " ".join(render_summary(found, ""))


REHEARSED = {
    "passed": True,
    "findings": [],
    "predicted": {"stop": 1.5, "hop 2.17.0": 1.0},
    "predicted_seconds": 2.5,
    "seconds": {"dump": 3.0},
    "size_bytes": 10,
    "dump_bytes": 5,
    "copy_bytes_per_second": 100,
}


def test_what_the_rehearsal_expected_is_told_beside_what_happened():
    found = record(server(**DONE, __rehearse_done=REHEARSED))
    assert found["rehearsal"]["stages"] == [
        {"name": "stop", "expected": 1.5, "took": 2.0},
        {"name": "hop 2.17.0", "expected": 1.0, "took": 1.5},
    ]
    text = render_markdown(found)
    assert "down for 13.5 s; 2.5 s were expected after the rehearsal." in text and "| stop | 1.5 s | 2.0 s |" in text


def test_a_rehearsal_alone_says_how_long_the_downtime_will_be():
    found = record(server(__rehearse_done=REHEARSED), "prediction")
    assert found["rehearsal"]["stages"][0]["took"] is None
    assert "After the rehearsal, a downtime of 2.5 s is expected." in render_markdown(found)
    assert "2.5 s" in "".join(render_summary(found, ""))


@pytest.mark.parametrize("done", [{}, {"failed": True, "msg": "x"}, {"skipped": True}])
def test_without_a_rehearsal_nothing_is_told_of_it(done):
    assert record(server(__rehearse_done=done))["rehearsal"] is None


@pytest.mark.parametrize(
    ("server_outcome", "web_outcome", "playbook", "headline"),
    [
        ("blocked", "failed", "upgrade", "blocked"),  # fractal-web follows its server
        ("failed", "blocked", "upgrade", "blocked"),  # the server does not begin without its fractal-web
        ("failed", "blocked", "rehearse", "blocked"),
        ("failed", "failed", "upgrade", "failed"),
        ("failed", "upgraded", "upgrade", "failed"),
        ("failed", "blocked", "rollback", "failed"),  # half-way back
        ("failed", "blocked", "verify", "failed"),
    ],
)
def test_an_instance_of_which_one_host_is_blocked_did_not_fail(server_outcome, web_outcome, playbook, headline):
    own = {**empty_record("s"), "outcome": server_outcome, "web": [{**WEB, "outcome": web_outcome, "checks": []}]}
    assert with_headline(own, playbook, "")["outcome"] == headline


def test_a_hook_that_failed_is_told_and_fails_the_run_without_undoing_anything():
    ran = [{"hook": "before_window", "failed": ""}, {"hook": "after_window", "failed": "Call somebody: no answer"}]
    found = record(server(**DONE, __fractal_hooks=ran))
    told = "The hook after_window failed: Call somebody: no answer"
    assert found["outcome"] == "upgraded" and found["left"] == [told] and told in found["remaining"]
    assert failures(found) == [f"s: {told}"]
    assert told in " ".join(render_summary(found, "x.html"))
