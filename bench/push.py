"""push: `image push` to an empty registry, against `skopeo copy` from an OCI layout."""

import shutil

import common
import image_cases as images


def main():
    options = images.arguments(__doc__)
    table = images.Table("image push", options)
    with images.journal_folder() as folder, images.Registry(f"{folder}/registry") as registry, \
            common.System(options.build, folder) as system:
        ours = images.Ours(system)
        for case in options.cases:
            layout = f"{folder}/layout-{case}"
            digest = images.make_layout(case, layout)
            name = f"{registry.address}/bench/{case}:latest"
            images.quiet("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest",
                         f"docker://{name}")
            system.run("image", "pull", name)
            samples = {"container": [], "skopeo": []}
            for run in range(options.runs + 1):
                registry.clear()
                images.settle()
                pushed = images.measure([[system.container, "image", "push", name]],
                                        system.environment, ours)
                arrived = images.quiet("skopeo", "inspect", "--tls-verify=false", "--format",
                                       "{{.Digest}}", f"docker://{name}")
                assert arrived.strip() == digest, arrived

                registry.clear()
                images.settle()
                theirs = images.measure([["skopeo", "copy", "-q", "--dest-tls-verify=false",
                                          f"oci:{layout}:latest", f"docker://{name}"]])
                if run > 0:
                    samples["container"].append(pushed)
                    samples["skopeo"].append(theirs)
            table.add(f"({case}) {images.CASES[case]}", samples)
            system.run("image", "delete", name)
            shutil.rmtree(layout)
            registry.clear()
    table.finish(["The memory is the image helper's; of the other, the command's."])


if __name__ == "__main__":
    main()
