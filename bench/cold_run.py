"""cold_run: `container run --rm first true`, which boots a VM from nothing, against a bare QEMU
microvm that boots the same kernel with a one-line init.

The bare one gets the machine, processor, memory, kernel and kernel command line that a container's
own QEMU was seen to have, and an initramfs whose only program ends the VM. Proofs: two containers
show different boot ids and an uptime of seconds; the bare init prints a number that it is given on
its command line.
"""

import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import common

INIT = r"""
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
int main(int argc, char **argv) {
  for (int i = 1; i < argc; ++i) if (!strncmp(argv[i], "nonce", 5)) puts(argv[i]);
  return reboot(RB_AUTOBOOT);
}
"""
# Options of QEMU with a value that describe the machine, not its devices.
KEPT = {"-M", "-machine", "-accel", "-cpu", "-smp", "-m", "-kernel", "-append", "-display", "-global"}
KEPT_FLAGS = {"-nodefaults", "-no-user-config", "-no-reboot"}


def bare_initramfs(folder):
    """An initramfs of one static program, and the console that its standard output needs."""
    root = pathlib.Path(folder) / "root"
    (root / "dev").mkdir(parents=True)
    (pathlib.Path(folder) / "init.c").write_text(INIT)
    subprocess.run(["gcc", "-O2", "-static", "-s", "-o", str(root / "init"), f"{folder}/init.c"],
                   check=True)
    archive = f"{folder}/initramfs.cpio"
    with open(archive, "wb") as output:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, check=True, stdout=output,
                       input=b"init\ndev\n")
    return archive


def container_argv(system):
    """The argv of the QEMU of a running container."""
    system.run("run", "-d", "--name", "model", "first", "sleep", "1000")
    mark = f"{system.folder}/app".encode()  # In the path of its kernel.
    found = None
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().rstrip(b"\0")
            argv = line.split(b"\0")
            if b"qemu-system" in argv[0] and mark in line:
                found = [word.decode() for word in argv]
        except OSError:
            continue  # It ended meanwhile.
    system.run("delete", "--force", "model")
    if found is None:
        sys.exit("cold_run: found no QEMU of the running container")
    return found


def bare_argv(argv, initramfs):
    result = [argv[0]]
    position = 1
    while position < len(argv):
        word = argv[position]
        if word in KEPT_FLAGS:
            result.append(word)
        elif word in KEPT:
            result += [word, argv[position + 1]]
        position += 1 if word in KEPT_FLAGS or not word.startswith("-") else 2
        if word == "-no-reboot":
            continue
    return result + ["-initrd", initramfs, "-monitor", "none"]


def main():
    options = common.arguments(__doc__)
    with common.System(options.build) as system, tempfile.TemporaryDirectory() as folder:
        argv = container_argv(system)
        bare = bare_argv(argv, bare_initramfs(folder))

        boots = [system.run("run", "--rm", "first", "cat", "/proc/sys/kernel/random/boot_id",
                            "/proc/uptime").split() for _ in range(2)]
        if boots[0][0] == boots[1][0] or any(float(boot[1]) > 30 for boot in boots):
            sys.exit(f"cold_run: these are no fresh boots: {boots}")

        nonce = f"nonce{random.getrandbits(48)}"
        proof = list(bare)
        append = proof.index("-append") + 1
        proof[append] = re.sub(r"console=\S+", "", proof[append]) + f" console=ttyS0 -- {nonce}"
        output = subprocess.run(proof + ["-serial", "stdio"], capture_output=True, text=True,
                                timeout=60, check=False, stdin=subprocess.DEVNULL).stdout
        if nonce not in output:
            sys.exit(f"cold_run: the bare VM did not run its init: {output!r} {proof}")

        null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}

        def run_bare():
            subprocess.run(bare, check=True, timeout=60, env={**os.environ, "MALLOC_ARENA_MAX": "2"},
                           **null)

        times = common.alternate(
            {"container run --rm first true": lambda: system.run("run", "--rm", "first", "true"),
             "bare QEMU, same kernel, one-line init": run_bare},
            options.runs)
        accelerator = "KVM" if any("kvm" in word for word in argv) else "emulation (TCG)"
        common.report("cold_run: run --rm without a template", times,
                      "bare QEMU, same kernel, one-line init", options,
                      [f"Under {accelerator}; from exec of the command to its exit.",
                       "Each container shows a boot id of its own and an uptime of seconds."])


if __name__ == "__main__":
    main()
