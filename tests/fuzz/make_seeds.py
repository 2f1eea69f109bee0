#!/usr/bin/env python3
"""Writes the seeds of one fuzz target: `make_seeds.py NAME FOLDER`."""

import base64
import gzip
import io
import json
import pathlib
import struct
import sys
import tarfile

DIGEST = "sha256:" + "0123456789abcdef" * 4


def references():
    return ["alpine", "alpine:3.20", "localhost:5000/a/b:t", f"quay.io/org/app:1@{DIGEST}", DIGEST,
            "[::1]:5000/x", "docker.io/library/a_b.c--d", "linux/arm64/v8", "amd64",
            "https://index.docker.io/v1/", "windows", "a" * 256]


def documents():
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2}
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 9}
    docker = "application/vnd.docker."
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config, "layers": [layer, layer], "annotations": {"a": "b"}}
    platform = {"os": "linux", "architecture": "arm", "variant": "v7"}
    entry = {"mediaType": manifest["mediaType"], "digest": DIGEST, "size": 3, "platform": platform,
             "annotations": {"org.opencontainers.image.ref.name": "x"}}
    return [json.dumps(value) for value in (
        manifest,
        {"schemaVersion": 2, "mediaType": docker + "distribution.manifest.v2+json",
         "config": dict(config, mediaType=docker + "container.image.v1+json"),
         "layers": [dict(layer, mediaType=docker + "image.rootfs.diff.tar.gzip")]},
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
         "manifests": [entry, dict(entry, platform={"os": "unknown", "architecture": "unknown"})]},
        {"schemaVersion": 2, "mediaType": docker + "distribution.manifest.list.v2+json",
         "manifests": [entry]},
        {"schemaVersion": 1, "name": "x", "fsLayers": [{"blobSum": DIGEST}], "signatures": []},
        {"architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
         "config": {"Env": ["A=b"], "Cmd": ["sh"], "User": "1:2", "Labels": {"a": "b"}},
         "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
         "history": [{"created_by": "x", "empty_layer": True}]})]


def challenges():
    return ['Bearer realm="https://auth.test/token",service="s",scope="repository:a/b:pull,push"',
            'Basic realm="x"', 'Negotiate abc==, Basic realm=x, Bearer realm="a\\"b"', "Basic", ",,"]


def logins():
    auth = base64.b64encode(b"user:secret").decode()
    return [json.dumps(value) for value in (
        {"auths": {"docker.io": {"auth": auth, "modified": 1}, "localhost:5000": {"auth": auth}}},
        {"auths": {"https://index.docker.io/v1/": {"identitytoken": "t", "auth": auth},
                   "localhost:5000": {"username": "u", "password": "p"}}},
        {"credHelpers": {"localhost:5000": "nothing"}, "auths": {"localhost:5000": {}}})]


def make_tar(form, **options):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, **options) as tar:
        def add(name, kind=tarfile.REGTYPE, content=b"", **attributes):
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
        add("d", tarfile.DIRTYPE, mode=0o755)
        add("d/f", content=b"hello" * 20)
        add("d/large", content=b"x" * 5000, uid=70000)
        add("d/h", tarfile.LNKTYPE, linkname="d/f")
        add("s", tarfile.SYMTYPE, linkname="../d")
        add("s/through", content=b"y")
        add("c", tarfile.CHRTYPE, devmajor=1, devminor=3)
        add("p", tarfile.FIFOTYPE)
        add("n/" * 40 + "long" * 20, content=b"z")
    return out.getvalue()


def whiteouts():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in (".wh.s", "d/.wh..wh..opq", "d/.wh.f", "n/.wh..wh.plnk", "d/new"):
            tar.addfile(tarfile.TarInfo(name))
    return out.getvalue()


def old_sparse():
    """A GNU sparse file with two regions."""
    info = tarfile.TarInfo("sparse")
    info.size = 1024
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = b"S"
    for number, value in enumerate((0, 512, 8192, 512)):
        block[386 + 12 * number:398 + 12 * number] = b"%011o\0" % value
    block[483:495] = b"%011o\0" % 16384
    return bytes(block) + b"q" * 1024 + bytes(1024)


def tars():
    pax = {"SCHILY.xattr.user.a": "b", "SCHILY.xattr.security.capability": "\1\0\0\2", "mtime": "1.5",
           "uid": "4000000000"}
    plain = make_tar(tarfile.USTAR_FORMAT)[:8192] + bytes(1024)
    seeds = [make_tar(tarfile.GNU_FORMAT), make_tar(tarfile.PAX_FORMAT, pax_headers=pax), old_sparse(),
             plain + b"CUT!" + whiteouts()]
    for version in ({"GNU.sparse.map": "0,512,8192,512", "GNU.sparse.size": "16384",
                     "GNU.sparse.numblocks": "2"},
                    {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "n",
                     "GNU.sparse.realsize": "16384"}):
        out = io.BytesIO()
        info = tarfile.TarInfo("sparse")
        info.pax_headers = version
        content = b"2\n0\n512\n8192\n512\n".ljust(512, b"\0") if "GNU.sparse.major" in version else b""
        content += b"w" * 1024
        info.size = len(content)
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(info, io.BytesIO(content))
        seeds.append(out.getvalue())
    return seeds


def zstd_frame(block_type, size, content):
    return (b"\x28\xb5\x2f\xfd\x20" + bytes([size])
            + struct.pack("<I", 1 | block_type << 1 | size << 3)[:3] + content)


def streams():
    text = b"hello, hello, hello " * 10
    return [gzip.compress(text), gzip.compress(text) + gzip.compress(b""),
            gzip.compress(bytes(100_000)), zstd_frame(0, len(text), text), zstd_frame(1, 100, b"a"),
            b"\x50\x2a\x4d\x18\4\0\0\0skip" + zstd_frame(0, 1, b"x"), text, b"",
            b"\xfd7zXZ\0", b"BZh9"]


SEEDS = {"reference": references, "manifest": documents, "challenge": challenges,
         "credentials": logins, "tar": tars, "decompress": streams}


def main():
    folder = pathlib.Path(sys.argv[2])
    for number, seed in enumerate(SEEDS[sys.argv[1]]()):
        (folder / f"{number:02}").write_bytes(seed if isinstance(seed, bytes) else seed.encode())


if __name__ == "__main__":
    main()
