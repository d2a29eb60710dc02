import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry import errors
from wherry.errors import WherryError
from wherry.oci import digest as digests
from wherry.oci import image as documents
from wherry.oci.image import Index, Manifest, parse_config, parse_manifest
from wherry.oci.platform import parse as parse_platform

DIGEST = "sha256:" + "0" * 64


def descriptor(**changes):
    return {"mediaType": documents.OCI_LAYER_GZIP, "digest": DIGEST, "size": 1, **changes}


def manifest(**changes):
    document = {
        "schemaVersion": 2,
        "mediaType": documents.OCI_MANIFEST,
        "config": descriptor(mediaType=documents.OCI_CONFIG),
        "layers": [descriptor()],
    }
    document.update(changes)
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def index(entries, **changes):
    return json.dumps({"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": entries, **changes}).encode()


@pytest.mark.parametrize("media_type", documents.MANIFEST_TYPES)
def test_reads_both_kinds_of_manifest_and_keeps_the_bytes(media_type):
    raw = manifest(mediaType=media_type)
    parsed = parse_manifest(raw, media_type + "; charset=utf-8")
    assert isinstance(parsed, Manifest)
    assert (parsed.media_type, parsed.raw, parsed.digest) == (media_type, raw, digests.of_bytes(raw))


def test_a_manifest_need_not_say_what_it_is():
    assert isinstance(parse_manifest(manifest(mediaType=None)), Manifest)
    assert isinstance(parse_manifest(index([], mediaType="")), Index)
    assert isinstance(parse_manifest(manifest(mediaType=None), "text/plain"), Manifest)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (manifest(manifests=[]), errors.INVALID_ARGUMENT),
        (manifest(mediaType=None, manifests=[]), errors.INVALID_ARGUMENT),
        (index([], layers=[]), errors.INVALID_ARGUMENT),
        (index([], config={}), errors.INVALID_ARGUMENT),
        (manifest(schemaVersion=3), errors.INVALID_ARGUMENT),
        (manifest(schemaVersion=1), errors.NOT_IMPLEMENTED),
        (manifest(mediaType=documents.DOCKER_SCHEMA1[1]), errors.NOT_IMPLEMENTED),
        (manifest(fsLayers=[]), errors.INVALID_ARGUMENT),
        (manifest(mediaType="application/x"), errors.NOT_IMPLEMENTED),
        (manifest(config=None), errors.INVALID_ARGUMENT),
        (manifest(layers={}), errors.INVALID_ARGUMENT),
        (manifest(layers=[descriptor(size=-1)]), errors.INVALID_ARGUMENT),
        (manifest(layers=[descriptor(size=1.5)]), errors.INVALID_ARGUMENT),
        (manifest(layers=[descriptor(size=True)]), errors.INVALID_ARGUMENT),
        (manifest(layers=[descriptor(size=1 << 63)]), errors.INVALID_ARGUMENT),
        (manifest(layers=[descriptor(digest="sha256:../../x")]), errors.INVALID_ARGUMENT),
        (manifest(layers=[descriptor()] * 501), errors.INVALID_ARGUMENT),
        (manifest(annotations={"a": 1}), errors.INVALID_ARGUMENT),
        (b"[]", errors.INVALID_ARGUMENT),
        (b"", errors.INVALID_ARGUMENT),
        (b"\xff", errors.INVALID_ARGUMENT),
        (b"[" * 100_000, errors.INVALID_ARGUMENT),
        (b'{"schemaVersion": NaN}', errors.INVALID_ARGUMENT),
        (b'{"schemaVersion": 2, "schemaVersion": 2}', errors.INVALID_ARGUMENT),
        (b" " * (documents.MANIFEST_LIMIT_BYTES + 1), errors.RESOURCE_EXHAUSTED),
    ],
)
def test_refuses_what_is_wrong_or_ambiguous(raw, code):
    with pytest.raises(WherryError) as caught:
        parse_manifest(raw)
    assert caught.value.code == code


def test_refuses_a_type_other_than_the_sender_named():
    with pytest.raises(WherryError, match="sent as"):
        parse_manifest(manifest(), documents.OCI_INDEX)


def test_error_names_the_place():
    with pytest.raises(WherryError) as caught:
        parse_manifest(manifest(layers=[descriptor(), descriptor(digest="x")]))
    assert caught.value.path == "layers[1].digest"


def test_index_selects_by_platform():
    entries = [
        descriptor(mediaType=documents.OCI_MANIFEST, platform={"os": "linux", "architecture": name}, size=number)
        for number, name in enumerate(["unknown", "amd64", "s390x"])
    ]
    parsed = parse_manifest(index(entries))
    assert parsed.select(parse_platform("linux/s390x")).size_bytes == 2
    with pytest.raises(WherryError, match="linux/arm") as caught:
        parsed.select(parse_platform("linux/arm/v7"))
    assert "linux/amd64" in caught.value.hint


def test_a_single_entry_without_platform_is_taken():
    parsed = parse_manifest(index([descriptor(mediaType=documents.OCI_MANIFEST)]))
    assert parsed.select(parse_platform("linux/amd64")).digest == DIGEST


def test_config_gives_the_defaults_of_a_container():
    config = parse_config(
        json.dumps(
            {
                "architecture": "arm64",
                "os": "linux",
                "variant": "v8",
                "config": {
                    "Env": ["A=b"],
                    "Cmd": ["sh"],
                    "Entrypoint": None,
                    "ExposedPorts": {"80/tcp": {}},
                    "Volumes": {"/data": {}},
                    "Labels": {"a": "b"},
                    "WorkingDir": "/w",
                    "User": "1:2",
                    "StopSignal": "SIGINT",
                },
                "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
                "history": [{"created_by": "x"}],
            }
        ).encode()
    )
    assert (config.env, config.cmd, config.entrypoint) == (("A=b",), ("sh",), None)
    assert (config.exposed_ports, config.volumes, config.labels) == (("80/tcp",), ("/data",), {"a": "b"})
    assert (config.working_dir, config.user, config.stop_signal) == ("/w", "1:2", "SIGINT")
    assert str(config.platform) == "linux/arm64/v8"
    assert config.diff_ids == (DIGEST,)


@pytest.mark.parametrize(
    "changes",
    [
        {"rootfs": {"type": "other"}},
        {"rootfs": {"diff_ids": ["x"]}},
        {"config": {"Env": "A=b"}},
        {"config": {"Cmd": [1]}},
        {"config": []},
        {"os": 1},
    ],
)
def test_config_refuses(changes):
    with pytest.raises(WherryError) as caught:
        parse_config(json.dumps(changes).encode())
    assert caught.value.code == errors.INVALID_ARGUMENT
    assert caught.value.path


def test_chain_ids_follow_the_specification():
    first, second, third = (digests.of_bytes(text) for text in (b"a", b"b", b"c"))
    chain = documents.chain_ids([first, second, third])
    assert chain[0] == first
    assert chain[1] == digests.of_bytes(f"{first} {second}".encode())
    assert chain[2] == digests.of_bytes(f"{chain[1]} {third}".encode())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "annotations", "digest", "size", "platform"]
    + ["rootfs", "diff_ids", "Env", "Labels", "history", "os", "urls", "subject"]
)


@given(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=4), max_size=6))
def test_any_json_is_read_or_refused(document):
    raw = json.dumps({"schemaVersion": 2, **document}).encode()
    for parser in (parse_manifest, parse_config):
        try:
            parser(raw)
        except WherryError:
            pass
