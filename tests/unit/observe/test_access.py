"""What a mounted Secret says about the way in, and what a broken one is told."""

from pathlib import Path

import pytest

from trimtab.errors import InvalidInput, Unavailable
from trimtab.observe.access import Access, parse_header


def folder(at: Path, **files: str) -> Path:
    for name, text in files.items():
        (at / name.replace("_", ".")).write_text(text)
    return at


def test_without_anything_nothing_is_added() -> None:
    assert Access().headers() == {}
    assert Access().verify() is True


def test_a_token_is_read_anew_for_every_query(tmp_path: Path) -> None:
    access = Access(folder=folder(tmp_path, token="old\n"))
    assert access.headers() == {"Authorization": "Bearer old"}
    folder(tmp_path, token="new\n")
    assert access.headers() == {"Authorization": "Bearer new"}


def test_a_name_and_a_password(tmp_path: Path) -> None:
    access = Access(folder=folder(tmp_path, username="me", password="p:w"), extra=(("X-A", "b"),))
    assert access.headers() == {"X-A": "b", "Authorization": "Basic bWU6cDp3"}


def test_an_authority_alone_is_enough(tmp_path: Path) -> None:
    access = Access(folder=folder(tmp_path, ca_crt="-"))
    assert access.headers() == {}
    assert access.verify() == str(tmp_path / "ca.crt")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"username": "me"},
        {"password": "secret"},
        {"token": "secret", "username": "me", "password": "secret"},
        {"token": ""},
        {"token": "secret\nX-Evil: 1"},
    ],
)
def test_a_folder_that_is_no_way_in_is_named_and_its_content_is_not(
    tmp_path: Path, files: dict[str, str]
) -> None:
    with pytest.raises(Unavailable) as refused:
        Access(folder=folder(tmp_path, **files)).headers()
    assert str(tmp_path) in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is not there"):
        Access(folder=tmp_path / "gone").headers()


def test_a_header_is_written_with_an_equals_sign() -> None:
    assert parse_header("X-Scope-OrgID=team=a") == ("X-Scope-OrgID", "team=a")


@pytest.mark.parametrize("text", ["X-Scope-OrgID", "=a", "A=b\r\nC: d", ""])
def test_what_is_no_header_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="X-Scope-OrgID=team-a"):
        parse_header(text)
