"""The text of /etc/resolv.conf, /etc/hosts and /etc/hostname for a container. Pure functions."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Used when the host names no server that a container can reach, so that names resolve at all.
FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")

_LOCAL_NAMES = ("localhost", "ip6-localhost", "ip6-loopback")


def resolv_conf(
    host_text: str,
    *,
    servers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    drop_loopback: bool = True,
) -> str:
    """Derive a container's resolv.conf from the host's; what is given replaces what the host says.

    `drop_loopback` leaves out servers on 127.0.0.0/8 and ::1, which are the container's own in a network
    namespace, and link-local ones, whose interface it does not have. The search list "." means none.
    """
    host_servers, host_search, host_options = _parse(host_text)
    chosen = list(servers) or [item for item in host_servers if not (drop_loopback and _is_local(item))]
    if not chosen and drop_loopback:
        chosen = list(FALLBACK_SERVERS)
    domains = list(search) or host_search
    lines = []
    if domains and domains != ["."]:
        lines.append("search " + " ".join(domains))
    lines += [f"nameserver {server}" for server in chosen]
    settings = list(options) or host_options
    if settings:
        lines.append("options " + " ".join(settings))
    return "".join(line + "\n" for line in lines)


def _parse(text: str) -> tuple[list[str], list[str], list[str]]:
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = words[1:]
        elif words[0] == "options":
            options += words[1:]
    return servers, search, options


def _is_local(server: str) -> bool:
    return server.startswith("127.") or server == "::1" or "%" in server


def hosts(
    hostname: str,
    addresses: Iterable[str],
    *,
    extra: Iterable[tuple[str, str]] = (),
    aliases: Sequence[str] = (),
    host_text: str = "",
) -> str:
    """Return a hosts file: `extra` are (name, address) pairs, `host_text` the lines to start from.

    Without an address of its own the container finds its name on its loopback.
    """
    lines = host_text.splitlines() or [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
    ]
    lines += [f"{address}\t{name}" for name, address in extra]
    if hostname and hostname not in _LOCAL_NAMES:
        names = " ".join((hostname, *aliases))
        lines += [f"{address}\t{names}" for address in addresses or ("127.0.1.1",)]
    return "".join(line + "\n" for line in lines)


def hostname(name: str) -> str:
    return name + "\n"
