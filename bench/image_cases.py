"""What the image benchmarks share: the images, a file system with a journal, a registry, meters.

The images, the same bytes on every machine:
  (a) alpine's root file system when ../shared/images has it, else the first run's busybox
  (b) 100,000 files of 0 to 2000 bytes in 1000 folders, one layer
  (c) 500 MB in 500 files, one layer
  (d) 500 MB in ten layers of 50 files
Of the content of (c) and (d), seven tenths are random bytes and the rest text: gzip saves a quarter.
Layers are gzip, level 1.
"""

import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

import common

IMAGES = pathlib.Path(os.environ.get("CONTAINER_BENCH_IMAGES", common.SOURCE.parent / "shared/images"))
ALPINE = IMAGES / "alpine-minirootfs-3.20.3-x86_64.tar.gz"
CASES = {"a": "alpine or busybox", "b": "100,000 small files", "c": "500 MB in one layer",
         "d": "500 MB in ten layers"}
TEXT = b"The quick brown fox jumps over the lazy dog; 0123456789.\n" * 6000


class Layout:
    """An OCI image layout under way, written without keeping a layer in memory."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "blobs/sha256").mkdir(parents=True)
        self.layers = []
        self.diff_ids = []

    def put(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def add_layer(self, write_tar):
        """`write_tar` gets a binary file to write an uncompressed tar to."""
        blobs = self.folder / "blobs/sha256"
        path = blobs / "new"
        plain = hashlib.sha256()
        with open(path, "wb") as file, \
                gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed:
            class Tee(io.RawIOBase):
                def writable(self):
                    return True

                def write(self, data):
                    plain.update(data)
                    return packed.write(data)
            write_tar(Tee())
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        path.rename(blobs / digest)
        self.layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                            "digest": f"sha256:{digest}", "size": size})
        self.diff_ids.append(f"sha256:{plain.hexdigest()}")

    def finish(self, name):
        """Returns the manifest's digest."""
        config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
                  "rootfs": {"type": "layers", "diff_ids": self.diff_ids}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.put(json.dumps(config).encode(),
                                       "application/vnd.oci.image.config.v1+json"),
                    "layers": self.layers}
        top = self.put(json.dumps(manifest).encode(), manifest["mediaType"])
        index = {"schemaVersion": 2, "manifests": [
            dict(top, annotations={"org.opencontainers.image.ref.name": name})]}
        (self.folder / "index.json").write_text(json.dumps(index))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        return top["digest"]


def files_layer(layout, seed, names_and_sizes):
    source = random.Random(seed)

    def write(out):
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as tar:
            for name, size in names_and_sizes(source):
                info = tarfile.TarInfo(name)
                if size is None:
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(info)
                    continue
                info.size = size
                noise = size * 7 // 10
                data = source.randbytes(noise) + TEXT[:size - noise]
                tar.addfile(info, io.BytesIO(data))

    layout.add_layer(write)


def small_files(source):
    for folder in range(1000):
        yield f"data/{folder:04}", None
        for file in range(100):
            yield f"data/{folder:04}/file-{file:03}", source.randrange(2000)


def large_files(first, count):
    def generate(_):
        for file in range(first, first + count):
            yield f"data/file-{file:03}", 1_000_000
    return generate


def make_layout(case, folder):
    """An OCI layout of the case in `folder`, its name "image:latest"; returns the digest."""
    if case == "a" and not ALPINE.exists():
        archive = f"{folder}.tar"
        subprocess.run([str(common.SOURCE / "scripts/make-first-image"), archive, "latest"],
                       check=True)
        os.mkdir(folder)
        subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
        os.unlink(archive)
        index = json.loads((pathlib.Path(folder) / "index.json").read_text())
        return index["manifests"][0]["digest"]
    layout = Layout(folder)
    if case == "a":
        with gzip.open(ALPINE) as tar:
            layout.add_layer(lambda out: shutil.copyfileobj(tar, out, 1 << 20))
    elif case == "b":
        files_layer(layout, 1, small_files)
    elif case == "c":
        files_layer(layout, 2, large_files(0, 500))
    else:
        for number in range(10):
            files_layer(layout, 10 + number, large_files(number * 50, 50))
    return layout.finish("latest")


@contextlib.contextmanager
def journal_folder(gigabytes=12):
    """A folder on an ext4 with a journal, or a plain temporary folder without root."""
    base = tempfile.mkdtemp(prefix="cbench-disk-")
    mount = f"{base}/mount"
    os.mkdir(mount)
    mounted = False
    try:
        if os.geteuid() == 0:
            image = f"{base}/disk"
            subprocess.run(["fallocate", "-l", f"{gigabytes}G", image], check=True)
            subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0",
                            image], check=True)
            # The mount owns the loop device, which goes with it.
            subprocess.run(["mount", "-o", "loop", image, mount], check=True)
            mounted = True
        else:
            print("- No root: this runs on the temporary folder's own file system.")
        yield mount
    finally:
        if mounted:
            for _ in range(50):
                if subprocess.run(["umount", mount], check=False,
                                  stderr=subprocess.DEVNULL).returncode == 0:
                    break
                time.sleep(0.2)
            else:
                subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(base, ignore_errors=True)


class Registry:
    """docker-registry on loopback, its storage in `folder`."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        os.makedirs(f"{self.folder}/storage")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        config = f"{self.folder}/config.yml"
        pathlib.Path(config).write_text(json.dumps({
            "version": "0.1", "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": f"{self.folder}/storage"}},
            "http": {"addr": self.address}}))
        self.process = subprocess.Popen(["docker-registry", "serve", config],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return self
            time.sleep(0.05)
        sys.exit("docker-registry does not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def clear(self):
        shutil.rmtree(f"{self.folder}/storage", ignore_errors=True)
        os.makedirs(f"{self.folder}/storage")


class Ours:
    """What the system's processes cost: the command, the server and the image helper."""

    def __init__(self, system):
        self.system = system
        self.pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                     if self._is_of(pid)]
        self.helper = next(pid for pid in self.pids
                           if "core-images" in os.readlink(f"/proc/{pid}/exe"))

    def _is_of(self, pid):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                mine = f"CONTAINER_APP_ROOT={self.system.folder}/app".encode() in file.read()
            return mine and os.path.basename(os.readlink(f"/proc/{pid}/exe")).split()[0] in (
                "container-apiserver", "container-core-images")  # "… (deleted)" when rebuilt
        except OSError:
            return False

    def cpu_seconds(self):
        ticks = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # own and waited children's
        return ticks / os.sysconf("SC_CLK_TCK")

    def reset_peak(self):
        pathlib.Path(f"/proc/{self.helper}/clear_refs").write_text("5")

    def peak_mib(self):
        for line in open(f"/proc/{self.helper}/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0


def measure(commands, environment=None, ours=None):
    """Runs the commands one after the other; {"wall", "durable", "cpu", "rss"} in seconds and
    MiB; "durable" is the wall time until all that was written is on the disk. `ours` adds the
    server's and the helper's CPU; the memory is then the helper's, else the largest command's."""
    before = ours.cpu_seconds() if ours else 0
    if ours:
        ours.reset_peak()
    cpu = rss = 0
    begin = time.perf_counter()
    for command in commands:
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=errors)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                errors.seek(0)
                sys.exit(f"{' '.join(command)} failed with {process.returncode}: "
                         f"{errors.read().decode(errors='replace')}")
        cpu += usage.ru_utime + usage.ru_stime
        rss = max(rss, usage.ru_maxrss / 1024)
    wall = time.perf_counter() - begin
    os.sync()
    durable = time.perf_counter() - begin
    if ours:
        cpu += ours.cpu_seconds() - before
        rss = ours.peak_mib()
    return {"wall": wall, "durable": durable, "cpu": cpu, "rss": rss}


def quiet(*command, check=True):
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                            check=False)
    if check and result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed with {result.returncode}: {result.stderr}")
    return result.stdout


def disk_mib(*paths):
    """On the disk, a hard link counted once."""
    lines = quiet("du", "-s", "-c", "--block-size=1K", *paths, check=False).splitlines()
    return int(lines[-1].split()[0]) / 1024 if lines else 0


class Podman:
    """podman with storage of its own below `folder`."""

    def __init__(self, folder):
        self.command = ["podman", "--root", f"{folder}/podman", "--runroot", f"{folder}/podman-run"]
        self.storage = f"{folder}/podman"

    def remove_images(self):
        quiet(*self.command, "rmi", "--all", "--force", check=False)


class Table:
    """Rows of medians, printed as they come and written as JSON at the end."""

    def __init__(self, title, options):
        self.options = options
        self.title = title
        self.figures = {}
        print(f"### {title}\n")
        print("| case | what | wall s | on disk s | CPU s | peak MiB | disk MiB | wall ratio |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")

    def add(self, case, samples):
        """`samples`: {name: [measure()]}, ours first; the ratio is ours to each."""
        def median(name, key):
            values = sorted(sample.get(key, 0) for sample in samples[name])
            return values[len(values) // 2]
        ours = median(next(iter(samples)), "wall")
        for number, name in enumerate(samples):
            wall, durable, cpu, rss, disk = (
                median(name, key) for key in ("wall", "durable", "cpu", "rss", "disk"))
            ratio = "" if number == 0 else f"{ours / wall:.2f}"
            shown = f"{disk:.0f}" if disk else ""
            print(f"| {case} | {name} | {wall:.2f} | {durable:.2f} | {cpu:.2f} | {rss:.0f} | {shown} | "
                  f"{ratio} |", flush=True)
            self.figures[f"{case} {name}"] = {
                "wall_s": wall, "on_disk_s": durable, "cpu_s": cpu, "peak_mib": rss,
                "disk_mib": disk, "runs": len(samples[name])}

    def finish(self, notes):
        print()
        for note in notes:
            print(f"- {note}")
        print(flush=True)
        if self.options.json:
            pathlib.Path(self.options.json).write_text(json.dumps(
                {"title": self.title, "figures": self.figures, "notes": list(notes)}, indent=2) + "\n")


def arguments(description):
    """As common.arguments, with cases, and few runs: they are long."""
    os.environ.setdefault("TMPDIR", "/var/tmp")
    # So that a benchmark that is ended still unmounts and removes what it has made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "--runs" not in sys.argv:
        sys.argv += ["--runs", "3"]
    wanted = os.environ.get("CASES", "abcd")
    options = common.arguments(description + "\nCASES=ac in the environment: only these cases.")
    options.cases = [case for case in CASES if case in wanted]
    return options


def settle():
    """What was deleted and written before is none of the next measurement's business."""
    os.sync()
