import pytest

import wherry.registry
import wherry.store
import wherry.transfer
from wherry.errors import WherryError
from wherry.transfer import names


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("busybox", ("docker", "busybox")),
        ("docker://host:5000/a:b", ("docker", "host:5000/a:b")),
        ("docker:1", ("docker", "docker:1")),
        ("oci:/a/b:tag", ("oci", "/a/b:tag")),
        ("oci-archive:f", ("oci-archive", "f")),
        ("docker-archive:/f:name:tag", ("docker-archive", "/f:name:tag")),
        ("dir:/a", ("dir", "/a")),
        ("localhost:5000/oci:x", ("docker", "localhost:5000/oci:x")),
    ],
)
def test_split(name, split):
    assert names.split(name) == split


def test_split_tag():
    assert names.split_tag("/a/b:host:5000/c:d") == ("/a/b", "host:5000/c:d")
    for text in ("", ":tag"):
        with pytest.raises(WherryError):
            names.split_tag(text)
    with pytest.raises(WherryError):
        names.split("oci:")


def test_making_a_source_or_sink_touches_nothing(tmp_path):
    for transport in ("oci", "dir", "docker-archive", "oci-archive"):
        sink = names.sink(f"{transport}:{tmp_path}/x")
        assert str(tmp_path) in sink.name
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", [wherry.registry, wherry.store, wherry.transfer])
def test_public_names_are_there_and_are_no_modules(package):
    import types

    for name in package.__all__:
        assert not isinstance(getattr(package, name), types.ModuleType), name
    with pytest.raises(AttributeError):
        package.no_such_name  # noqa: B018
