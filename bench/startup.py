"""startup: `container --version`, exec to exit, against `true`."""

import subprocess

import common


def main():
    options = common.arguments(__doc__)
    container = f"{options.build}/bin/container"

    def run(*argv):
        return lambda: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    options.runs = max(options.runs, 50)
    times = common.alternate({"container --version": run(container, "--version"),
                              "true": run("/bin/true")}, options.runs)
    common.report("startup of the CLI", times, "true", options,
                  ["Both include the cost of starting a process from Python."])


if __name__ == "__main__":
    main()
