import sqlite3
import subprocess
import threading
from contextlib import suppress

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.store.database import RESERVE_BYTES, Database, split_script


@pytest.fixture
def database(tmp_path):
    database = Database(str(tmp_path / "db"))
    yield database
    database.close()


def test_each_layer_has_its_own_versions(database):
    database.migrate("one", ["CREATE TABLE a (x); INSERT INTO a VALUES (1);"])
    database.migrate("two", ["CREATE TABLE b (x)"])
    database.migrate("one", ["CREATE TABLE a (x); INSERT INTO a VALUES (1);", "INSERT INTO a VALUES (2)"])
    database.migrate("one", ["CREATE TABLE a (x); INSERT INTO a VALUES (1);", "INSERT INTO a VALUES (2)"])
    assert database.query("SELECT x FROM a") == [(1,), (2,)]


def test_a_failing_migration_leaves_nothing(database):
    with pytest.raises(WherryError, match="nonsense"):
        database.migrate("one", ["CREATE TABLE a (x); nonsense;"])
    assert database.query("SELECT name FROM sqlite_master WHERE name = 'a'") == []


def test_a_newer_file_is_refused(database):
    database.migrate("one", ["CREATE TABLE a (x)", "CREATE TABLE b (x)"])
    with pytest.raises(WherryError, match="newer") as caught:
        database.migrate("one", ["CREATE TABLE a (x)"])
    assert caught.value.code == errors.FAILED_PRECONDITION


def test_transactions_nest_and_roll_back(database):
    database.migrate("one", ["CREATE TABLE a (x)"])
    with pytest.raises(ValueError, match="stop"), database.transaction() as outer:
        outer.execute("INSERT INTO a VALUES (1)")
        with database.transaction() as inner:
            assert inner is outer
            inner.execute("INSERT INTO a VALUES (2)")
        raise ValueError("stop")
    assert database.query("SELECT * FROM a") == []
    assert database.execute("INSERT INTO a VALUES (3)") == 1
    assert database.query_one("SELECT x FROM a") == (3,)
    assert database.query_one("SELECT x FROM a WHERE x = 4") is None


def test_writers_in_threads_and_processes_wait_for_each_other(database, tmp_path):
    database.migrate("one", ["CREATE TABLE a (x)"])
    other = Database(database.path)

    def write(target):
        for number in range(30):
            with target.transaction() as connection:
                count = connection.execute("SELECT count(*) FROM a").fetchone()[0]
                connection.execute("INSERT INTO a VALUES (?)", (count,))
            assert number >= 0

    threads = [threading.Thread(target=write, args=(target,)) for target in (database, database, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row[0] for row in database.query("SELECT x FROM a ORDER BY x")] == list(range(90))
    other.close()


def test_settings_that_make_a_commit_durable(database):
    assert database.query("PRAGMA journal_mode") == [("wal",)]
    assert database.query("PRAGMA synchronous") == [(2,)]
    assert database.query("PRAGMA foreign_keys") == [(1,)]


def test_a_transaction_that_need_not_wait_for_the_disk(database):
    database.migrate("one", ["CREATE TABLE a (x)"])
    with database.transaction(durable=False) as connection:
        connection.execute("INSERT INTO a VALUES (1)")
        assert database.query("PRAGMA synchronous") == [(1,)]
    assert database.query("PRAGMA synchronous") == [(2,)]


def test_a_damaged_file_is_data_loss(tmp_path):
    (tmp_path / "db").write_bytes(b"no database" * 1000)
    with pytest.raises(WherryError) as caught:
        Database(str(tmp_path / "db")).query("SELECT 1")
    assert caught.value.code == errors.DATA_LOSS


def test_split_script_knows_strings_and_comments():
    script = (
        "INSERT INTO a VALUES ('x;y'); -- a; comment\nSELECT 1;\n CREATE TRIGGER t INSERT ON a BEGIN SELECT 1; END;"
    )
    assert len(split_script(script)) == 3


def test_a_refused_statement_is_our_error_and_is_rolled_back(database):
    database.migrate("one", ["CREATE TABLE a (x UNIQUE)"])
    with pytest.raises(WherryError, match="no such table") as caught, database.transaction() as connection:
        connection.execute("INSERT INTO a VALUES (1)")
        connection.execute("INSERT INTO b VALUES (1)")
    assert caught.value.code == errors.INTERNAL
    assert database.query("SELECT * FROM a") == []
    database.execute("INSERT INTO a VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO a VALUES (1)")


def test_a_database_that_may_not_be_written_says_so(database):
    database.migrate("one", ["CREATE TABLE a (x)"])
    database.connection().execute("PRAGMA query_only=ON")
    with pytest.raises(WherryError, match="cannot be written") as caught:
        database.execute("INSERT INTO a VALUES (1)")
    assert caught.value.code == errors.FAILED_PRECONDITION


@pytest.fixture
def small_disk(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def fill(disk):
    with (disk / "fill").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_lets_removals_through(small_disk):
    database = Database(str(small_disk / "db"))
    database.migrate("one", ["CREATE TABLE a (x)"])
    database.execute("INSERT INTO a VALUES (1)")
    database.close()
    fill(small_disk)
    assert database.query("SELECT x FROM a") == [(1,)]
    assert database.execute("DELETE FROM a") == 1
    database.close()
    assert not (small_disk / "db-reserve").exists()
    fill(small_disk)
    with pytest.raises(WherryError, match="no space") as caught:
        database.query("SELECT x FROM a")
    assert caught.value.code == errors.RESOURCE_EXHAUSTED
    (small_disk / "fill").unlink()
    assert database.query("SELECT x FROM a") == []
    assert (small_disk / "db-reserve").stat().st_size == RESERVE_BYTES
    database.close()
