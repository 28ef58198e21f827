# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The checks of fractal-server through its own API. Every check is made, whatever the others found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import Api, ApiError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check, Step, run_steps
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import (
    ServerInstance,
    discover_server,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import clients
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.run import only_review
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import CHECKS
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.email import email
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.oauth import login_oauth
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.probe import probe
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.session import Session

NO_ACCOUNT = "no account was given"
NO_PASSWORDS = "FRACTAL_DISABLE_BASIC_AUTH"
HOW_TO_GIVE_ONE = "Set fractal_verify_email and fractal_verify_password to an ordinary user's."


def verify_server(options: Mapping[str, Any]) -> dict[str, Any]:
    """Make all checks of a server, of its database first.

    Returns:
        ``checks``; ``findings`` and ``review`` of resources, profiles and users, and ``viewer``, as
        ``fractal_resource_profile`` returns them; ``server``, which is what fractal-web's settings have to agree with.

    Raises:
        FractalError: The unit is unknown or its settings cannot be read, so that nothing can be checked.
    """
    instance = discover_server(options["service"] or "fractal-server", url=options["url"])
    installation = find_installation({"service": instance.service})
    return verify_reviewed(instance, review(installation, options), options)


def verify_reviewed(
    instance: ServerInstance, reviewed: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Make all checks of a server whose database has told what `review` returns; see `verify_server`.

    Raises:
        FractalError: Its settings cannot be read.
    """
    variables = find_installation({"service": instance.service}).variables()
    session = Session(
        instance,
        variables,
        Api(instance.url, validate_certs=options["validate_certs"]),
        options["validate_certs"],
        reviewed,
    )
    checks = [service(instance), *all_checks(session, options)]
    return {
        **{part: reviewed[part] for part in ("review", "findings", "viewer")},
        "checks": [*reviewed["checks"], *(check.as_dict() for check in checks)],
        "server": {
            "version": instance.version,
            "oauth_client": _only_client(variables),
            "runner_backend": variables.get("FRACTAL_RUNNER_BACKEND") or "",
            "default_group_name": variables.get("FRACTAL_DEFAULT_GROUP_NAME") or "",
        },
    }


def review(installation: Installation, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the database tells of resources, profiles, users and the viewer; a failed check where it does not."""
    try:
        return service_side(installation, options["python"]).call(only_review, installation, *asked_of_it(options))
    except FractalError as error:
        return not_reviewed(str(error))


def asked_of_it(options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return those options of a verification that the look into the database needs."""
    return options["workers"], options["viewer_paths_before"]


def not_reviewed(reason: str) -> dict[str, Any]:
    """Return the review of a database that did not tell."""
    failed = CHECKS["schema"].failed("database", reason)
    return {"review": None, "findings": [], "viewer": {}, "checks": [failed.as_dict()]}


def all_checks(session: Session, options: Mapping[str, Any]) -> list[Check]:
    """Make every check but that of the unit. An API that does not answer is one failure, not ten."""
    url, password = session.api.url, options["password"]
    address = options["email"] if options["email"] and password else ""
    probing = (options["probe_sources"], options["probe_timeout"])
    steps = (
        Step(("api_version",), lambda: [api_version(session, options["version"])]),
        Step(("login_password",), lambda: [login_password(session, address, password)]),
        Step(("current_user",), lambda: [current_user(session)]),
        Step(("profile_information",), lambda: [profile_information(session)]),
        Step(("settings",), lambda: [settings(session)]),
        Step(("viewer_paths",), lambda: [viewer_paths(session)]),
        Step(("task_collection", "job_execution", "probe_removed"), lambda: probe(session, *probing)),
        Step(
            ("login_oauth",),
            lambda: [login_oauth(session)],
        ),
        Step(("email",), lambda: [email(session.variables, options["check_email"], session.release)]),
    )
    return run_steps(CHECKS, steps, address or url)


def service(instance: ServerInstance) -> Check:
    """Check that systemd runs the unit, nothing holds it, and it starts with the machine."""
    rule = CHECKS["service"]
    if instance.hold is not None:
        return rule.failed(instance.service, "it is held: an upgrade was begun and has not ended")
    if instance.active_state != "active" or instance.enabled_state in ("disabled", "masked"):
        return rule.failed(instance.service, f"it is {instance.active_state} and {instance.enabled_state}")
    return rule.passed(instance.service, f"it is active and {instance.enabled_state}")


def api_version(session: Session, wanted: str | None) -> Check:
    """Check that the API answers with the release wanted, and that it is the one installed."""
    rule, url = CHECKS["api_version"], session.api.url
    try:
        answer = session.api.get("/api/alive/")
    except FractalError as error:
        return rule.failed(url, str(error))
    version = answer.get("version") if isinstance(answer, dict) else None
    if version != (wanted or session.instance.version):
        return rule.failed(
            url,
            f"it answers as {version}; installed is {session.instance.version}"
            + (f", expected {wanted}" if wanted else ""),
        )
    return rule.passed(url, f"it answers as {version}")


def login_password(session: Session, address: str, password: str) -> Check:
    """Check that the account gets a token."""
    rule = CHECKS["login_password"]
    if not address:
        return rule.skipped("no account", NO_ACCOUNT, HOW_TO_GIVE_ONE)
    try:
        session.api.log_in(address, password)
    except ApiError as error:
        if error.status == 404 and session.variables.get(NO_PASSWORDS) == "true":
            return rule.skipped(address, f"{NO_PASSWORDS} is true: nobody logs in with a password")
        said = "e-mail or password is wrong, or the user is not active" if error.status == 400 else str(error)
        return rule.failed(address, said)
    return rule.passed(address, "a token was given")


def current_user(session: Session) -> Check:
    """Check that the account has all that a job needs (fractal-server 2.17.0, app/routes/auth/__init__.py)."""
    rule, release = CHECKS["current_user"], session.release
    session.me = session.api.get("/auth/current-user/")
    missing = [word for word in ("active", "verified") if not session.me.get(f"is_{word}")]
    if release.profile_page and session.me.get("profile_id") is None:
        missing.append("attached to a profile")
    page = session.me if release.folder_page == "/auth/current-user/" else session.api.get(release.folder_page)
    folders = page.get(release.folder_field) or []
    session.folder = next(iter([folders] if isinstance(folders, str) else folders), "")
    if not release.profile_page:
        backend = session.variables.get("FRACTAL_RUNNER_BACKEND") or "local"
        session.profile = {"username": page.get(release.usernames.get(backend, ""))}
    if missing:
        return rule.failed(session.account, f"the account is not {', not '.join(missing)}")
    return rule.passed(session.account, "active, verified" + (", with a profile" if release.profile_page else ""))


def profile_information(session: Session) -> Check:
    """Check that the account's profile and resource are told."""
    rule, page = CHECKS["profile_information"], session.release.profile_page
    if not page:
        return rule.skipped(session.account, f"fractal-server {session.instance.version} knows no profiles")
    session.profile = session.api.get(page)
    told = session.profile
    if not told.get("has_profile"):
        return rule.failed(session.account, "the account has no profile")
    return rule.passed(
        session.account,
        f"profile {told['profile_name']!r} on resource {told['resource_name']!r}, username {told['username']}",
    )


def settings(session: Session) -> Check:
    """Check that every settings page answers; only a superuser may see them."""
    rule = CHECKS["settings"]
    if not session.me.get("is_superuser"):
        return rule.skipped(
            session.account, "the account is not a superuser", "Give a superuser's account to check it."
        )
    pages = session.release.settings_pages
    for page in pages:
        session.api.get(page)
    return rule.passed(session.account, f"{', '.join(pages)} answer")


def viewer_paths(session: Session) -> Check:
    """Check that the API gives the folders that database and settings lead to."""
    rule = CHECKS["viewer_paths"]
    paths = sorted(session.api.get("/auth/current-user/allowed-viewer-paths/"))
    variable = session.release.viewer_scheme
    scheme = (session.variables.get(variable) or "none") if variable else "of the release"
    expected = (session.reviewed.get("viewer") or {}).get("paths", {}).get(session.account)
    if expected is None:
        expected = [] if scheme == "none" else None
    if expected is not None and paths != sorted(expected):
        return rule.failed(
            session.account,
            f"the API allows {', '.join(paths) or 'nothing'}; by scheme {scheme} it should be "
            f"{', '.join(sorted(expected)) or 'nothing'}",
        )
    if expected is None and session.folder not in paths:
        return rule.failed(session.account, f"the account's own folder is not among {', '.join(paths) or 'none'}")
    return rule.passed(session.account, f"scheme {scheme}: {', '.join(paths) or 'no folder, as the scheme says'}")


def _only_client(variables: Mapping[str, str]) -> str | None:
    """Return the name of the OAuth client in lower case, empty for none; None where several leave it open."""
    names = [client.name.lower() for client in clients(variables)]
    return None if len(names) > 1 else next(iter(names), "")
