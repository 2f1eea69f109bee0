"""create: `container create` against the disk it takes, and `podman create` where it is installed."""

import os
import shutil
import subprocess
import tempfile

import common


def allocated_bytes(bundle):
    """Disk taken by a bundle's own files; the hard link to the image's root is not its own."""
    total = 0
    for entry in os.scandir(bundle):
        info = entry.stat(follow_symlinks=False)
        if info.st_nlink == 1:
            total += info.st_blocks * 512
    return total


def main():
    options = common.arguments(__doc__)
    with common.System(options.build) as system, tempfile.TemporaryDirectory() as folder:
        actions = {"container create": lambda: system.run("create", "first")}
        peer = None
        if shutil.which("podman"):
            podman = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run",
                      "--runtime", "runc"]
            quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run(podman + ["load", "-i", f"{system.folder}/first.tar"], **quiet)
            peer = "podman create"
            actions[peer] = lambda: subprocess.run(
                podman + ["create", "--network", "none", "first"], **quiet)
        times = common.alternate(actions, options.runs)
        containers = os.listdir(f"{system.folder}/app/containers")
        largest = max(allocated_bytes(f"{system.folder}/app/containers/{c}") for c in containers)
        if len(containers) < options.runs:
            raise SystemExit(f"create: only {len(containers)} containers were made")
        if peer:
            subprocess.run(podman + ["rm", "--all", "--force"], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        common.report("create", times, peer, options,
                      [f"Disk for each container: at most {largest / 1024:.0f} KiB."])


if __name__ == "__main__":
    main()
