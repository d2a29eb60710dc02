from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.runtime.compile import mount_options as mo

# the table of runtime-spec 1.3 config.md, "Linux mount options"
WORDS = """
async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev
nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private
ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime
rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid
rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable
idmap ridmap
"""


def test_no_options_is_a_plain_mount():
    for empty in (None, [], [""]):
        parsed = mo.parse_options(empty)
        assert not (parsed.flags or parsed.attr_set or parsed.rec_attr_set or parsed.data or parsed.bind)


@pytest.mark.parametrize(
    ("word", "flag", "attr"),
    [
        ("ro", mo.MS_RDONLY, mo.MOUNT_ATTR_RDONLY),
        ("nosuid", mo.MS_NOSUID, mo.MOUNT_ATTR_NOSUID),
        ("nodev", mo.MS_NODEV, mo.MOUNT_ATTR_NODEV),
        ("noexec", mo.MS_NOEXEC, mo.MOUNT_ATTR_NOEXEC),
        ("nosymfollow", mo.MS_NOSYMFOLLOW, mo.MOUNT_ATTR_NOSYMFOLLOW),
        ("nodiratime", mo.MS_NODIRATIME, mo.MOUNT_ATTR_NODIRATIME),
    ],
)
def test_attribute_words_come_in_four_forms(word, flag, attr):
    opposite = {"ro": "rw"}.get(word, word.removeprefix("no"))
    parsed = mo.parse_options([word])
    assert (parsed.flags, parsed.clear_flags, parsed.attr_set, parsed.attr_clr) == (flag, 0, attr, 0)
    parsed = mo.parse_options([word, opposite])
    assert (parsed.flags, parsed.clear_flags, parsed.attr_set, parsed.attr_clr) == (0, flag, 0, attr)
    parsed = mo.parse_options(["r" + word])
    assert (parsed.flags, parsed.rec_attr_set, parsed.rec_attr_clr) == (0, attr, 0)
    parsed = mo.parse_options(["r" + word, "r" + opposite])
    assert (parsed.flags, parsed.rec_attr_set, parsed.rec_attr_clr) == (0, 0, attr)


def test_access_time_classes_exclude_each_other():
    parsed = mo.parse_options(["noatime", "strictatime"])
    assert parsed.flags == mo.MS_STRICTATIME
    assert parsed.attr_set == mo.MOUNT_ATTR_STRICTATIME
    assert parsed.attr_clr == mo.MOUNT_ATTR__ATIME
    assert mo.parse_options(["noatime", "atime"]).attr_set == 0
    tree = mo.parse_options(["rnoatime", "rrelatime"])
    assert (tree.rec_attr_set, tree.rec_attr_clr) == (mo.MOUNT_ATTR_RELATIME, mo.MOUNT_ATTR__ATIME)


def test_bind_and_propagation_stay_apart_from_the_flags():
    parsed = mo.parse_options(["rbind", "rslave", "ro", "shared"])
    assert parsed.bind and parsed.recursive
    assert parsed.flags == mo.MS_RDONLY
    assert parsed.propagation == [mo.MS_SLAVE | mo.MS_REC, mo.MS_SHARED]
    assert not mo.parse_options(["bind"]).recursive


def test_unknown_words_are_the_filesystems_data():
    assert mo.parse_options(["nosuid", "size=64k", "mode=755", "tmpcopyup"]).data == "size=64k,mode=755"


def test_crun_words():
    parsed = mo.parse_options(["copy-symlink", "src-nofollow", "dest-nofollow", "ridmap"])
    assert parsed.copy_symlink and parsed.src_nofollow and parsed.dest_nofollow
    assert parsed.idmap == "ridmap"


def test_inline_id_map():
    parsed = mo.parse_options(["idmap=uids=0-1000-10#10-5000-1;gids=0-2000-5"])
    assert parsed.idmap == "idmap"
    assert parsed.uid_map == [(0, 1000, 10), (10, 5000, 1)]
    assert parsed.gid_map == [(0, 2000, 5)]
    assert not parsed.map_relative
    assert mo.parse_options(["idmap=uids=@0-1-1;gids=@0-1-1"]).map_relative


@pytest.mark.parametrize(
    "word",
    [
        "idmap=",
        "idmap=uids=",
        "idmap=uids=1-2",
        "idmap=uids=1-2-0",
        "idmap=uids=a-b-c",
        "idmap=uids=0-4294967295-2",
        "idmap=pids=0-0-1",
        "idmap=uids=@0-0-1#1-1-1",
        "ridmap=uids=0-0-1;",
    ],
)
def test_malformed_id_maps_name_their_place(word):
    with pytest.raises(WherryError) as caught:
        mo.parse_options(["ro", word], "mounts[3].options")
    assert (caught.value.code, caught.value.path) == (INVALID_ARGUMENT, "mounts[3].options[1]")


def test_a_word_must_be_a_string():
    with pytest.raises(WherryError):
        mo.parse_options([7])


def test_every_word_of_the_specification_is_known():
    assert set(WORDS.split()) <= set(mo.MOUNT_OPTIONS)
    assert len(set(mo.MOUNT_OPTIONS)) == len(mo.MOUNT_OPTIONS)
    for word in mo.MOUNT_OPTIONS:
        assert mo.parse_options([word]).data == "", word


@given(st.lists(st.one_of(st.sampled_from(mo.MOUNT_OPTIONS), st.text(max_size=8))))
def test_a_bit_is_never_both_set_and_cleared(words):
    try:
        parsed = mo.parse_options(words)
    except WherryError:
        assert any(word.startswith(("idmap=", "ridmap=")) for word in words)
        return
    assert not parsed.flags & parsed.clear_flags & ~(mo.MS_NOATIME | mo.MS_RELATIME | mo.MS_STRICTATIME)
    assert not parsed.attr_set & parsed.attr_clr & ~mo.MOUNT_ATTR__ATIME
    assert not parsed.rec_attr_set & parsed.rec_attr_clr & ~mo.MOUNT_ATTR__ATIME
