"""pull: a cold `image pull` until the image could run, against podman, and skopeo with umoci."""

import glob
import json
import os
import shutil

import common
import image_cases as images


def prove(system, name, digest):
    """Ends the benchmark unless the image is the one that was pushed and its root is sound."""
    shown = json.loads(system.run("image", "inspect", name))[0]
    assert shown["configuration"]["descriptor"]["digest"] == digest, shown
    roots = glob.glob(f"{system.folder}/app/rootfs/*.erofs")
    assert roots, "no root file system after the pull"
    images.quiet("fsck.erofs", max(roots, key=os.path.getmtime))


def main():
    options = images.arguments(__doc__)
    table = images.Table("image pull, cold to runnable", options)
    with images.journal_folder() as folder, images.Registry(f"{folder}/registry") as registry, \
            common.System(options.build, folder) as system:
        ours = images.Ours(system)
        podman = images.Podman(folder)
        system.run("image", "delete", "first")  # nothing may be there already
        system.run("image", "prune", "-a")
        empty = images.disk_mib(f"{system.folder}/app")
        for case in options.cases:
            layout = f"{folder}/layout-{case}"
            digest = images.make_layout(case, layout)
            name = f"{registry.address}/bench/{case}:latest"
            images.quiet("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest",
                         f"docker://{name}")
            shutil.rmtree(layout)
            copy, bundle = f"{folder}/copy", f"{folder}/bundle"
            samples = {"container": [], "podman": [], "skopeo+umoci": []}
            for run in range(options.runs + 1):
                images.settle()
                pulled = images.measure([[system.container, "image", "pull", name]],
                                        system.environment, ours)
                pulled["disk"] = images.disk_mib(f"{system.folder}/app") - empty
                prove(system, name, digest)
                system.run("image", "delete", name)
                system.run("image", "prune", "-a")

                images.settle()
                theirs = images.measure([podman.command + ["pull", "-q", "--tls-verify=false", name]])
                theirs["disk"] = images.disk_mib(podman.storage)
                podman.remove_images()

                images.settle()
                others = images.measure([
                    ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}",
                     f"oci:{copy}:latest"],
                    ["umoci", "unpack", "--image", f"{copy}:latest", bundle]])
                others["disk"] = images.disk_mib(copy, bundle)
                shutil.rmtree(copy)
                shutil.rmtree(bundle)
                if run > 0:  # the first one warms the caches
                    for samples_of, one in zip(samples.values(), (pulled, theirs, others)):
                        samples_of.append(one)
            table.add(f"({case}) {images.CASES[case]}", samples)
            registry.clear()
    table.finish(["The memory is the image helper's; of the others, the largest command's.",
                  "Each pulled root passes fsck.erofs; each digest is the one that was pushed."])


if __name__ == "__main__":
    main()
