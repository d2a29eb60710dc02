from __future__ import annotations

import fcntl
import os
import sys

import pytest

from wherry.errors import ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.plan.encode import Plan
from wherry.plan.meta import read_meta
from wherry.runtime import state_folder
from wherry.runtime.state_folder import check_free, check_id, create, read_state, start_time


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a~1", "ü", "a\n", "x" * 256])
def test_bad_ids(name):
    with pytest.raises(WherryError) as caught:
        check_id(name)
    assert caught.value.code == INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["a", "A_9+.-", ".hidden", "h", "help"])
def test_good_ids(name):
    check_id(name)


def test_a_folder_appears_complete_and_locked(tmp_path):
    root = str(tmp_path / "new/root")
    folder = create(root, "box", b"plan", b"{}")
    assert sorted(os.listdir(folder.path)) == ["config.json", "lock", "plan"]
    assert os.listdir(root) == ["box"]
    assert os.read(folder.plan_fd, 10) == b"plan"
    other = os.open(f"{folder.path}/lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    folder.discard()
    assert os.listdir(root) == []


def test_a_name_is_given_once(tmp_path):
    folder = create(str(tmp_path), "box", b"plan", b"{}")
    for attempt in (lambda: create(str(tmp_path), "box", b"", b""), lambda: check_free(str(tmp_path), "box", "")):
        with pytest.raises(WherryError) as caught:
            attempt()
        assert caught.value.code == ALREADY_EXISTS
        assert "container with given ID already exists" in str(caught.value)
    assert os.listdir(tmp_path) == ["box"]
    folder.discard()


def test_what_a_killed_creator_left_is_removed_by_the_native_program(tmp_path):
    folder = create(str(tmp_path), "box", b"plan", b"{}")
    os.close(folder.lock_fd)
    remover = tmp_path / "remover"
    remover.write_text('#!/bin/sh\n[ "$3 $4 $5" = "delete --force box" ] && rm -r "$2/$5"\n')
    remover.chmod(0o755)
    check_free(str(tmp_path), "box", str(remover))
    assert not (tmp_path / "box").exists()
    os.close(folder.plan_fd)


def test_a_missing_container(tmp_path):
    with pytest.raises(WherryError) as caught:
        read_state(str(tmp_path), "nope")
    assert caught.value.code == NOT_FOUND
    assert "does not exist" in str(caught.value)


def test_facts_are_read_from_the_bytes_of_a_plan():
    plan = Plan()
    plan.program(0).emit("META", "cgroup", "/a/ü")
    plan.program(0).emit("META", "freezer", "")
    plan.program(1).emit("SETSID")
    assert read_meta(plan.encode()) == {"cgroup": "/a/ü", "freezer": ""}
    for damaged in (b"", b"x" * 40, plan.encode()[:30]):
        with pytest.raises(WherryError):
            read_meta(damaged)


def test_start_times():
    assert start_time(os.getpid()) > 0
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert start_time(pid) == 0, "a zombie runs no more"
    os.waitpid(pid, 0)
    assert start_time(pid) == 0


def test_roots(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/me")
    assert state_folder.default_root(1000, False) == "/run/me/wherry/runtime"
    assert state_folder.default_root(0, False) == "/run/wherry/runtime"
    monkeypatch.setenv("USER", "me")
    assert state_folder.default_root(0, True) == "/run/me/wherry/runtime"
