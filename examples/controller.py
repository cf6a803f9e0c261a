#!/usr/bin/env python3
"""Keep IPVS as a file of rules says, such as `ipvsadm -Sn` prints them.

    PYTHONPATH=. examples/controller.py [--once] [--dry-run] [--interval SECONDS] RULES

It reads the file again at each round, so a change of the file takes effect without a restart. Services that the file
does not name are left alone. Real servers that leave the file keep their connections: they get weight 0, and go when
they have no connections left, after two minutes at the latest. It needs CAP_NET_ADMIN, also with --dry-run, which
prints the changes and makes none.
"""

import argparse
import sys
import time
from pathlib import Path

from ipvsnl import IPVSError
from ipvsnl.admin import Admin, Drain, parse_rules, plan


def main() -> int:
    parser = argparse.ArgumentParser(description="Keep IPVS as a file of rules says.")
    parser.add_argument("rules", type=Path, help="a file of rules, as ipvsadm -Sn prints them")
    parser.add_argument("--dry-run", action="store_true", help="print the changes, and make none")
    parser.add_argument("--once", action="store_true", help="make one round")
    parser.add_argument("--interval", type=float, default=5, metavar="SECONDS", help="the time between rounds (5)")
    arguments = parser.parse_args()
    try:
        with Admin() as admin:
            drain = Drain(admin)
            while True:
                done = one_round(admin, drain, arguments.rules, arguments.dry_run)
                if arguments.once:
                    return 0 if done else 1
                time.sleep(arguments.interval)
    except IPVSError as error:
        return complain(error)
    except KeyboardInterrupt:
        return 130


def one_round(admin: Admin, drain: Drain, rules: Path, dry_run: bool) -> bool:
    """Make IPVS what the file says, and return whether that is done."""
    try:
        desired = parse_rules(rules.read_text())
    except (OSError, ValueError) as error:  # replace the file with rename(2): a half-written one may be valid
        complain(f"{rules}: {error}")
        return False
    try:
        changes = plan(admin.dump(), desired, drain=True)
        print("".join([f"{change}\n" for change in changes]), end="", flush=True)
        if dry_run:
            return True
        try:
            admin.apply(changes)
        finally:  # drain, also if a change fails each time
            for change in drain.step(desired):
                print(change, flush=True)
    except IPVSError as error:  # the next round tries again
        complain(error)
        return False
    return True


def complain(error: object) -> int:
    print(f"controller: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
