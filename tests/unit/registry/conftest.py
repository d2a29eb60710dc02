import pytest

from .http_peer import Peer


@pytest.fixture
def peer():
    """Make scripted servers; they end with the test."""
    made = []

    def make(answer, **options):
        made.append(Peer(answer, **options))
        return made[-1]

    yield make
    for server in made:
        server.close()
