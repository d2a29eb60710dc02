"""What every snapshotter must do. Each test runs on all of them, and a container sees the same on each."""

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.store.tarballs import archive, directory, entry, hardlink, symlink, whiteout
from wherry import errors
from wherry.errors import WherryError
from wherry.oci import digest as digests
from wherry.oci import image as documents
from wherry.store import Store
from wherry.store.snapshots import Snapshots

LISTING = Path(__file__).with_name("listing.py")


@pytest.fixture(params=["overlay", "copy"])
def store(tmp_path, request):
    with Store.open(str(tmp_path / "root"), driver=request.param) as store:
        yield store
        assert store.check(deep=True) == []


def add(store, *archives, order=None):
    """Add layers, bottom first, and give the topmost chain id. `order` is that of staging."""
    diff_ids = [digests.of_bytes(data) for data in archives]
    chain = documents.chain_ids(diff_ids)
    parents = [None, *chain]
    order = order if order is not None and store.layers.parallel else range(len(archives))
    with store.writing():
        staged = {}
        for number in order:
            staged[number] = store.layers.stage(
                chain[number], parents[number], diff_ids[number], diff_ids[number], [archives[number]]
            )
            if not store.layers.parallel:
                store.layers.commit(staged.pop(number), parents[number])
        for number in sorted(staged):
            store.layers.commit(staged[number], parents[number])
    return chain[-1]


def see(root, command=None):
    """What a container would see, after it has run `command`."""
    (mount,) = root.mounts
    options = root.overlay_options(relative=True) if root.needs_relative() else mount.options
    arguments = [root.mountpoint, mount.type, mount.source, ",".join(options)]
    done = subprocess.run(
        ["unshare", "-m", sys.executable, LISTING, *arguments, *([command] if command else [])],
        capture_output=True,
        text=True,
        cwd=root.base,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def contents(seen):
    """Regular files and what is in them; everything else by kind."""
    found = {}
    for name, shown in seen.items():
        if name == ".":
            continue
        if "data" in shown:
            found[name] = base64.b64decode(shown["data"]).decode()
        elif "target" in shown:
            found[name] = "-> " + shown["target"]
        else:
            found[name] = {stat.S_IFDIR: "/", stat.S_IFCHR: "c"}.get(stat.S_IFMT(shown["mode"]), "?")
    return found


def run(store, *archives, order=None, command=None):
    root = store.snapshots.create("c", add(store, *archives, order=order))
    seen = see(root, command)
    store.snapshots.remove("c")
    return seen


def test_layers_stack(store):
    seen = run(
        store,
        archive(directory("d"), entry("d/a", b"1"), entry("d/b", b"1"), entry("top", b"1")),
        archive(directory("d"), entry("d/b", b"2"), whiteout(".wh.top")),
        archive(directory("d"), entry("d/c", b"3")),
    )
    assert contents(seen) == {"d": "/", "d/a": "1", "d/b": "2", "d/c": "3"}


def test_layers_may_be_staged_in_any_order(store):
    seen = run(
        store,
        archive(directory("d", 0o751), entry("d/a", b"1")),
        archive(entry("d/b", b"2")),
        archive(hardlink("d/c", "d/b")),
        order=[2, 0, 1],
    )
    assert contents(seen) == {"d": "/", "d/a": "1", "d/b": "2", "d/c": "2"}
    assert seen["d"]["mode"] & 0o7777 == 0o751


def test_whiteouts_of_all_kinds(store):
    lower = archive(
        directory("opaque"), entry("opaque/old", b"x"), directory("opaque/sub"), entry("opaque/sub/old", b"x"),
        directory("gone"), entry("gone/f", b"x"), entry("file", b"x"), directory("again"), entry("again/old", b"x"),
        directory("kept"), entry("kept/f", b"x"),
    )  # fmt: skip
    upper = archive(
        directory("opaque"), directory("opaque/sub"), entry("opaque/sub/new", b"y"), entry("opaque/.wh..wh..opq"),
        whiteout("opaque/.wh.old"), whiteout(".wh.gone"), whiteout(".wh.file"), whiteout(".wh.again"),
        directory("again"), entry("again/new", b"y"), whiteout("kept/.wh.missing"), whiteout("gone/.wh.f"),
    )  # fmt: skip
    assert contents(run(store, lower, upper)) == {
        "opaque": "/", "opaque/sub": "/", "opaque/sub/new": "y", "again": "/", "again/new": "y",
        "kept": "/", "kept/f": "x",
    }  # fmt: skip


def test_an_opaque_root_hides_everything(store):
    seen = run(
        store,
        archive(directory("d"), entry("d/old", b"x"), entry("f", b"x"), entry("g", b"x")),
        archive(entry(".wh..wh..opq"), directory("d"), entry("d/new", b"y"), entry("g", b"y")),
    )
    assert contents(seen) == {"d": "/", "d/new": "y", "g": "y"}


def test_a_deleted_directory_can_come_back_in_a_later_layer(store):
    seen = run(
        store,
        archive(directory("d"), entry("d/old", b"x")),
        archive(whiteout(".wh.d")),
        archive(directory("d"), entry("d/new", b"y")),
    )
    assert contents(seen) == {"d": "/", "d/new": "y"}


def test_files_and_directories_replace_each_other(store):
    seen = run(
        store,
        archive(directory("d"), entry("d/f", b"x"), entry("f", b"x"), symlink("s", "d"), directory("t")),
        archive(entry("d", b"file"), directory("f"), entry("f/g", b"y"), directory("s"), symlink("t", "f")),
    )
    assert contents(seen) == {"d": "file", "f": "/", "f/g": "y", "s": "/", "t": "-> f"}


def test_a_directory_left_out_looks_as_below(store):
    lower = archive(directory("tmp", 0o1777, uid=7, mtime=99), directory("var"), directory("var/x", 0o2770, gid=8))
    seen = run(store, lower, archive(entry("tmp/f", b"x"), entry("var/x/y/z", b"x")))
    assert seen["tmp"]["mode"] & 0o7777 == 0o1777
    assert (seen["tmp"]["uid"], seen["var/x"]["gid"], seen["var/x"]["mode"] & 0o7777) == (7, 8, 0o2770)
    assert seen["var/x/y"]["mode"] & 0o7777 == 0o755


def test_a_directory_left_out_may_be_a_symlink_below(store):
    seen = run(
        store,
        archive(
            directory("usr"),
            directory("usr/bin", 0o711),
            entry("usr/bin/a", b"a"),
            symlink("bin", "usr/bin"),
            symlink("abs", "/usr"),
        ),
        archive(entry("bin/b", b"b"), entry("abs/bin/c", b"c"), entry("abs/lib/d", b"d")),
    )
    assert contents(seen) == {
        "usr": "/", "usr/bin": "/", "usr/bin/a": "a", "usr/bin/b": "b", "usr/bin/c": "c", "usr/lib": "/",
        "usr/lib/d": "d", "bin": "-> usr/bin", "abs": "-> /usr",
    }  # fmt: skip
    assert seen["usr/bin"]["mode"] & 0o7777 == 0o711


def test_a_directory_entry_replaces_a_symlink_below(store):
    seen = run(
        store,
        archive(directory("usr"), directory("usr/bin"), entry("usr/bin/a", b"a"), symlink("bin", "usr/bin")),
        archive(directory("bin"), entry("bin/b", b"b")),
    )
    assert contents(seen) == {"usr": "/", "usr/bin": "/", "usr/bin/a": "a", "bin": "/", "bin/b": "b"}


def test_hard_links_to_a_lower_layer(store):
    seen = run(
        store,
        archive(directory("d"), entry("d/f", b"x", mode=0o750, uid=5, mtime=9), symlink("s", "d")),
        archive(whiteout(".wh.other"), entry("g", b"y")),
        archive(hardlink("h", "d/f"), hardlink("new/i", "s/f")),
    )
    assert contents(seen) == {"d": "/", "d/f": "x", "g": "y", "h": "x", "new": "/", "new/i": "x", "s": "-> d"}
    assert [seen[name]["uid"] for name in ("d/f", "h", "new/i")] == [5, 5, 5]
    assert seen["h"]["mode"] & 0o7777 == 0o750


@pytest.mark.parametrize("target", ["missing", "gone", "d"])
def test_a_hard_link_to_nothing_leaves_nothing(store, target):
    first = archive(entry("gone", b"x"), directory("d"))
    chain = add(store, first)
    with pytest.raises(WherryError) as caught:
        add(store, first, archive(whiteout(".wh.gone"), hardlink("h", target)))
    assert caught.value.code == errors.INVALID_ARGUMENT
    assert len(store.layers.list()) == 1
    assert store.layers.list()[0].chain_id == chain
    assert os.listdir(store.paths.tmp) == []
    assert store.database.query("SELECT * FROM intents") == []


def test_the_root_directory_is_the_topmost_layers(store):
    seen = run(store, archive(directory("./", 0o711, uid=3)), archive(entry("f", b"x")))
    assert (seen["."]["mode"] & 0o7777, seen["."]["uid"]) == (0o711, 3)


def test_a_container_writes_to_itself_alone(store):
    chain = add(store, archive(directory("d"), entry("d/f", b"x"), entry("g", b"x")))
    first, second = store.snapshots.create("one", chain), store.snapshots.create("two", chain)
    assert contents(see(first, "echo -n new >d/f; rm g; mkdir e")) == {"d": "/", "d/f": "new", "e": "/"}
    assert contents(see(first)) == {"d": "/", "d/f": "new", "e": "/"}
    assert contents(see(second)) == {"d": "/", "d/f": "x", "g": "x"}
    assert store.snapshots.list() == ["one", "two"]
    assert store.snapshots.usage("one").inodes >= 2
    for name in ("one", "two"):
        store.snapshots.remove(name)
        store.snapshots.remove(name)
    assert os.listdir(store.paths.containers) == []


def test_a_container_from_nothing(store):
    root = store.snapshots.create("c", "")
    assert contents(see(root, "touch f")) == {"f": ""}
    store.snapshots.remove("c")


def test_names_are_taken_once(store):
    store.snapshots.create("c", "")
    with pytest.raises(WherryError) as caught:
        store.snapshots.create("c", "")
    assert caught.value.code == errors.ALREADY_EXISTS
    assert store.snapshots.exists("c")
    store.snapshots.remove("c")
    with pytest.raises(WherryError) as caught:
        store.snapshots.get("c")
    assert caught.value.code == errors.NOT_FOUND
    with pytest.raises(WherryError) as caught:
        store.snapshots.create("c", "sha256:" + "0" * 64)
    assert caught.value.code == errors.NOT_FOUND


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "..", "-x", "x" * 200])
def test_names_that_are_no_names(store, name):
    for use in (lambda: store.snapshots.create(name, ""), lambda: store.snapshots.remove(name)):
        with pytest.raises(WherryError) as caught:
            use()
        assert caught.value.code == errors.INVALID_ARGUMENT


def test_a_mounted_container_is_not_removed(store):
    root = store.snapshots.create("c", add(store, archive(entry("f", b"x"))))
    (mount,) = root.mounts
    kind = ["--rbind", mount.source] if mount.type == "bind" else ["-t", "overlay", "-o", ",".join(mount.options), "o"]
    subprocess.run(["mount", *kind, root.mountpoint], check=True)
    try:
        with pytest.raises(WherryError) as caught:
            store.snapshots.remove("c")
        assert caught.value.code == errors.FAILED_PRECONDITION
        assert Path(root.mountpoint, "f").read_text() == "x"
    finally:
        subprocess.run(["umount", root.mountpoint], check=True)
    assert contents(see(store.snapshots.get("c"))) == {"f": "x"}
    store.snapshots.remove("c")


def test_a_wrong_diff_id_leaves_nothing(store):
    wrong = digests.of_bytes(b"something else")
    with pytest.raises(WherryError) as caught, store.writing():
        store.layers.stage(wrong, None, wrong, wrong, [archive(entry("f", b"x"))])
    assert caught.value.code == errors.DATA_LOSS
    assert os.listdir(store.paths.tmp) == os.listdir(store.paths.layers) == []


def test_trailing_bytes_count_for_the_diff_id(store):
    add(store, archive(entry("f", b"x"), end=bytes(20480)), archive(entry("g", b"x")) + b"trailing")


def test_an_equal_layer_added_meanwhile_wins(store):
    data = archive(entry("f", b"x"))
    diff_id = digests.of_bytes(data)
    with store.writing():
        staged = [store.layers.stage(diff_id, None, diff_id, diff_id, [data]) for _ in range(2)]
        kept = [store.layers.commit(item, None).key for item in staged]
    assert kept[0] == kept[1] == staged[0].key
    assert os.listdir(store.paths.layers) == [str(kept[0])]


def test_garbage_goes_and_what_stands_on_layers_stays(store):
    lower, upper = archive(entry("f", b"x")), archive(entry("g", b"x"))
    chain = add(store, lower, upper)
    store.snapshots.create("c", chain)
    assert store.gc().layers == []
    store.snapshots.remove("c")
    assert len(store.gc().layers) == 2
    assert os.listdir(store.paths.layers) == []


def test_interrupted_work_is_undone_on_opening(store):
    """The states that a kill can leave, made by hand; the system tests kill for real."""
    chain = add(store, archive(entry("f", b"x")))
    add_intent = "INSERT INTO intents (id, kind, subject) VALUES (?, ?, ?)"
    for key, place in ((101, store.paths.tmp), (102, store.paths.layers)):
        store.database.execute(add_intent, (key, "layer", "x"))
        Path(place, str(key)).mkdir()
    store.database.execute(add_intent, (103, "layer", "nothing was made yet"))
    store.database.execute(add_intent, (104, "container", "half"))
    Path(store.paths.containers, "half/diff").mkdir(parents=True)
    store.snapshots.create("going", chain)
    store.database.execute(add_intent, (105, "removal", "going"))
    with Store.open(store.root) as again:
        assert again.check(deep=True) == []
        assert again.snapshots.list() == []
        assert again.database.query("SELECT * FROM intents") == []
    assert os.listdir(store.paths.tmp) == os.listdir(store.paths.containers) == []


def test_nothing_is_repaired_while_somebody_writes(store):
    store.database.execute("INSERT INTO intents (id, kind, subject) VALUES (101, 'layer', 'x')")
    Path(store.paths.tmp, "101").mkdir()
    with store.writing(), Store.open(store.root):
        assert os.listdir(store.paths.tmp) == ["101"]
    Store.open(store.root).close()
    assert os.listdir(store.paths.tmp) == []


def test_layers_of_another_boot_are_applied_again_from_their_blobs(store):
    """After a power cut the files of young layers may be empty; their blobs are whole."""
    first, second = archive(directory("d"), entry("d/f", b"x")), archive(entry("d/g", b"y"))
    for data in (first, second):
        store.blobs.put(data)
    chain = add(store, first, second)
    for key in os.listdir(store.paths.layers):
        for path in Path(store.paths.layers, key).rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    store.database.execute("UPDATE layers SET boot = 'an earlier one'")
    with Store.open(store.root) as again:
        root = again.snapshots.create("c", chain)
        assert contents(see(root)) == {"d": "/", "d/f": "x", "d/g": "y"}
        again.snapshots.remove("c")
        assert len(os.listdir(store.paths.layers)) == 2
        again.layers.make_durable(store.root, older_than_s=0)
        assert again.database.query("SELECT DISTINCT boot FROM layers") == [("",)]


def test_a_directory_whose_row_a_power_cut_took_is_no_obstacle(store):
    for place in (store.paths.layers, store.paths.tmp):
        Path(place, "1/left").mkdir(parents=True)
    seen = run(store, archive(entry("f", b"x")))
    assert contents(seen) == {"f": "x"}
    store.gc()


def test_many_layers(store):
    count = 130
    seen = run(store, *[archive(entry(f"f{number}", b"x"), entry("last", b"%d" % number)) for number in range(count)])
    assert len(seen) == count + 2
    assert base64.b64decode(seen["last"]["data"]) == b"129"


def test_snapshots_is_what_the_engine_expects():
    for name in ("create", "get", "exists", "list", "remove", "usage"):
        assert callable(getattr(Snapshots, name))
