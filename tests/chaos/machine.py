"""What this machine lets a test do, and the ledger: everything that outlives a process (namespaces, links, mounts, loop devices, pids) is written down
before it is made, so that what a killed run left behind can be removed by the next one or by tests/chaos/clean."""
import ctypes
import json
import os
import shutil
import signal
import subprocess

LEDGERS = "/run/torc-chaos"


def sh(*argv, check=True, text=None, timeout=60):
    """Runs a program; its output. RuntimeError with its words when it fails."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.returncode}: {done.stdout[-500:]}{done.stderr[-1500:]}")
    return done.stdout


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def state(pid):
    """The letter of /proc: R, S, D, T (stopped) ...; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


class Ledger:
    """undo is a list of (kind, what), undone from its end."""

    def __init__(self):
        os.makedirs(LEDGERS, exist_ok=True)
        self.path = os.path.join(LEDGERS, f"{os.getpid()}.json")
        self.undo = []

    def _save(self):
        with open(self.path + ".tmp", "w", encoding="utf-8") as f:
            json.dump({"owner": os.getpid(), "undo": self.undo}, f)
        os.replace(self.path + ".tmp", self.path)

    def add(self, kind, *what):
        self.undo.append([kind, *what])
        self._save()

    def drop(self, kind, *what):
        if [kind, *what] in self.undo:
            self.undo.remove([kind, *what])
            self._save()

    def finish(self):
        while self.undo:
            _undo(*self.undo.pop())
        if os.path.exists(self.path):
            os.unlink(self.path)


def _started_with(pid, mark):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return mark.encode() in f.read()
    except OSError:
        return False


def _undo(kind, *what):
    if kind == "pid":  # only if it is still that process: its command line holds the mark
        pid, mark = what
        if _started_with(pid, mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    elif kind == "netns":
        sh("ip", "netns", "del", what[0], check=False)
    elif kind == "link":
        sh("ip", "link", "del", what[0], check=False)
    elif kind == "mount":
        sh("umount", "-l", what[0], check=False)
    elif kind == "loop":
        sh("losetup", "-d", what[0], check=False)
    elif kind == "cgroup":
        try:
            os.rmdir(what[0])
        except OSError:
            pass
    elif kind == "dir":
        shutil.rmtree(what[0], ignore_errors=True)


def clean_dead(report=lambda text: None):
    """Undoes what runs left behind whose process is gone."""
    if not os.path.isdir(LEDGERS):
        return
    for name in os.listdir(LEDGERS):
        path = os.path.join(LEDGERS, name)
        if not name.endswith(".json"):
            continue
        try:
            with open(path, encoding="utf-8") as f:
                ledger = json.load(f)
        except (OSError, ValueError):
            continue
        if alive(ledger["owner"]) and _started_with(ledger["owner"], "chaos"):
            continue
        report(f"cleaning after run {ledger['owner']}: {len(ledger['undo'])} things")
        for entry in reversed(ledger["undo"]):
            _undo(*entry)
        os.unlink(path)


# --- what there is ---

def _netns():
    name = f"chaosprobe{os.getpid()}"
    try:
        sh("ip", "netns", "add", name)
        sh("ip", "netns", "exec", name, "nft", "add", "table", "inet", "probe")
        return None
    except (RuntimeError, OSError) as e:
        return f"network namespaces with nftables: {e}"
    finally:
        sh("ip", "netns", "del", name, check=False)


def _program(name):
    return lambda: None if shutil.which(name) else f"no {name} (tools/packages has its package)"


def _loop():
    try:
        sh("losetup", "-f")
        return None
    except (RuntimeError, OSError) as e:
        return f"loop devices: {e}"


def _cgroup(controller):
    return lambda: None if os.access(f"/sys/fs/cgroup/{controller}", os.W_OK) else f"cgroup v1 {controller} is not there or not writable"


NEEDS = {
    "root": lambda: None if os.geteuid() == 0 else "not root",
    "netns": _netns,
    "xfs_io": _program("xfs_io"),
    "mkfs.ext4": _program("mkfs.ext4"),
    "loop": _loop,
    "strace": _program("strace"),
    "cc": _program("cc"),
    "cgroup-memory": _cgroup("memory"),
    "cgroup-cpu": _cgroup("cpu"),
}
_known = {}


def missing(needs):
    """Why a row cannot run here; None when it can."""
    for need in needs:
        if need not in _known:
            _known[need] = NEEDS[need]()
        if _known[need]:
            return _known[need]
    return None


def die_with_parent():
    """For preexec_fn: a child ends with the run that started it, however that ended."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
