"""Disks of a node that a test can cut the power of (a file as loop device with ext4) or fill (tmpfs)."""
import os

from machine import sh


class LoopDisk:
    """ext4 on a loop device. A power cut is the file system's own shutdown: what was not synced is gone, and until it is mounted again everything is EIO."""

    def __init__(self, ledger, image, mount, mib=192):
        self.ledger, self.image, self.mount = ledger, image, mount
        with open(image, "wb") as f:
            f.truncate(mib << 20)
        sh("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", image)
        self.device = sh("losetup", "-f", "--show", image).strip()
        ledger.add("loop", self.device)
        os.makedirs(mount, exist_ok=True)
        ledger.add("mount", mount)
        sh("mount", "-o", "noatime", self.device, mount)

    def cut(self):
        sh("xfs_io", "-x", "-c", "shutdown", self.mount)

    def is_cut(self):
        try:
            fd = os.open(os.path.join(self.mount, ".probe"), os.O_CREAT | os.O_WRONLY)
            os.close(fd)
            return False
        except OSError:
            return True

    def restore(self):
        """Whoever used it is dead."""
        sh("umount", self.mount)
        sh("mount", "-o", "noatime", self.device, self.mount)


class SmallDisk:
    """tmpfs with a limit, and a file that fills it."""

    def __init__(self, ledger, mount, mib):
        self.mount = mount
        self.filler = os.path.join(mount, "filler")
        os.makedirs(mount, exist_ok=True)
        ledger.add("mount", mount)
        sh("mount", "-t", "tmpfs", "-o", f"size={mib}m", "torc-chaos", mount)

    def free(self):
        s = os.statvfs(self.mount)
        return s.f_bavail * s.f_frsize

    def fill(self):
        with open(self.filler, "ab", buffering=0) as f:
            while True:
                left = self.free()
                if left == 0:
                    return
                try:
                    f.write(b"\0" * min(left, 1 << 20))
                except OSError:
                    return

    def empty(self):
        os.unlink(self.filler)
