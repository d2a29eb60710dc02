from __future__ import annotations

import os

import pytest

from wherry.errors import WherryError
from wherry.plan.encode import Plan
from wherry.plan.instructions import DELETE, HOST, NONE, WRITE_PID
from wherry.runtime.intel_rdt import compile_rdt, find_resctrl, rdt_stats, update_rdt


def compiled(intel_rdt, root):
    rdt = compile_rdt({"linux": {"intelRdt": intel_rdt}}, "box", root=str(root))
    plan = Plan()
    rdt.before_clone(plan.program(HOST))
    rdt.after_clone(plan.program(HOST))
    rdt.delete(plan.program(DELETE))
    plan.encode()
    named = [(name, *arguments) for name, _, arguments in plan.program(HOST).steps]
    return named, [(name, *arguments) for name, _, arguments in plan.program(DELETE).steps]


def test_a_class_of_its_own_goes_with_the_container(tmp_path):
    wanted = {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=70", "schemata": ["L3:0=3"], "enableMonitoring": True}
    host, delete = compiled(wanted, tmp_path)
    box = f"{tmp_path}/box"
    assert host == [
        ("MKDIR", NONE, box, 0o755, -1, -1),
        ("WRITE", NONE, f"{box}/schemata", b"L3:0=f\n", 0),
        ("WRITE", NONE, f"{box}/schemata", b"MB:0=70\n", 0),
        ("WRITE", NONE, f"{box}/schemata", b"L3:0=3\n", 0),
        ("MKDIR", NONE, f"{box}/mon_groups/box", 0o755, -1, -1),
        ("WRITE", NONE, f"{box}/tasks", b"", WRITE_PID),
        ("WRITE", NONE, f"{box}/mon_groups/box/tasks", b"", WRITE_PID),
    ]
    assert delete == [("CGROUP_REMOVE", f"{box}/mon_groups/box", 1000), ("CGROUP_REMOVE", box, 1000)]


def test_a_named_class_stays(tmp_path):
    host, delete = compiled({"closID": "gold", "schemata": ["L3:0=f"]}, tmp_path)
    assert host[0][2] == f"{tmp_path}/gold"
    assert delete == []


def test_the_default_class(tmp_path):
    (tmp_path / "schemata").write_text("L3:0=ff\n")
    host, delete = compiled({"closID": "/", "enableMonitoring": True}, tmp_path)
    assert host[0] == ("MKDIR", NONE, f"{tmp_path}/mon_groups/box", 0o755, -1, -1)
    assert delete == [("CGROUP_REMOVE", f"{tmp_path}/mon_groups/box", 1000)]


def test_an_existing_class_must_agree(tmp_path):
    gold = tmp_path / "gold"
    gold.mkdir()
    (gold / "schemata").write_text("    L3:0=00f;1=fff\n    MB:0= 70\n")
    host, _ = compiled({"closID": "gold", "l3CacheSchema": "L3:0=F", "memBwSchema": "MB:0=70"}, tmp_path)
    assert [step[0] for step in host] == ["WRITE"]
    assert host[0][2] == f"{gold}/tasks"
    with pytest.raises(WherryError, match="not 7"):
        compiled({"closID": "gold", "l3CacheSchema": "L3:1=7"}, tmp_path)


@pytest.mark.parametrize(
    "wanted",
    [
        {"closID": "../x"},
        {"closID": ".."},
        {"closID": "info"},
        {"l3CacheSchema": "X:0=f"},
        {"memBwSchema": "L3:0=f"},
        {"memBwSchema": "MB:0=1\nMB:1=2"},
        {"schemata": ["L3:0=f\nMB:0=1"]},
        {"schemata": "L3:0=f"},
    ],
)
def test_refused(wanted, tmp_path):
    with pytest.raises(WherryError) as caught:
        compiled(wanted, tmp_path)
    assert caught.value.path.startswith("linux.intelRdt")


def test_nothing_asked():
    assert compile_rdt({"linux": {}}, "box") is None


def test_no_resctrl_here():
    if find_resctrl():
        pytest.skip("this machine has resctrl")
    with pytest.raises(WherryError, match="not mounted"):
        compile_rdt({"linux": {"intelRdt": {}}}, "box")
    assert rdt_stats(os.getpid()) == {}


def test_update_and_stats(tmp_path):
    box = tmp_path / "box"
    box.mkdir()
    (tmp_path / "info" / "L3").mkdir(parents=True)
    (tmp_path / "info" / "L3" / "cbm_mask").write_text("fff\n")
    (tmp_path / "info" / "L3" / "num_closids").write_text("16\n")
    (tmp_path / "schemata").write_text("    L3:0=fff\n")
    (box / "schemata").write_text("")
    (box / "tasks").write_text(f"{os.getpid()}\n")
    update_rdt(str(box), "L3:0=f")
    assert rdt_stats(os.getpid(), str(tmp_path)) == {
        "l3_cache_schema": "L3:0=f",
        "l3_cache_schema_root": "L3:0=fff",
        "l3_cache_info": {"cbm_mask": "fff", "num_closids": 16},
    }
    with pytest.raises(WherryError, match="cannot write"):
        update_rdt(str(tmp_path / "none"), "L3:0=f")
