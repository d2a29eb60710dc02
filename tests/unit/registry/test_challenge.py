import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry import errors
from wherry.errors import WherryError
from wherry.registry.challenge import Authenticator, parse
from wherry.registry.credentials import Credentials
from wherry.registry.http import is_loopback, retry_after


def shown(header):
    return [(challenge.scheme, challenge.parameters) for challenge in parse(header)]


def test_parse():
    assert shown('Bearer realm="https://a/t",service="s" , scope="repository:x:pull,push"') == [
        ("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})
    ]
    assert shown('Basic realm="a \\"b\\""') == [("basic", {"realm": 'a "b"'})]
    assert shown("Negotiate, Basic realm=x, Bearer realm=y") == [
        ("negotiate", {}),
        ("basic", {"realm": "x"}),
        ("bearer", {"realm": "y"}),
    ]
    assert shown("") == []


@given(st.text(alphabet='abB =,"\\\t', max_size=60))
def test_parse_ends(header):
    parse(header)


def test_a_password_is_not_sent_unencrypted():
    sent = []

    def send(*request):
        sent.append(request)
        return 200, b'{"token":"t"}'

    authenticator = Authenticator(send, lambda: Credentials("u", "p"), insecure=False)
    authenticator.challenged('Bearer realm="http://evil.example/token"', "s")
    with pytest.raises(WherryError) as caught:
        authenticator.header("s")
    assert caught.value.code == errors.PERMISSION_DENIED
    assert sent == []


def test_an_identity_token_is_exchanged():
    sent = []

    def send(method, url, headers, body):
        sent.append((method, url, body))
        return 200, b'{"access_token":"t"}'

    authenticator = Authenticator(send, lambda: Credentials("", "", "refresh"), insecure=False)
    authenticator.challenged('Bearer realm="https://a/token",service="s"', "x")
    assert authenticator.header("repository:a:pull") == "Bearer t"
    method, url, body = sent[0]
    assert (method, url) == ("POST", "https://a/token")
    assert b"grant_type=refresh_token" in body
    assert b"refresh_token=refresh" in body


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.1.2.3", True),
        ("[::1]:5000", True),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:5000", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback(address, loopback):
    assert is_loopback(address) is loopback


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("", None),
        ("5", 5.0),
        ("100000", 60.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after(value, wait):
    assert retry_after(value, 1000.0) == wait
