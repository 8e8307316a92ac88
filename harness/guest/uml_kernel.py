"""uml_kernel: kernel modules for this machine's user-mode Linux: what uml_zfs and uml_ublk share.

Debian ships no headers for its user-mode kernel, so they are prepared from linux-source with that kernel's own
configuration, and the list of its symbols is read back from the binary (symbols_of). What is built stands in
~/.cache/sbench/uml/VERSION, where a file modules.order names it for the guest to load (note_modules).
"""

import gzip
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

UML = Path(shutil.which("linux.uml") or "/usr/bin/linux.uml")
UML_MODULES = Path("/usr/lib/uml/modules")
UML_CONFIG = Path("/usr/share/doc/user-mode-linux/config.gz")
TOOLS = ("apt-get", "dpkg-deb", "make", "gcc", "flex", "bison", "bc", "xz", "strip")


class Failure(Exception):
    """What a user must read."""


def say(text: str) -> None:
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


def run(command: list[str], log: Path, **more) -> None:
    with log.open("ab") as output:
        if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **more).returncode == 0:
            return
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|E:|No space|not found", line)]
    raise Failure(f"{' '.join(command[:3])}… failed; {log} says: {(telling or lines or ['nothing'])[-1].strip()}")


def uml_release() -> str:
    releases = sorted(entry.name for entry in UML_MODULES.iterdir()) if UML_MODULES.is_dir() else []
    if not releases or not UML.exists():
        raise Failure("user-mode Linux is not installed: apt-get install user-mode-linux")
    return releases[0]


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(base) if base.startswith("/") else Path(os.environ.get("HOME", "/")) / ".cache"
    return base / "sbench" / "uml" / uml_release()


def symbols_of(kernel: Path) -> str:
    """Module.symvers of a kernel without CONFIG_MODVERSIONS, from the tables of exported symbols in its ELF file."""
    data = kernel.read_bytes()
    table_at, = struct.unpack_from("<Q", data, 0x28)
    entry_bytes, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", data, table_at + i * entry_bytes) for i in range(count)]
    names_at = sections[names_index][4]

    def text_at(offset: int) -> str:
        return data[offset:data.index(b"\0", offset)].decode()

    def text_of(address: int) -> str | None:
        for _, kind, _, start, offset, size in sections:
            if kind != 8 and start and start <= address < start + size:  # 8: SHT_NOBITS
                return text_at(offset + address - start)
        return None

    lines = []
    for name, _, _, start, offset, size in sections:
        section = text_at(names_at + name)
        if section not in ("__ksymtab", "__ksymtab_gpl"):
            continue
        kind = "EXPORT_SYMBOL" + ("_GPL" if section.endswith("gpl") else "")
        # An entry is value, name and name space: pointers, or (PREL32) distances from where they stand.
        absolute = text_of(struct.unpack_from("<QQQ", data, offset)[1]) is not None
        for at in range(0, size, 24 if absolute else 12):
            if absolute:
                _, named, spaced = struct.unpack_from("<QQQ", data, offset + at)
            else:
                _, named, spaced = struct.unpack_from("<iii", data, offset + at)
                named, spaced = start + at + 4 + named, start + at + 8 + spaced if spaced else 0
            lines.append(f"0x00000000\t{text_of(named)}\tvmlinux\t{kind}\t{text_of(spaced) or '' if spaced else ''}\n")
    if len(lines) < 1000:
        raise Failure(f"found only {len(lines)} exported symbols in {kernel}")
    return "".join(lines)


class Packages:
    """Debian's archive with its section contrib, beside the system's own configuration, which is left alone."""

    def __init__(self, work: Path) -> None:
        self.work = work
        (work / "lists" / "partial").mkdir(parents=True)
        (work / "archives" / "partial").mkdir(parents=True)
        with open("/etc/os-release", encoding="utf-8") as file:
            system = dict(line.strip().split("=", 1) for line in file if "=" in line)
        if system.get("ID", "").strip('"') != "debian":
            raise Failure("this build takes its sources from Debian's archive with apt: run it on Debian 12, "
                          "or in a container of it with this cache folder mounted")
        codename = system["VERSION_CODENAME"].strip('"')
        mirror = self._mirror()
        self.log = work / "apt.log"
        (work / "sources.list").write_text("".join(
            f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {address} main contrib\n" for address in
            (f"{mirror} {codename}", f"http://deb.debian.org/debian-security {codename}-security")))
        self.options = ["-q", "-o", f"Dir::Etc::sourcelist={work}/sources.list", "-o", "Dir::Etc::sourceparts=-",
                        "-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}",
                        "-o", "APT::Sandbox::User="]
        run(["apt-get", *self.options, "update"], self.log)

    @staticmethod
    def _mirror() -> str:
        for file in sorted(Path("/etc/apt").glob("sources.list*")) + sorted(Path("/etc/apt/sources.list.d").glob("*")):
            if file.is_file():
                found = re.search(r"^(?:URIs:|deb (?:\[[^]]*\] )?)\s*(\S+/debian/?)(?:\s|$)", file.read_text(), re.MULTILINE)
                if found:
                    return found[1]
        return "http://deb.debian.org/debian"

    def versions(self, package: str) -> list[str]:
        shown = subprocess.run(["apt-cache", *self.options, "madison", package], capture_output=True, text=True, check=False)
        return [line.split("|")[1].strip() for line in shown.stdout.splitlines() if line.count("|") == 2]

    def fetch(self, *wanted: str) -> None:
        run(["apt-get", *self.options, "download", *wanted], self.log, cwd=self.work)

    def file(self, package: str) -> Path:
        return next(self.work.glob(f"{package}_*.deb"))


def prepare_kernel(packages: Packages, release: str, work: Path, jobs: str) -> Path:
    source = ".".join(release.split(".")[:2])
    version = next((each for each in packages.versions(f"linux-source-{source}") if each.startswith(release + "-")), None)
    if version is None:
        raise Failure(f"the archive has no linux-source-{source} of version {release}: upgrade the package user-mode-linux")
    say(f"fetching the kernel's source, {version}")
    packages.fetch(f"linux-source-{source}={version}")
    archive = packages.file(f"linux-source-{source}")
    files = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
    inner = subprocess.Popen(["tar", "-xO", f"./usr/src/linux-source-{source}.tar.xz"], stdin=files.stdout, stdout=subprocess.PIPE)
    run_status = subprocess.run(["tar", "-xJ", "-C", work], stdin=inner.stdout, check=False).returncode
    if run_status != 0:
        raise Failure("the kernel's source could not be unpacked: is the disk full?")
    archive.unlink()
    kernel = work / f"linux-source-{source}"
    say("preparing its headers")
    (kernel / ".config").write_bytes(gzip.decompress(UML_CONFIG.read_bytes()))
    log = work / "kernel.log"
    run(["make", "-s", "-C", str(kernel), "ARCH=um", "olddefconfig"], log)
    run(["make", "-s", "-C", str(kernel), "ARCH=um", f"-j{jobs}", "modules_prepare"], log)
    prepared = (kernel / "include/config/kernel.release").read_text().strip()
    if prepared != release:
        raise Failure(f"the prepared kernel is {prepared}, not {release}")
    (kernel / "Module.symvers").write_text(symbols_of(UML))
    return kernel


def note_modules(cache: Path, names: tuple[str, ...]) -> None:
    """The guest loads these, too, after those that others noted."""
    order = cache / "modules.order"
    noted = order.read_text().split() if order.exists() else []
    noted = [name for name in noted if name not in names and (cache / name).exists()]
    order.write_text("".join(f"{name}\n" for name in (*noted, *names)))


def prepare_build(cache: Path, recipe: str) -> Path:
    """An empty folder to build in; a Failure where tools are missing that `quickstart RECIPE` installs."""
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")]
    if missing:
        raise Failure(f"the build needs {', '.join(missing)}: sudo ./quickstart {recipe} installs them")
    work = cache / f"build-{recipe}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    say(f"building in {work}")
    return work
