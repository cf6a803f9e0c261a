"""A change: what a plan consists of, and what `Admin` sends."""

from dataclasses import dataclass
from typing import Any, Optional, Union

from .._key import endpoint
from ..formats.rules import dest_settings, service_name, service_settings
from ..model import Destination, Service
from .config import DestinationConfig, ServiceConfig, to_config

AnyService = Union[ServiceConfig, Service]
AnyDest = Union[DestinationConfig, Destination]

OPTIONS = {"add": "-A", "edit": "-E", "delete": "-D"}  # of ipvsadm, for a service; in lower case for a real server


@dataclass(frozen=True)
class Change:
    """One addition, edit or deletion of a virtual service, or of one of its real servers.

    action   "add", "edit" or "delete"
    service  the virtual service; with a real server, the one that has it
    dest     the real server, or None

    str() gives the words of ipvsadm. What an addition or an edit sends is checked here: ValueError names the field.
    """

    action: str
    service: AnyService
    dest: Optional[AnyDest] = None

    def __post_init__(self) -> None:
        if not isinstance(self.service, (ServiceConfig, Service)):
            raise ValueError(f"service is a ServiceConfig or a Service, not {self.service!r}")
        if not isinstance(self.dest, (DestinationConfig, Destination, type(None))):
            raise ValueError(f"dest is a DestinationConfig or a Destination, not {self.dest!r}")
        if self.action not in OPTIONS:
            raise ValueError(f"action is one of {', '.join(OPTIONS)}, not {self.action!r}")
        self.service.key  # noqa: B018  # ValueError if it identifies nothing
        if isinstance(self.dest, Destination):
            self.dest.key  # noqa: B018
        if self.action == "delete":
            return  # it sends no settings
        if self.dest is None:
            vars(self)["service"] = to_config(self.service, ServiceConfig)
            return
        dest = vars(self)["dest"] = to_config(self.dest, DestinationConfig)
        if dest.forwarding != "tunnel" and dest.address_family != self.service.address_family:
            reason = "only tunnels may have another address family than the service"
            raise ValueError(f"address_family of {endpoint(dest.address, dest.port)}: {reason}")

    def __str__(self) -> str:
        service: Any = self.service
        dest: Any = self.dest
        option, name = OPTIONS[self.action], service_name(service)
        if dest is None:
            return f"{option} {name}" + ("" if self.action == "delete" else service_settings(service))
        rest = f" -r {endpoint(dest.address, dest.port)}" if self.action == "delete" else dest_settings(dest)
        return f"{option.lower()} {name}{rest}"
