"""Change IPVS.

    from ipvsnl.admin import Admin, DestinationConfig, ServiceConfig, plan

    with Admin() as admin:
        web = ServiceConfig("tcp", "10.0.0.1", 80, scheduler="wrr")
        desired = [(web, [DestinationConfig("192.0.2.10", 8080, forwarding="masquerade", weight=3)])]
        changes = plan(admin.dump(), desired)
        for change in changes:
            print(change)
        admin.apply(changes)

Nothing outside this package imports it. Without this folder the library can only read. It runs no program and loads no
module; the kernel looks for the module of a scheduler or of a persistence engine that it does not know.
"""

from .changes import Change
from .client import Admin, ApplyError
from .config import DestinationConfig, ServiceConfig
from .drain import Drain
from .plan import plan
from .rules import parse_rules

__all__ = ["Admin", "ApplyError", "Change", "DestinationConfig", "Drain", "ServiceConfig", "parse_rules", "plan"]
