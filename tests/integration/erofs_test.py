#!/usr/bin/env python3
"""Flattens an image of several layers and compares the kernel's view of the EROFS image, path by
path, with what `umoci unpack` makes of the same image. fsck.erofs judges each image as well.

Needs root and a loop device for the mounts; without them the comparison is SKIPPED and only
fsck.erofs judges. The exit status 77 says so to ctest.

usage: erofs_test.py EROFS_FROM_TARS SOURCE_DIR
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile

TOOL, SOURCE_DIR = sys.argv[1], sys.argv[2]
failures = []
skipped = []


def check(condition, message):
    if not condition:
        failures.append(message)
        print("FAILED:", message)


class Layer:
    """A PAX tar with one method for each kind of entry; times carry nanoseconds."""

    def __init__(self):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT,
                                encoding="utf-8", errors="surrogateescape")
        self.clock = 1_600_000_000

    def add(self, name, kind=tarfile.REGTYPE, data=b"", mode=0o644, link="", uid=0, gid=0,
            device=(0, 0), xattrs=None, mtime=None):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname, info.uid, info.gid = kind, mode, link, uid, gid
        info.devmajor, info.devminor = device
        info.size = len(data)
        self.clock += 1
        info.pax_headers["mtime"] = mtime or "%d.%09d" % (self.clock, self.clock % 997 + 1)
        for key, value in (xattrs or {}).items():
            info.pax_headers["SCHILY.xattr." + key] = value.decode("utf-8", "surrogateescape")
        self.tar.addfile(info, io.BytesIO(data) if data else None)

    def folder(self, name, **kwargs):
        self.add(name, tarfile.DIRTYPE, mode=kwargs.pop("mode", 0o755), **kwargs)

    def symlink(self, name, target, **kwargs):
        self.add(name, tarfile.SYMTYPE, link=target, mode=0o777, **kwargs)

    def hardlink(self, name, target, **kwargs):
        self.add(name, tarfile.LNKTYPE, link=target, **kwargs)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def noise(seed, size):
    out = b""
    block = seed.encode()
    while len(out) < size:
        block = hashlib.sha256(block).digest()
        out += block * 8
    return out[:size]


def acl(entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def lower_layer():
    t = Layer()
    t.folder("./", mode=0o755)
    for name in ("etc", "usr", "usr/lib", "usr/bin", "dev", "gone", "opaque", "opaque/deep",
                 "late", "late/kept", "many", "links", "dirtofile", "names"):
        t.folder(name)
    t.symlink("lib", "usr/lib")
    t.folder("tmp", mode=0o1777)
    t.folder("var", mode=0o2775, uid=12, gid=34)
    t.add("usr/bin/su", data=noise("su", 70_000), mode=0o4755)
    t.add("usr/bin/wall", data=noise("wall", 5000), mode=0o2755, gid=5)
    t.add("etc/passwd", data=b"root:x:0:0::/root:/bin/sh\n")
    t.add("etc/ids", data=b"x", uid=4_000_000_000, gid=3_000_000_000)
    t.add("etc/before-epoch", data=b"x", mtime="-1000.5")
    t.add("etc/far-future", data=b"x", mtime="5000000000.000000001")
    # cap_net_raw=ep, revision 2.
    t.add("usr/bin/ping", data=noise("ping", 4096), mode=0o755, xattrs={
        "security.capability": struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)})
    none = 0xFFFFFFFF
    access = acl([(1, 6, none), (2, 4, 1000), (4, 4, none), (16, 6, none), (32, 4, none)])
    t.add("etc/acl", data=b"acl", mode=0o664, xattrs={"system.posix_acl_access": access})
    t.folder("var/acl", xattrs={"system.posix_acl_default": access})
    t.add("etc/attributes", data=noise("a", 3000), xattrs={
        "user.one": b"1", "user.bin": bytes(range(1, 256)), "trusted.secret": b"t",
        "user.long": noise("long", 2000)})
    t.symlink("etc/symlink-attributes", "x", xattrs={"trusted.of.link": b"v"})
    t.add("dev/null", tarfile.CHRTYPE, mode=0o666, device=(1, 3))
    t.add("dev/large", tarfile.CHRTYPE, mode=0o600, device=(511, 70_000))
    t.add("dev/sda1", tarfile.BLKTYPE, mode=0o660, gid=6, device=(8, 1))
    t.add("dev/fifo", tarfile.FIFOTYPE, mode=0o622)
    for size in (0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 12_345, 1 << 20, (1 << 20) + 7):
        t.add("links/size%d" % size, data=noise(str(size), size))
    t.hardlink("links/same", "links/size12345")
    t.hardlink("links/third", "links/same")
    t.add("gone/file", data=b"hidden")
    t.add("opaque/old", data=noise("old", 100_000))
    t.add("opaque/deep/old", data=b"old")
    t.add("late/old", data=b"old")
    t.add("late/kept/old", data=b"old")
    t.add("dirtofile/inside", data=b"x")
    t.add("filetodir", data=noise("filetodir", 50_000))
    t.add("replaced", data=noise("replaced", 30_000))
    t.add("linked-lower", data=noise("linked-lower", 9000), mode=0o640, uid=7)
    t.symlink("linked-symlink", "anywhere")
    t.add("names/" + "n" * 255, data=b"longest")
    deep = "names"
    for i in range(12):
        deep += "/" + chr(ord("a") + i) * 100
        t.folder(deep)
    t.add(deep + "/leaf", data=b"deep")
    for raw in (b"latin\xe9", b"\xff\xfe", b"new\nline", b" space ", b"tab\t", "ünï".encode(),
                b"!", b"-", b"..."):
        t.add("names/" + os.fsdecode(raw), data=raw)
    t.symlink("names/long-target", "t" * 4000)
    for i in range(20_000):
        t.add("many/%05d-%s" % (i, "x" * (i % 60)), data=noise(str(i), i % 300))
    return t.bytes()


def middle_layer():
    t = Layer()
    t.add(".wh.gone")
    t.folder("opaque")
    t.add("opaque/.wh..wh..opq")
    t.add("opaque/new", data=b"new")
    t.add("etc/.wh.passwd")
    t.add("etc/.wh.never-there")
    t.add("dirtofile", data=b"a file now")
    t.folder("filetodir", mode=0o700)
    t.add("filetodir/inside", data=b"x")
    t.add("replaced", data=b"short now", mode=0o600, uid=99)
    t.hardlink("linked-upper", "linked-lower", mode=0o640, uid=7)
    t.hardlink("usr/linked-upper-2", "linked-lower", mode=0o640, uid=7)
    t.folder("var", mode=0o750, uid=1, gid=2)
    t.add("lib/through-a-link", data=b"lands in usr/lib")
    for i in range(0, 20_000, 7):
        t.add("many/.wh.%05d-%s" % (i, "x" * (i % 60)))
    return t.bytes()


def upper_layer():
    t = Layer()
    t.folder("late")
    t.folder("late/kept")
    t.add("late/kept/new", data=b"new")
    t.add("late/new", data=b"new")
    t.add("linked-lower", data=b"a file of its own now")
    t.add("etc/passwd", data=b"again\n")
    t.add("links/.wh.third")
    t.folder("gone", mode=0o711)
    t.add("gone/again", data=b"again")
    t.symlink("many-link", "many")
    return t.bytes()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write_oci(folder, layers):
    blobs = os.path.join(folder, "blobs", "sha256")
    os.makedirs(blobs)

    def put(data):
        with open(os.path.join(blobs, hashlib.sha256(data).hexdigest()), "wb") as out:
            out.write(data)
        return {"digest": digest(data), "size": len(data)}

    descriptors = []
    for data in layers:
        packed = gzip.compress(data, 1, mtime=0)
        descriptors.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                            **put(packed)})
    config = put(json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
        "type": "layers", "diff_ids": [digest(d) for d in layers]}}).encode())
    manifest = put(json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": descriptors}).encode())
    with open(os.path.join(folder, "index.json"), "w") as out:
        json.dump({"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", **manifest,
             "annotations": {"org.opencontainers.image.ref.name": "test"}}]}, out)
    with open(os.path.join(folder, "oci-layout"), "w") as out:
        out.write('{"imageLayoutVersion": "1.0.0"}')


def survey(root):
    """All that can be seen of a tree: path to attributes; inode numbers become the first path."""
    seen = {}
    first = {}
    root = os.fsencode(root)
    pending = [b""]
    while pending:
        path = pending.pop()
        full = root + b"/" + path if path else root
        info = os.lstat(full)
        kind = stat.S_IFMT(info.st_mode)
        entry = {"mode": oct(info.st_mode), "owner": (info.st_uid, info.st_gid),
                 "mtime": info.st_mtime_ns}
        if kind == stat.S_IFREG:
            sha = hashlib.sha256()
            with open(full, "rb") as file:
                while piece := file.read(1 << 20):
                    sha.update(piece)
            entry["content"] = sha.hexdigest()
            entry["size"] = info.st_size
        elif kind == stat.S_IFLNK:
            entry["target"] = os.readlink(full)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            entry["device"] = (os.major(info.st_rdev), os.minor(info.st_rdev))
        entry["nlink"] = info.st_nlink
        entry["xattrs"] = {name: os.getxattr(full, name, follow_symlinks=False)
                           for name in os.listxattr(full, follow_symlinks=False)}
        seen[path] = entry
        first.setdefault(info.st_ino, []).append(path)
        if kind == stat.S_IFDIR:
            pending += [path + b"/" + name if path else name for name in os.listdir(full)]
    for names in first.values():
        for name in names:
            seen[name]["same file as"] = sorted(names)
    return seen


def compare(what, wanted, got):
    check(set(wanted) == set(got), "%s: names differ: missing %r, extra %r" % (
        what, sorted(set(wanted) - set(got))[:5], sorted(set(got) - set(wanted))[:5]))
    wrong = 0
    for path in sorted(set(wanted) & set(got)):
        for key in wanted[path]:
            if wanted[path][key] != got[path].get(key):
                wrong += 1
                if wrong < 20:
                    print("  %r: %s: %r, umoci has %r" % (
                        path, key, got[path].get(key), wanted[path][key]))
    check(wrong == 0, "%s: %d attributes differ" % (what, wrong))
    print("%s: %d paths, %d extended attributes compared" % (
        what, len(wanted), sum(len(entry["xattrs"]) for entry in wanted.values())))


class Mounted:
    def __init__(self, image, folder):
        self.image, self.folder = image, folder

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        result = subprocess.run(["mount", "-t", "erofs", "-o", "loop,ro", self.image, self.folder],
                                capture_output=True, text=True)
        return result.returncode == 0 or result.stderr

    def __exit__(self, *_):
        subprocess.run(["umount", self.folder], capture_output=True)


def flatten(output, layers):
    result = subprocess.run([TOOL, output, *layers], capture_output=True, text=True)
    check(result.returncode == 0, "erofs_from_tars: " + result.stderr)
    return result.stdout


def fsck(image):
    result = subprocess.run(["fsck.erofs", "--extract", image], capture_output=True, text=True)
    check(result.returncode == 0, "fsck.erofs: " + result.stdout + result.stderr)


def compare_with_umoci(what, work, layers):
    folder = os.path.join(work, what)
    os.makedirs(folder)
    files = []
    for number, data in enumerate(layers):
        files.append(os.path.join(folder, "layer%d.tar" % number))
        with open(files[-1], "wb") as out:
            out.write(data)
    image = os.path.join(folder, "image.erofs")
    report = flatten(image, files)
    for data in layers:
        check(digest(data) in report, what + ": the diff_id is wrong")
    fsck(image)
    again = os.path.join(folder, "again.erofs")
    write_oci(os.path.join(folder, "oci"), layers)
    blobs = json.load(open(os.path.join(folder, "oci/index.json")))["manifests"][0]["digest"]
    manifest = json.load(open(os.path.join(folder, "oci/blobs", blobs.replace(":", "/"))))
    flatten(again, ["--ahead", *(os.path.join(folder, "oci/blobs",
                                              layer["digest"].replace(":", "/"))
                                 for layer in manifest["layers"])])
    with open(image, "rb") as a, open(again, "rb") as b:
        check(hashlib.sha256(a.read()).digest() == hashlib.sha256(b.read()).digest(),
              what + ": the same layers, compressed and read ahead, give other bytes")
    if os.geteuid() != 0:
        skipped.append(what + ": comparing with umoci needs root")
        return
    with Mounted(image, os.path.join(folder, "mnt")) as mounted:
        if mounted is not True:
            skipped.append("%s: no mount of EROFS here: %s" % (what, mounted))
            return
        subprocess.run(["umoci", "unpack", "--image", os.path.join(folder, "oci") + ":test",
                        os.path.join(folder, "bundle")], check=True, capture_output=True)
        compare(what, survey(os.path.join(folder, "bundle/rootfs")),
                survey(os.path.join(folder, "mnt")))


def sparse_file(work):
    """A sparse file past 4 GiB: little tar, little image, the right bytes."""
    folder = os.path.join(work, "sparse")
    os.makedirs(folder + "/root")
    size = (5 << 30) + 123
    with open(folder + "/root/huge", "wb") as out:
        out.truncate(size)
        for offset in (0, (1 << 32) - 5, size - 10):
            out.seek(offset)
            out.write(b"0123456789")
    subprocess.run(["tar", "-C", folder + "/root", "--sparse", "--format=posix", "-cf",
                    folder + "/layer.tar", "."], check=True)
    image = folder + "/image.erofs"
    flatten(image, [folder + "/layer.tar"])
    check(os.stat(image).st_blocks * 512 < 4 << 20, "the image of a sparse file is not sparse")
    if os.geteuid() != 0:
        return
    with Mounted(image, folder + "/mnt") as mounted:
        if mounted is not True:
            return
        with open(folder + "/mnt/huge", "rb") as file:
            check(os.fstat(file.fileno()).st_size == size, "sparse: wrong size")
            for offset in (0, (1 << 32) - 5, size - 10):
                file.seek(offset)
                check(file.read(10) == b"0123456789", "sparse: wrong bytes at %d" % offset)
            file.seek(1 << 31)
            check(file.read(4096) == bytes(4096), "sparse: a hole is not zeros")


def alpine(work):
    shared = os.path.join(SOURCE_DIR, "../shared/images")
    names = sorted(os.listdir(shared)) if os.path.isdir(shared) else []
    names = [n for n in names if n.startswith("alpine-minirootfs-") and n.endswith(".tar.gz")]
    if not names:
        print("SKIPPED: no alpine-minirootfs-*.tar.gz beside the source folder")
    for name in names:
        with gzip.open(os.path.join(shared, name)) as packed:
            compare_with_umoci(name[:-7], work, [packed.read()])


def refusals(work):
    """Whatever is wrong: a message, and no file left."""
    bad = {"dots": "../escape", "inner": "a/../../b"}
    for what, name in bad.items():
        t = Layer()
        t.add(name, data=b"x")
        path = os.path.join(work, what + ".tar")
        with open(path, "wb") as out:
            out.write(t.bytes())
        output = os.path.join(work, what + ".erofs")
        result = subprocess.run([TOOL, output, path], capture_output=True, text=True)
        check(result.returncode == 1 and '".."' in result.stderr, what + ": " + result.stderr)
        check(not os.path.exists(output), what + ": a file is left")


def main():
    for tool in (TOOL, "fsck.erofs", "umoci", "tar"):
        if shutil.which(tool) is None:
            print("SKIPPED: %s is missing" % tool)
            return 77
    work = tempfile.mkdtemp(prefix="container-erofs-test-")
    try:
        # All folders are described by a layer: others get the time of unpacking from umoci.
        compare_with_umoci("layers", work, [lower_layer(), middle_layer(), upper_layer()])
        sparse_file(work)
        alpine(work)
        refusals(work)
    finally:
        shutil.rmtree(work)
    for what in skipped:
        print("SKIPPED:", what)
    if failures:
        print("%d failures" % len(failures))
        return 1
    print("all as wanted")
    return 77 if skipped else 0


sys.exit(main())
