"""What is left to do inside a container's network namespace once its link is there."""

from __future__ import annotations

from wherry import errors
from wherry.errors import WherryError
from wherry.network import links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.network.base import Attachment

_LOOPBACK_INDEX = 1


def compile_loopback() -> list[bytes]:
    """Return the requests for a namespace without any network."""
    return [links.set_up(_LOOPBACK_INDEX)]


def compile_container_side(attachment: Attachment) -> list[bytes]:
    """Return complete rtnetlink requests, each to be acknowledged, to send in order in the namespace.

    INVALID_ARGUMENT when the interface's number inside the container is not known.
    """
    index = attachment.interface_index
    if not index:
        raise WherryError(
            errors.INVALID_ARGUMENT, f"the number of {attachment.interface} in the container is not known"
        )
    requests = [*compile_loopback(), links.set_up(index)]
    for item in attachment.addresses:
        requests.append(links.add_address(index, item.address, item.prefix_length))
    if attachment.default_route:
        requests += [links.add_default_route(item.gateway) for item in attachment.addresses if item.gateway]
    return requests
