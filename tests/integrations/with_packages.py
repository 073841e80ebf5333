#!/usr/bin/env python3
"""Runs a Python script in an environment that has packages from PyPI.

    with_packages.py FOLDER PACKAGE==VERSION... SCRIPT ARGUMENT...

The environment is made below FOLDER on the first call with these packages; whoever comes meanwhile
waits for it. Where that can't be done (no python3-venv, no way to PyPI) it says so and exits 77,
which ctest counts as skipped.
"""

import fcntl
import itertools
import pathlib
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77


def make_environment(folder, packages):
    """Made beside its place and moved there when it is whole; scripts in it are not used."""
    staging = pathlib.Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        for command in ([sys.executable, "-m", "venv", staging],
                        [staging / "bin/python", "-m", "pip", "install", "--quiet",
                         "--disable-pip-version-check", "--retries", "1", "--timeout", "20",
                         "--only-binary", ":all:", *packages]):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                print(f"skipped: can't make an environment with {' '.join(packages)}: "
                      f"{done.stdout.strip()}")
                sys.exit(SKIPPED)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def main():
    root, *arguments = sys.argv[1:]
    packages = list(itertools.takewhile(lambda argument: "==" in argument, arguments))
    script = arguments[len(packages):]
    folder = pathlib.Path(root) / "-".join(package.replace("==", "-") for package in packages)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make_environment(folder, packages)
    sys.exit(subprocess.run([folder / "bin/python", "-B", *script]).returncode)


if __name__ == "__main__":
    main()
