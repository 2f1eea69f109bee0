"""load_save: `image load` and `image save`, against podman's."""

import os
import shutil

import common
import image_cases as images


def main():
    options = images.arguments(__doc__)
    table = images.Table("image load and image save", options)
    with images.journal_folder() as folder, common.System(options.build, folder) as system:
        ours = images.Ours(system)
        podman = images.Podman(folder)
        for case in options.cases:
            layout = f"{folder}/layout-{case}"
            images.make_layout(case, layout)
            name = f"localhost/bench/{case}:latest"
            archive, saved = f"{folder}/archive.tar", f"{folder}/saved.tar"
            images.quiet("skopeo", "copy", f"oci:{layout}:latest", f"oci-archive:{archive}:{name}")
            shutil.rmtree(layout)
            load = {"container": [], "podman": []}
            save = {"container": [], "podman": []}
            for run in range(options.runs + 1):
                def counted(samples, sample, counts=run > 0):
                    if counts:  # the first run warms the caches
                        samples.append(sample)

                images.settle()
                counted(load["container"], images.measure(
                    [[system.container, "image", "load", "-i", archive]], system.environment, ours))
                images.settle()
                counted(load["podman"], images.measure([podman.command + ["load", "-q", "-i", archive]]))
                for side, command, environment, meter in (
                        ("container", [system.container, "image", "save", "-o", saved, name],
                         system.environment, ours),
                        ("podman", podman.command + ["save", "-q", "-o", saved, name], None, None)):
                    images.settle()
                    sample = images.measure([command], environment, meter)
                    sample["disk"] = images.disk_mib(saved)
                    counted(save[side], sample)
                    os.unlink(saved)
                system.run("image", "delete", name)
                system.run("image", "prune", "-a")
                podman.remove_images()
            os.unlink(archive)
            table.add(f"load ({case}) {images.CASES[case]}", load)
            table.add(f"save ({case}) {images.CASES[case]}", save)
    table.finish(["The memory is the image helper's; of podman, the command's.",
                  "podman saves uncompressed layers, its default; ours stay as they came."])


if __name__ == "__main__":
    main()
