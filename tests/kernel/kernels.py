"""Debian's own kernels, fetched and kept in a cache folder, so that the tests can run on each of them.

Each of Debian's suites carries one series of kernels. A kernel is fetched by apt with sources, package lists and
archive of its own, so that this machine's apt state stays as it is, and unpacked in the cache: nothing is installed.
The mirrors are those that this machine's apt is configured with.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

# The newest generic kernel of these suites is the newest of its series. The last one has no fixed series: it moves on.
SUITES = {
    "5.10": ["bullseye-security"],
    "6.1": ["bookworm", "bookworm-security"],
    "6.12": ["trixie", "trixie-security"],
    "7": ["forky"],
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipvsnl" / "kernels"
KEYRINGS = Path("/usr/share/keyrings")  # of Debian's package debian-archive-keyring


class Unavailable(Exception):
    """There is no such kernel here, and it cannot be fetched: the text says what is missing."""


def series(name: str) -> str:
    """The series that a name such as 6.1, 7 or 7.2 asks for."""
    for known in SUITES:
        if f"{name}.".startswith(f"{known}."):
            return known
    raise ValueError(f"no such kernel: {name} (there are {', '.join(SUITES)})")


def kernel(name: str) -> Path:
    """The image of that kernel, in a folder that has its modules, too: from the cache, or else from the mirror."""
    folder = CACHE / series(name)
    if not folder.exists():
        _fetch(SUITES[series(name)], folder)
    image = next(iter(sorted(folder.glob("boot/vmlinuz-*")) + sorted(folder.glob("lib/modules/*/vmlinuz"))), None)
    if image is None:
        raise Unavailable(f"{folder} has no kernel image: delete that folder")
    if not f"{release(image)}.".startswith(f"{name}."):
        raise Unavailable(f"the kernel in {folder} is {release(image)}, not {name}: ask for {series(name)}")
    return image


def release(image: Path) -> str:
    """What `uname -r` prints where this kernel runs."""
    return image.parent.name if image.name == "vmlinuz" else image.name.partition("-")[2]


def _fetch(suites: list[str], folder: Path) -> None:
    """Unpacks the kernel of these suites into a folder that appears only when it is complete."""
    print(f"=== fetching the kernel of {suites[-1]}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as name:
        work = Path(name)
        apt = _apt(work, suites)
        _run("apt-get", *apt, "--quiet", "update")
        names = _packages(_run("apt-cache", *apt, "depends", "--recurse", "--important", "linux-image-amd64"))
        if not names:
            raise Unavailable(f"{', '.join(suites)}: linux-image-amd64 needs no kernel package that is known here")
        _run("apt-get", *apt, "--quiet", "download", *names, cwd=work)
        root = work / "root"
        for package in sorted(work.glob("*.deb")):
            _run("dpkg-deb", "--extract", package, root)
        if not (root / "lib").exists():  # newer packages have usr/lib alone, and depmod looks in lib
            (root / "lib").symlink_to("usr/lib")
        _run("depmod", "--basedir", root, next((root / "lib/modules").iterdir()).name)
        root.rename(folder)


def _packages(closure: str) -> list[str]:
    """The packages that hold image and modules, among all that the metapackage of the newest generic kernel needs.

    It is one package, linux-image-6.1.0-56-amd64, or two, linux-binary-7.2.12+deb14-amd64 and linux-modules-... .
    """
    return sorted(set(re.findall(r"^linux-(?:image|binary|modules)-\d\S*-amd64$", closure, re.MULTILINE)))


def _apt(work: Path, suites: list[str]) -> list[str]:
    """Options that give apt these suites alone, and keep what it writes in this folder."""
    keyring = next(iter(sorted(KEYRINGS.glob("debian-archive-keyring.[gp]*"))), None)
    if keyring is None:
        raise Unavailable(f"Debian's archive keys are not in {KEYRINGS}: install debian-archive-keyring")
    sources = work / "sources.list"
    sources.write_text("".join(f"deb [signed-by={keyring}] {mirror(suite)} {suite} main\n" for suite in suites))
    (work / "lists/partial").mkdir(parents=True)
    (work / "cache/archives/partial").mkdir(parents=True)
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "",  # the user _apt may not read this folder
        "APT::Update::Error-Mode": "any",  # a list that could not be read is an error
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return [f"--option={name}={value}" for name, value in options.items()]


def mirror(suite: str) -> str:
    """Return the mirror that this machine reads Debian's packages from: one for releases, another for security."""
    mirrors = {}
    targets = _run("apt-get", "indextargets", "--format", "$(ORIGIN)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)")
    for line in targets.splitlines():
        origin, component, release, uri = line.split("|")
        # The origin is known only after `apt-get update`; apt checks the signature of what it gets there in any case.
        if origin in ("Debian", "") and component == "main":
            mirrors.setdefault(release.endswith("-security"), uri.rstrip("/"))
    # Without sources for security, as debootstrap leaves them: both are side by side on Debian's servers.
    if mirrors.get(False, "").endswith("/debian"):
        mirrors.setdefault(True, mirrors[False] + "-security")
    found = mirrors.get(suite.endswith("-security"))
    if found is None:
        raise Unavailable(f"apt's configuration here names no Debian mirror that could have {suite}")
    return found


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError:
        raise Unavailable(f"fetching a kernel needs {command[0]}") from None
    if done.returncode:
        raise Unavailable(f"{command[0]} {command[-1]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
