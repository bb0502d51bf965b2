import pytest

from fashioncnn.errors import UsageError
from fashioncnn.tuning.address import parse_address


@pytest.mark.parametrize(
    ("text", "url", "label", "secrets"),
    [
        (
            "postgresql://ann:pa%40ss%2F@db.example:5433/searches",
            "postgresql+psycopg://ann@db.example:5433/searches",
            "postgresql://ann@db.example:5433/searches",
            {"password": "pa@ss/"},
        ),
        (
            "postgresql://ann:pa@ss@db/s",
            "postgresql+psycopg://ann@db/s",
            "postgresql://ann@db/s",
            {"password": "pa@ss"},
        ),
        (
            "postgres://db/s?sslmode=require&password=x%23y",
            "postgresql+psycopg://db/s?sslmode=require",
            "postgresql://db/s",
            {"password": "x#y"},
        ),
        (
            "postgresql:///s?host=/run/postgresql",
            "postgresql+psycopg:///s?host=%2Frun%2Fpostgresql",
            "postgresql:///run/postgresql/s",
            {},
        ),
        (
            "postgresql://[::1]:5432/s",
            "postgresql+psycopg://[::1]:5432/s",
            "postgresql://[::1]:5432/s",
            {},
        ),
    ],
)
def test_password_is_kept_apart_from_the_address(text, url, label, secrets):
    address = parse_address(text)
    assert (address.url, str(address), address.secrets) == (url, label, secrets)
    assert not any(secret in repr(address) for secret in secrets.values())


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:hid/den@host/db",
        "postgresql://u:12/hidden@host/db",
        "postgresql://u:hid#den@host/db",
        "postgresql://u:hidden@host:port/db",
        "postgresql://u:hidden@host/a/b",
        "postgresql://u:hidden@host/db?sslmode",
        "sqlite:///hidden.db",
        "hidden",
        "postgresql:hidden",
        "",
    ],
)
def test_other_texts_are_rejected_without_being_repeated(text):
    with pytest.raises(UsageError) as caught:
        parse_address(text, "FASHIONCNN_STORAGE")
    message = str(caught.value)
    assert message.startswith("FASHIONCNN_STORAGE")
    assert "postgresql://USER@HOST" in message
    assert "hid" not in message


def test_secrets_do_not_appear_in_explanations():
    address = parse_address("postgresql://u:hidden@host/db")
    cause = ValueError("connection failed: host said hidden\nmore")
    assert address.explain(cause) == (
        "the database cannot be used (host said ***); then run the same command to resume"
    )
