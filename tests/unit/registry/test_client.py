import base64
import json

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.oci import digest as digests
from wherry.oci import image as documents
from wherry.oci.image import Descriptor, Document
from wherry.oci.reference import parse
from wherry.registry import Client, Settings

from .http_peer import Answer

DATA = bytes(range(256)) * 4000
BLOB = Descriptor(documents.OCI_LAYER, digests.of_bytes(DATA), len(DATA))
BLOB_PATH = f"/v2/a/b/blobs/{BLOB.digest}"
INDEX = b'{"schemaVersion":2,"manifests":[]}'


@pytest.fixture
def slept():
    return []


@pytest.fixture
def client(slept, tmp_path):
    (tmp_path / "auth.json").write_text("{}")
    settings = Settings(sleep=slept.append, retries=3, timeout_s=5)
    with Client(settings=settings, auth_file=str(tmp_path / "auth.json")) as client:
        yield client


@pytest.fixture
def user(slept):
    """A client with a name and a password."""
    with Client(settings=Settings(sleep=slept.append, retries=3), credentials=("user", "secret")) as client:
        yield client


def reference(peer, suffix=":tag"):
    return parse(f"{peer.address}/a/b{suffix}")


def in_turn(*answers):
    """Answers one after the other, the last of them for good; the ping is answered as usual."""
    left = list(answers)

    def answer(request):
        if request.path == "/v2/":
            return None
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


# Manifests


def test_manifest_by_tag_and_by_digest(client, peer):
    server = peer(in_turn(Answer(200, INDEX, Content_Type=documents.OCI_INDEX)))
    document = client.manifest(reference(server))
    assert (document.raw, document.media_type) == (INDEX, documents.OCI_INDEX)
    assert documents.DOCKER_MANIFEST in server.requests[-1].headers["Accept"]
    client.manifest(reference(server, f"@{document.digest}"))
    assert server.requests[-1].path.endswith(document.digest)


def test_a_manifest_that_is_another_is_refused(client, peer):
    server = peer(in_turn(Answer(200, INDEX)))
    with pytest.raises(WherryError) as caught:
        client.manifest(reference(server, "@" + digests.of_bytes(b"other")))
    assert caught.value.code == errors.DATA_LOSS


def test_a_manifest_that_is_too_large_is_not_read_to_its_end(client, peer):
    server = peer(in_turn(Answer(200, b" " * (documents.MANIFEST_LIMIT_BYTES + 1000))))
    with pytest.raises(WherryError) as caught:
        client.manifest(reference(server))
    assert caught.value.code == errors.RESOURCE_EXHAUSTED


def test_resolve_takes_one_request(client, peer):
    digest = digests.of_bytes(INDEX)
    server = peer(in_turn(Answer(200, INDEX, Docker_Content_Digest=digest, Content_Type=documents.OCI_INDEX)))
    assert client.resolve(reference(server)).digest == digest
    assert server.asked() == ["HEAD /v2/a/b/manifests/tag"]


def test_resolve_without_the_header_asks_for_the_manifest(client, peer):
    server = peer(in_turn(Answer(200, INDEX)))
    assert client.resolve(reference(server)).digest == digests.of_bytes(INDEX)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, errors.INVALID_ARGUMENT),
        (401, errors.UNAUTHENTICATED),
        (403, errors.PERMISSION_DENIED),
        (404, errors.NOT_FOUND),
        (405, errors.NOT_IMPLEMENTED),
        (500, errors.UNAVAILABLE),
    ],
)
def test_refusals_have_a_code_and_the_registrys_words(client, peer, status, code):
    body = json.dumps({"errors": [{"code": "SOME_CODE", "message": "in its\nown words"}]}).encode()
    server = peer(in_turn(Answer(status, body)))
    with pytest.raises(WherryError, match=r"SOME_CODE: in its.own words") as caught:
        client.manifest(reference(server))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_tags_come_in_pages(client, peer):
    def answer(request):
        if request.path == "/v2/":
            return None
        if "last=b" in request.query:
            return Answer(200, b'{"name":"a/b","tags":["c"]}')
        return Answer(200, b'{"name":"a/b","tags":["a","b"]}', Link='</v2/a/b/tags/list?last=b>; rel="next"')

    assert client.tags(reference(peer(answer))) == ["a", "b", "c"]


# Patience


def test_waits_as_long_as_it_is_told(client, peer, slept):
    server = peer(in_turn(Answer(429, Retry_After="7"), Answer(503), Answer(200, INDEX)))
    client.manifest(reference(server))
    assert slept == [7.0, 0.5]


def test_gives_up_in_the_end(client, peer, slept):
    server = peer(in_turn(Answer(503)))
    with pytest.raises(WherryError) as caught:
        client.manifest(reference(server))
    assert caught.value.code == errors.UNAVAILABLE
    assert len(server.asked()) == 4
    assert slept == [0.25, 0.5, 1.0]


def test_nobody_there(client):
    with pytest.raises(WherryError, match="refused") as caught:
        client.manifest(parse("127.0.0.1:1/a:b"))
    assert caught.value.code == errors.UNAVAILABLE


# Blobs


def test_a_transfer_that_breaks_off_goes_on(client, peer):
    def answer(request):
        if request.path != BLOB_PATH:
            return None
        start = int((request.headers.get("Range") or "bytes=0-")[6:-1])
        end = f"{len(DATA) - 1}/{len(DATA)}"
        rest = DATA[start:]
        cut = max(len(rest) - 300_000, 0)
        return Answer(206 if start else 200, rest, cut=cut, Content_Range=f"bytes {start}-{end}")

    server = peer(answer)
    assert b"".join(client.blob(reference(server), BLOB)) == DATA
    assert len(server.asked()) == 4
    assert b"".join(client.blob(reference(server), BLOB, 1000)) == DATA[1000:]


def test_a_server_without_ranges_is_read_past(client, peer):
    server = peer(in_turn(Answer(200, DATA)))
    assert b"".join(client.blob(reference(server), BLOB, 5000)) == DATA[5000:]


def test_a_wrong_range_is_refused(client, peer):
    server = peer(in_turn(Answer(206, DATA, Content_Range=f"bytes 0-{len(DATA) - 1}/{len(DATA)}")))
    with pytest.raises(WherryError, match="sent"):
        list(client.blob(reference(server), BLOB, 5000))


def test_a_transfer_that_brings_nothing_ends(client, peer):
    server = peer(in_turn(Answer(200, DATA, cut=len(DATA))))
    with pytest.raises(WherryError) as caught:
        list(client.blob(reference(server), BLOB))
    assert caught.value.code == errors.UNAVAILABLE


def test_a_shorter_blob_is_an_error_and_a_longer_one_is_cut(client, peer):
    server = peer(in_turn(Answer(200, DATA[:-1]), Answer(206, b"", Content_Range=f"bytes {len(DATA) - 1}-")))
    with pytest.raises(WherryError, match="shorter"):
        list(client.blob(reference(server), BLOB))
    server = peer(in_turn(Answer(200, DATA + b"more")))
    assert b"".join(client.blob(reference(server), BLOB)) == DATA


# Authentication


def bearer(realm, token=b'{"token":"t1"}'):
    def answer(request):
        if request.path == "/token":
            return Answer(200, token)
        if request.headers.get("Authorization") != "Bearer t1":
            challenge = f'Bearer realm="{realm()}",service="reg,istry",scope="repository:a/b:pull"'
            return Answer(401, WWW_Authenticate=challenge)
        return Answer(200, INDEX)

    return answer


def test_bearer_tokens_are_fetched_once(peer, user):
    server = peer(bearer(lambda: f"http://{server.address}/token"))
    for _ in range(3):
        user.manifest(reference(server))
    tokens = [request for request in server.requests if request.path == "/token"]
    assert len(tokens) == 1
    assert tokens[0].headers["Authorization"] == "Basic " + base64.b64encode(b"user:secret").decode()
    assert "scope=repository%3Aa%2Fb%3Apull" in tokens[0].query
    assert "service=reg%2Cistry" in tokens[0].query


def test_anonymous_tokens(client, peer):
    server = peer(bearer(lambda: f"http://{server.address}/token", b'{"access_token":"t1"}'))
    client.manifest(reference(server))
    assert all("Basic" not in (request.headers.get("Authorization") or "") for request in server.requests)


@pytest.mark.parametrize("token", [b"{}", b"nonsense", b'{"token": 5}', b'{"token": "a\\r\\nb"}', b'{"token": ""}'])
def test_a_token_that_is_none(client, peer, token):
    server = peer(bearer(lambda: f"http://{server.address}/token", token))
    with pytest.raises(WherryError) as caught:
        client.manifest(reference(server))
    assert caught.value.code == errors.UNAUTHENTICATED


def test_a_token_that_is_not_accepted_is_not_fetched_for_ever(client, peer):
    server = peer(bearer(lambda: f"http://{server.address}/token", b'{"token":"wrong"}'))
    with pytest.raises(WherryError) as caught:
        client.manifest(reference(server))
    assert caught.value.code == errors.UNAUTHENTICATED
    assert len(server.requests) < 10


def test_basic(peer, user):
    expected = "Basic " + base64.b64encode(b"user:secret").decode()

    def answer(request):
        if request.headers.get("Authorization") != expected:
            return Answer(401, WWW_Authenticate='Basic realm="r"')
        return Answer(200, INDEX)

    server = peer(answer)
    user.manifest(reference(server))
    assert "Authorization" not in server.requests[0].headers


def test_credentials_do_not_follow_redirects(peer, user):
    other = peer(in_turn(Answer(200, DATA)), address="127.0.0.2")
    expected = "Basic " + base64.b64encode(b"user:secret").decode()

    def answer(request):
        if request.headers.get("Authorization") != expected:
            return Answer(401, WWW_Authenticate='Basic realm="r"')
        return Answer(307, Location=f"http://{other.address}/elsewhere?signed=1")

    server = peer(answer)
    assert b"".join(user.blob(reference(server), BLOB)) == DATA
    assert other.requests[0].path == "/elsewhere"
    assert "Authorization" not in other.requests[0].headers


def test_another_host_cannot_ask_for_credentials(peer, user):
    other = peer(lambda request: Answer(401, WWW_Authenticate='Basic realm="r"'), address="127.0.0.2")
    server = peer(in_turn(Answer(307, Location=f"http://{other.address}/x")))
    with pytest.raises(WherryError):
        list(user.blob(reference(server), BLOB))
    assert all("Authorization" not in request.headers for request in other.requests)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://host/x", "gopher://x"])
def test_redirects_go_to_http_only(client, peer, location):
    server = peer(in_turn(Answer(307, Location=location)))
    with pytest.raises(WherryError) as caught:
        list(client.blob(reference(server), BLOB))
    assert caught.value.code == errors.PERMISSION_DENIED


@pytest.mark.parametrize("location", ["http://[::bad/", "http://127.0.0.1:99999999/x", "http://127.0.0.1:port/x"])
def test_redirects_to_what_is_no_address(client, peer, location):
    server = peer(in_turn(Answer(307, Location=location)))
    with pytest.raises(WherryError) as caught:
        list(client.blob(reference(server), BLOB))
    assert caught.value.code == errors.UNAVAILABLE


def test_redirects_have_an_end(client, peer):
    server = peer(in_turn(Answer(307, Location="/again")))
    with pytest.raises(WherryError):
        list(client.blob(reference(server), BLOB))
    assert len(server.requests) < 20


# Uploads


class Upload:
    """A registry that takes one blob, and what happens at its requests."""

    def __init__(self, *, present=False, mount=202, failures=(), forget=0):
        self.data = b""
        self.present = present
        self.mount = mount
        self.failures = list(failures)
        self.forget = forget

    def __call__(self, request):
        if request.method == "HEAD":
            return Answer(200 if self.present else 404)
        if request.method == "POST" and "mount=" in request.query:
            return Answer(self.mount, Location="/v2/a/b/blobs/uploads/1?_state=x%2Fy")
        if request.method == "POST":
            return Answer(202, Location="/v2/a/b/blobs/uploads/1?_state=x%2Fy")
        if "/uploads/" not in request.path:
            return None
        assert "_state=x%2Fy" in request.query
        if request.method == "GET":
            return Answer(204, Range=f"0-{max(len(self.data) - 1, 0)}", Location=f"{request.path}?{request.query}")
        if self.failures and (status := self.failures.pop(0)):
            self.data += request.body[: len(request.body) - self.forget]
            return Answer(status)
        self.data += request.body
        if request.method == "PUT":
            return Answer(201 if digests.of_bytes(self.data) == BLOB.digest else 400)
        return Answer(202, Location=f"{request.path}?{request.query}")


def read(offset):
    return [DATA[start : start + 70_000] for start in range(offset, len(DATA), 70_000)]


def test_upload_in_one_request(client, peer):
    server = peer(Upload())
    assert client.push_blob(reference(server), BLOB, read) is True
    assert server.asked() == [f"HEAD {BLOB_PATH}", "POST /v2/a/b/blobs/uploads/", "PUT /v2/a/b/blobs/uploads/1"]
    assert server.requests[-1].headers["Content-Length"] == str(len(DATA))


def test_upload_is_not_needed(client, peer):
    server = peer(Upload(present=True))
    assert client.push_blob(reference(server), BLOB, read) is False
    assert server.asked() == [f"HEAD {BLOB_PATH}"]


def test_upload_by_mounting(client, peer):
    server = peer(Upload(mount=201))
    assert client.push_blob(reference(server), BLOB, read, mount_from=["c/d"]) is False
    assert server.requests[-1].query == f"mount={BLOB.digest.replace(':', '%3A')}&from=c%2Fd"


def test_upload_after_a_mount_was_refused(client, peer):
    upload = Upload(mount=202)
    assert client.push_blob(reference(peer(upload)), BLOB, read, mount_from=["c/d"]) is True
    assert upload.data == DATA


def test_upload_again_after_a_failure(client, peer):
    upload = Upload()
    upload.failures = [503]
    upload.forget = len(DATA)
    client.push_blob(reference(peer(upload)), BLOB, read)
    assert upload.data == DATA


def test_upload_in_pieces_goes_on_where_it_stopped(client, peer):
    upload = Upload(failures=[0, 0, 416], forget=60_000)
    server = peer(upload)
    client.push_blob(reference(server), BLOB, read, chunk_bytes=100_000)
    assert upload.data == DATA
    assert "GET /v2/a/b/blobs/uploads/1" in server.asked()


def test_manifest_upload(client, peer):
    digest = digests.of_bytes(INDEX)
    server = peer(in_turn(Answer(201, Docker_Content_Digest=digest)))
    document = Document(INDEX, documents.OCI_INDEX, digest)
    assert client.push_manifest(reference(server), document) == digest
    request = server.requests[-1]
    assert (request.path, request.headers["Content-Type"]) == ("/v2/a/b/manifests/tag", documents.OCI_INDEX)
    assert request.body == INDEX


def test_a_registry_that_changes_the_manifest_is_noticed(client, peer):
    server = peer(in_turn(Answer(201, Docker_Content_Digest=digests.of_bytes(b"other"))))
    with pytest.raises(WherryError) as caught:
        client.push_manifest(reference(server), Document(INDEX, documents.OCI_INDEX, digests.of_bytes(INDEX)))
    assert caught.value.code == errors.DATA_LOSS
