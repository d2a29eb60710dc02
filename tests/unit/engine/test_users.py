import os

import pytest

from wherry.engine.users import resolve
from wherry.errors import NOT_FOUND, WherryError

PASSWD = "root:x:0:0:root:/root:/bin/sh\nredis:x:101:102::/var/lib/redis:/bin/false\nbroken\n"
GROUP = "root:x:0:\nredis:x:102:\naudio:x:29:redis,other\n"


@pytest.fixture
def layers(tmp_path):
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    (bottom / "etc").mkdir(parents=True)
    top.mkdir()
    (bottom / "etc/passwd").write_text(PASSWD)
    (bottom / "etc/group").write_text(GROUP)
    return top, bottom


def ids(text, layers):
    user = resolve(text, [str(layer) for layer in layers])
    return user.uid, user.gid, user.groups, user.home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, (), "/root")),
        ("redis", (101, 102, (29,), "/var/lib/redis")),
        ("101", (101, 102, (29,), "/var/lib/redis")),
        ("redis:root", (101, 0, (), "/var/lib/redis")),
        ("redis:7", (101, 7, (), "/var/lib/redis")),
        ("4242", (4242, 0, (), "/")),
        ("4242:audio", (4242, 29, (), "/")),
    ],
)
def test_names_and_numbers(text, expected, layers):
    assert ids(text, layers) == expected


@pytest.mark.parametrize("text", ["nobody-here", "redis:nobody-here", "99999999999", "0:4294967295"])
def test_unknown_ones_are_refused(text, layers):
    with pytest.raises(WherryError):
        ids(text, layers)


def test_the_topmost_layer_wins(layers):
    top, _ = layers
    (top / "etc").mkdir()
    (top / "etc/passwd").write_text("redis:x:7:8::/:/bin/sh\n")
    assert ids("redis", layers)[:2] == (7, 8)


def test_a_whiteout_hides_the_file_below(layers):
    top, _ = layers
    (top / "etc").mkdir()
    os.mknod(top / "etc/passwd", 0o20600, os.makedev(0, 0))
    with pytest.raises(WherryError) as caught:
        ids("redis", layers)
    assert caught.value.code == NOT_FOUND


@pytest.mark.parametrize("where", ["etc", "etc/passwd"])
def test_links_never_lead_to_the_host(layers, where, tmp_path):
    host = tmp_path / "host"
    host.mkdir()
    (host / "passwd").write_text("spy:x:1:1::/:/bin/sh\n")
    top, _ = layers
    if where == "etc":
        (top / "etc").symlink_to(host)
    else:
        (top / "etc").mkdir()
        (top / "etc/passwd").symlink_to(host / "passwd")
    with pytest.raises(WherryError):
        ids("spy", layers)


def test_a_fifo_is_not_waited_for(layers):
    top, _ = layers
    (top / "etc").mkdir()
    os.mkfifo(top / "etc/passwd")
    with pytest.raises(WherryError):
        ids("redis", layers)


@pytest.mark.parametrize("line", ["u:x:1:" + "9" * 5000 + "::/:", "u:x:4294967295:0::/:", "u:x:1:9999999999::/:"])
def test_ids_of_a_passwd_file_that_cannot_be(tmp_path, line):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(line + "\n")
    with pytest.raises(WherryError, match="out of range"):
        resolve("u", [str(tmp_path)])
