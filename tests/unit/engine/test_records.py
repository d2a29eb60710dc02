import pytest

from wherry.engine.records import CREATED, CREATING, Records
from wherry.errors import ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.store.database import Database


@pytest.fixture
def records(tmp_path):
    database = Database(str(tmp_path / "db"))
    yield Records(database)
    database.close()


def insert(records, container_id, name):
    records.insert(container_id=container_id, name=name, image="i", image_id="d", created_ns=1, owner="o")


def test_found_by_name_id_and_start_of_id(records):
    insert(records, "abc123", "web")
    assert {records.find(text).id for text in ("web", "abc123", "abc", "a")} == {"abc123"}
    assert records.find("web").state == CREATING


def test_a_name_is_given_once(records):
    insert(records, "a1", "web")
    with pytest.raises(WherryError, match="already in use by a1") as caught:
        insert(records, "b2", "web")
    assert caught.value.code == ALREADY_EXISTS


def test_an_ambiguous_start_is_refused(records):
    insert(records, "ab1", "x")
    insert(records, "ab2", "y")
    with pytest.raises(WherryError) as caught:
        records.find("ab")
    assert caught.value.code == INVALID_ARGUMENT


@pytest.mark.parametrize("text", ["", "*", "nope", "a*", "'; drop table x; --"])
def test_what_is_not_there(records, text):
    insert(records, "ab1", "x")
    with pytest.raises(WherryError) as caught:
        records.find(text)
    assert caught.value.code == NOT_FOUND


def test_update_and_delete(records):
    insert(records, "ab1", "x")
    records.update("ab1", state=CREATED, exit_code=3)
    assert (records.find("x").state, records.find("x").exit_code) == (CREATED, 3)
    assert records.unsettled() == []
    records.delete("ab1")
    records.delete("ab1")
    assert records.every() == []
