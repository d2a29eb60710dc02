import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.transfer import changes


def after(*lines):
    config = {}
    changes.apply(config, lines)
    return config


@pytest.mark.parametrize(
    ("lines", "config"),
    [
        (['CMD ["a", "b c"]'], {"Cmd": ["a", "b c"]}),
        (["CMD a b"], {"Cmd": ["/bin/sh", "-c", "a b"]}),
        (["CMD [broken"], {"Cmd": ["/bin/sh", "-c", "[broken"]}),
        (['entrypoint ["x"]'], {"Entrypoint": ["x"]}),
        (["ENV A=1 B='2 3'", "ENV A=4", "ENV C d e"], {"Env": ["A=4", "B=2 3", "C=d e"]}),
        (["LABEL a=b", 'LABEL "c d"=e'], {"Labels": {"a": "b", "c d": "e"}}),
        (["EXPOSE 80 53/udp 8000-8010"], {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000-8010/tcp": {}}}),
        (["USER a:b"], {"User": "a:b"}),
        (["WORKDIR /a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
        (["VOLUME /a /b", 'VOLUME ["/c"]'], {"Volumes": {"/a": {}, "/b": {}, "/c": {}}}),
        (["STOPSIGNAL SIGINT"], {"StopSignal": "SIGINT"}),
    ],
)
def test_apply(lines, config):
    assert after(*lines) == config


@pytest.mark.parametrize(
    "line", ["", "CMD", "RUN x", "ENV A", "ENV =x", "ENV A='", "EXPOSE x", "EXPOSE 80/icmp", "EXPOSE 70000", "LABEL a"]
)
def test_refuses(line):
    with pytest.raises(WherryError) as caught:
        after(line)
    assert caught.value.code == errors.INVALID_ARGUMENT
