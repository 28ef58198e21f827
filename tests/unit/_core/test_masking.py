"""What is shown of texts with secrets in them."""

from __future__ import annotations

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    Reader,
    encode,
    encode_for_systemd,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import (
    is_secret,
    mask_document,
    mask_text,
    mask_urls,
    secret_values,
)

AWKWARD = 'it\'s "a" \\secret$ #1'


@pytest.mark.parametrize(
    "name",
    "JWT_SECRET_KEY POSTGRES_PASSWORD FRACTAL_EMAIL_PASSWORD_KEY OAUTH_CLIENT_ID OAUTH_KC_OIDC_CONFIGURATION_ENDPOINT "
    "SMTP_PASS PGPASSWORD GITHUB_TOKEN AWS_CREDENTIALS SENTRY_DSN my_api_key".split(),
)
def test_secrets_are_known_by_their_names(name: str) -> None:
    assert is_secret(name)
    for value in ("'a b'", "a b'c", '"a \\" b"', "'two\nlines'"):
        assert mask_document(f"{name}={value}  # note\n", Reader.DOTENV_1_2) == f"{name}=********  # note\n"


@pytest.mark.parametrize("name", ["POSTGRES_USER", "FRACTAL_DATA_AUTH_SCHEME", "OAUTH_CLIENT_NAME", "HTTPS_PROXY"])
def test_other_variables_are_shown(name: str) -> None:
    assert mask_document(f"{name}=value\n", Reader.DOTENV_1_2) == f"{name}=value\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://example.org/a@b", "see https://example.org/a@b"),
        ("http://user:pass@proxy:3128/", "http://********@proxy:3128/"),
        ("https://token@github.com/x", "https://********@github.com/x"),
        ("postgresql://fractal:p/a@ss@db/x", "postgresql://********@db/x"),
        ("'http://u:it's@proxy' \"http://u:p@q\"", "'http://********@proxy' \"http://********@q\""),
    ],
)
def test_users_and_passwords_in_urls_are_masked(text: str, shown: str) -> None:
    assert mask_urls(text) == shown


def test_assignments_within_a_text_are_masked() -> None:
    text = mask_text("""was: password = 'x y', {"api_key": "z"} host=db&token=t""")
    assert text == 'was: password = ********, {"api_key": ********} host=db&token=********'


@pytest.mark.parametrize(
    ("line", "reader"),
    [
        (f"COPY={encode('to ' + AWKWARD)} # note\n", Reader.DOTENV_1_1),
        (f"COPY={encode_for_systemd('to ' + AWKWARD)}\n", Reader.SYSTEMD),
    ],
)
def test_a_secret_that_another_variable_repeats_in_another_notation_is_masked(line: str, reader: Reader) -> None:
    shown = mask_document(line, reader, [AWKWARD])
    assert shown.startswith("COPY=********") and "secret" not in shown


def test_an_oauth_client_called_like_the_service_does_not_hide_the_service() -> None:
    assert secret_values({"OAUTH_CLIENT_ID": "fractal", "OAUTH_CLIENT_SECRET": "s", "EMPTY_KEY": ""}) == {"s"}


def test_what_was_seen_is_masked_everywhere_unless_it_is_too_short_to_tell() -> None:
    assert mask_document("# ab-seen\nA=x-seen-y\nB=ab\n", Reader.DOTENV_1_2, ["seen", "ab"]) == (
        "# ab-********\nA=********\nB=ab\n"
    )
