from __future__ import annotations

import ctypes

import pytest

from wherry.errors import WherryError
from wherry.runtime import capabilities as caps


def test_numbers_are_the_kernels():
    assert caps.NUMBERS["CAP_CHOWN"] == 0
    assert caps.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert caps.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40


def test_the_running_kernels_last_capability_bounds_the_bounding_set():
    libc = ctypes.CDLL(None, use_errno=True)
    read_bounding = 23
    assert libc.prctl(read_bounding, caps.last_cap(), 0, 0, 0) >= 0
    assert libc.prctl(read_bounding, caps.last_cap() + 1, 0, 0, 0) == -1


def test_mask_and_names_are_inverse():
    warnings: list[str] = []
    bits = caps.mask(list(caps.DEFAULT), "p", warnings)
    assert not warnings
    assert set(caps.names(bits)) == set(caps.DEFAULT)
    assert caps.mask(None, "p", warnings) == 0


def test_an_unknown_name_is_a_warning_with_its_place():
    warnings: list[str] = []
    assert caps.mask(["CAP_KILL", "CAP_FLY"], "process.capabilities.bounding", warnings) == 1 << 5
    assert warnings == ["process.capabilities.bounding[1]: unknown capability 'CAP_FLY' is ignored"]


@pytest.mark.parametrize("value", ["CAP_KILL", [1], {}])
def test_a_wrong_type_is_an_error(value):
    with pytest.raises(WherryError):
        caps.mask(value, "p", [])


def test_add_and_drop():
    assert caps.adjust(caps.DEFAULT, ["net_raw"], ["all"]) == ["CAP_NET_RAW"]
    assert caps.adjust(caps.DEFAULT, ["ALL"], ["CAP_MKNOD"]) == [c for c in caps.CAPABILITIES if c != "CAP_MKNOD"]
    assert caps.adjust(["CAP_KILL", "CAP_CHOWN"], [], ["kill"]) == ["CAP_CHOWN"]
    with pytest.raises(WherryError):
        caps.adjust((), ["kill"], ["CAP_KILL"])
    with pytest.raises(WherryError):
        caps.adjust((), ["fly"], [])
