#!/usr/bin/env python3
"""The wheel of a package: built, installed into an environment of its own and used there.

    wheel_test.py PACKAGE_FOLDER PREPARED_PACKAGE_FOLDER BUILD_WHEEL

Run by a Python that has numpy; the new environment sees that numpy.
"""

import base64
import csv
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

import numpy

PACKAGE, PREPARED, BUILD_WHEEL = (pathlib.Path(argument) for argument in sys.argv[1:4])
del sys.argv[1:4]
HERE = pathlib.Path(__file__).resolve().parent


def run(*command):
    return subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class WheelTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def build(self, package=PACKAGE):
        return run(sys.executable, BUILD_WHEEL, package, self.folder / "out")

    def built(self):
        done = self.build()
        self.assertEqual(done.returncode, 0, done.stdout)
        return pathlib.Path(done.stdout.strip())

    def test_is_a_wheel(self):
        wheel = self.built()
        self.assertRegex(wheel.name,
                         r"^fib_kernels-2026\.1\.2-py3-none-manylinux_2_\d+_x86_64\.whl$")
        with zipfile.ZipFile(wheel) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        info = "fib_kernels-2026.1.2.dist-info"
        recorded = {row[0]: row[1:] for row in csv.reader(files[f"{info}/RECORD"].decode().split())}
        self.assertEqual(set(recorded), set(files))
        for name, content in files.items():
            if not name.endswith("RECORD"):
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
                self.assertEqual(recorded[name],
                                 [f"sha256={digest.rstrip('=')}", str(len(content))])
        metadata = files[f"{info}/METADATA"].decode()
        self.assertIn("License-Expression: Apache-2.0\n", metadata)
        self.assertIn("- `gemm_n256_k256`", metadata)
        self.assertIn("Apache License", files[f"{info}/licenses/LICENSE"].decode())
        self.assertIn("rmsnorm-rows by ", files[f"{info}/licenses/LICENSES"].decode())
        self.assertIn("Root-Is-Purelib: false", files[f"{info}/WHEEL"].decode())

    def test_is_the_same_for_the_same_package(self):
        first = self.built().read_bytes()
        self.assertEqual(first, self.built().read_bytes())

    def test_serves_an_environment_of_its_own(self):
        environment = self.folder / "environment"
        python = environment / "bin/python"
        for command in ((sys.executable, "-m", "venv", environment),
                        (python, "-m", "pip", "install", "--quiet", "--no-index",
                         "--disable-pip-version-check", self.built())):
            done = run(*command)
            self.assertEqual(done.returncode, 0, done.stdout)
        packages = next(environment.glob("lib/python3*/site-packages"))
        (packages / "numpy.pth").write_text(str(pathlib.Path(numpy.__file__).parent.parent) + "\n")
        done = run(python, "-B", HERE / "use_numpy.py",
                   PREPARED / "lib/libfib_kernels.so")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_refuses_what_is_no_whole_package(self):
        def tampered(change):
            copy = self.folder / "package"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(PACKAGE, copy)
            change(copy)
            return copy

        def resum(package, name):
            """As if it had been exported so."""
            sums = package / "SHA256SUMS"
            digest = hashlib.sha256((package / name).read_bytes()).hexdigest()
            lines = [f"{digest}  {name}" if line.endswith(f"  {name}") else line
                     for line in sums.read_text().splitlines()]
            sums.write_text("\n".join(lines) + "\n")

        def append(name):
            def change(package):
                with open(package / name, "ab") as file:
                    file.write(b"!")
            return change

        def rename_version(package):
            path = package / "share/fib_kernels/manifest.json"
            manifest = json.loads(path.read_text())
            manifest["version"] = "the newest"
            path.write_text(json.dumps(manifest))
            resum(package, "share/fib_kernels/manifest.json")

        def replace_library(package):
            (package / "lib/libfib_kernels.so").write_bytes(b"no library")
            resum(package, "lib/libfib_kernels.so")

        for change, message in (
                (lambda package: (package / "SHA256SUMS").unlink(), "has no SHA256SUMS"),
                (append("lib/libfib_kernels.so"), "libfib_kernels.so is not what SHA256SUMS says"),
                (lambda package: (package / "include/fib_kernels.h").unlink(),
                 "fib_kernels.h is missing"),
                (rename_version, '"the newest" is none that Python knows'),
                (replace_library, "no shared object of 64 bits")):
            with self.subTest(message):
                done = self.build(tampered(change))
                self.assertEqual(done.returncode, 1)
                self.assertIn(message, done.stdout)
                self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
    unittest.main()
