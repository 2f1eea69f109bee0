"""Prints what machine the figures are from."""

import os
import platform
import re
import subprocess


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return "not installed"


def main():
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read())
    print(f"Machine: {os.cpu_count()} x {model.group(1) if model else platform.machine()}, "
          f"{int(memory.group(1)) // 1048576} GiB, Linux {platform.release()}, "
          f"{first_line(['qemu-system-x86_64', '--version'])}\n", flush=True)


if __name__ == "__main__":
    main()
