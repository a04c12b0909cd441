#!/usr/bin/python3
"""tests/image/check.py BINARY [--release]: the image that deploy/image/build makes of it: what is in it and what is not, its bill of materials, the same bytes
twice from different places. --release: also its size."""
import gzip
import hashlib
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tests" / "helm"))
from claims import claim, total  # noqa: E402

BINARY, RELEASE = sys.argv[1], "--release" in sys.argv
BYTES_MAX = 60_000_000


def build(out, *args, epoch="1700000000"):
    subprocess.run([TOP / "deploy/image/build", "--binary", BINARY, "--out", out, *args], check=True, stdout=subprocess.DEVNULL, env={**os.environ, "SOURCE_DATE_EPOCH": epoch})
    return pathlib.Path(out)


def archive(path):
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def chain(files):
    """Every reference of the layout names a blob with that digest and size."""
    def blob(ref):
        content = files["blobs/sha256/" + ref["digest"].removeprefix("sha256:")]
        assert len(content) == ref["size"] and digest(content) == ref["digest"][7:], ref
        return content

    index = json.loads(files["index.json"])
    manifest = json.loads(blob(index["manifests"][0]))
    config = json.loads(blob(manifest["config"]))
    layers = [blob(ref) for ref in manifest["layers"]]
    assert [f"sha256:{digest(gzip.decompress(x))}" for x in layers] == config["rootfs"]["diff_ids"]
    return config


def bill_of(root):
    """Every shared library in the root is in the bill with its hash, under the package that Debian has it from, in the installed version."""
    bill = json.loads((root / "usr/share/sbom/torc.cdx.json").read_text())
    listed = {p["name"].removeprefix("file:"): p["value"] for c in bill["components"] for p in c["properties"]}
    there = {str(p.relative_to(root)): f"sha256:{digest(p.read_bytes())}" for p in root.rglob("*.so*") if not p.is_symlink()}
    wrong = [n for n, h in there.items() if listed.get(n) != h]
    for c in bill["components"]:
        installed = subprocess.run(["dpkg-query", "-W", "-f=${Version} ", c["name"]], capture_output=True, text=True).stdout.split()
        if c["version"] not in installed or not re.fullmatch(r"pkg:deb/debian/\S+@\S+\?arch=\w+&distro=debian-12", c["purl"]):
            wrong.append(c["name"])
    return wrong or None if there else "no library at all"


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="torc-image-"))
    os.chmod(work, 0o755)
    one = build(work / "one")
    two = build(work / "elsewhere" / "two")
    root = one / "root"
    claim("the same bytes, twice, in different places", (one / "torc.tar").read_bytes() == (two / "torc.tar").read_bytes())
    files = archive(one / "torc.tar")
    config = chain(files)
    claim("the archive is an OCI layout with one image", files["oci-layout"] == b'{"imageLayoutVersion":"1.0.0"}' and config["os"] == "linux")
    claim("it runs torc as 10001", config["config"]["User"] == "10001:10001" and config["config"]["Entrypoint"] == ["/usr/bin/torc"])
    labels = config["config"]["Labels"]
    claim("its labels have version, revision and licence", all(labels.get(f"org.opencontainers.image.{k}") for k in ("version", "revision", "licenses", "created", "title")), labels)
    if shutil.which("skopeo"):
        done = subprocess.run(["skopeo", "inspect", f"oci-archive:{one / 'torc.tar'}"], capture_output=True, text=True)
        claim("skopeo reads it", done.returncode == 0 and "org.opencontainers.image.version" in done.stdout, done.stderr)
        done = subprocess.run(["skopeo", "inspect", f"docker-archive:{one / 'torc.tar'}"], capture_output=True, text=True)
        claim("and as what docker save writes", done.returncode == 0, done.stderr)
    names = {p.name for p in root.rglob("*") if not p.is_dir()}
    claim("there is no shell, package manager or interpreter", not names & {"sh", "bash", "dash", "busybox", "apt", "dpkg", "perl", "python3", "ldconfig"})
    programs = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and not p.is_symlink() and p.stat().st_mode & 0o111 and ".so" not in p.name]
    claim("torc is the only program", programs == ["usr/bin/torc"], programs)
    claim("nothing is setuid, nothing writable by others but /tmp", not [
        p for p in root.rglob("*") if not p.is_symlink() and (p.stat().st_mode & (stat.S_ISUID | stat.S_ISGID) or p.stat().st_mode & stat.S_IWOTH) and p.name != "tmp"])
    claim("there is a user 10001", "torc:x:10001:10001:" in (root / "etc/passwd").read_text())
    claim("there are certificates", (root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE") > 50)
    wrong = bill_of(root)
    claim("the bill of materials has every library, with hash, package and version", not wrong, wrong)
    if RELEASE:
        size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file() and not p.is_symlink())
        claim(f"it has {size / 1e6:.1f} MB, at most {BYTES_MAX / 1e6:.0f}", size <= BYTES_MAX)
    sandbox = [TOP / "tests/image/sandbox", "--root", root, "--", "/usr/bin/torc"]
    done = subprocess.run([*sandbox, "version"], capture_output=True, text=True)
    claim("torc starts in it without privileges", done.returncode == 0 and done.stdout.startswith("torc "), done.stderr)
    done = subprocess.run([*sandbox, "--data-dir=/data"], capture_output=True, text=True)
    claim("and cannot write outside its volume", done.returncode == 1 and "Read-only file system" in done.stderr, done.stderr)
    shutil.rmtree(work)
    return total()


sys.exit(main())
