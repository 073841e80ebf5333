#!/usr/bin/env python3
"""What `fib export --format flashinfer-trace` writes, read by flashinfer-bench's own data models.

    dataset_test.py MAKE_PAIRED_STORE FIB CACHE FOLDER

Only the models of the published package are wanted, which need pydantic: the package is unpacked
into FOLDER without what it depends on (torch and more, gigabytes), and torch is a name without
content. Exits 77, which ctest counts as skipped, where PyPI is out of reach.
"""

import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types
import unittest

PACKAGE = "flashinfer-bench==0.1.2"
SKIPPED = 77

make_paired_store, fib_binary, cache, folder = sys.argv[1:]


def unpack_package():
    place = pathlib.Path(folder) / PACKAGE.replace("==", "-")
    if not place.exists():
        staging = pathlib.Path(tempfile.mkdtemp(dir=place.parent))
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--retries", "1", "--timeout", "20", "--no-deps", "--target", staging, PACKAGE],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            shutil.rmtree(staging)
            print(f"skipped: can't get {PACKAGE}: {done.stdout.strip()}")
            sys.exit(SKIPPED)
        try:
            staging.rename(place)
        except OSError:  # somebody else was faster
            shutil.rmtree(staging)
    return place


def import_models(place):
    """flashinfer_bench.data, without running flashinfer_bench/__init__.py."""
    package = types.ModuleType("flashinfer_bench")
    package.__path__ = [str(place / "flashinfer_bench")]
    sys.modules["flashinfer_bench"] = package
    for name in ("torch", "safetensors", "safetensors.torch"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["safetensors"].torch = sys.modules["safetensors.torch"]
    return importlib.import_module("flashinfer_bench.data")


class Dataset(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        subprocess.run([make_paired_store, self.folder / "fib.db"], check=True)

    def export(self, *arguments):
        """The dataset as their TraceSet, and what fib says of it."""
        done = subprocess.run(
            [fib_binary, "export", "out", "--format", "flashinfer-trace", "--json", "--cache",
             cache, *arguments],
            cwd=self.folder, stdout=subprocess.PIPE, text=True, check=True,
            env={"PATH": os.environ["PATH"]})
        return models.TraceSet.from_path(self.folder / "out"), json.loads(done.stdout)

    def test_everything(self):
        dataset, counts = self.export()
        self.assertEqual(list(dataset.definitions), ["rmsnorm_h64"])
        self.assertEqual(counts["traces"], 3)
        self.assertEqual(len(dataset.traces["rmsnorm_h64"]), 3)
        self.assertEqual(len(dataset.workloads["rmsnorm_h64"]), 3)

    def test_winners(self):
        dataset, counts = self.export("--winners")
        self.assertEqual(counts["solutions"], 1)
        (solution,) = dataset.solutions["rmsnorm_h64"]
        self.assertEqual(solution.name, "mine__rmsnorm_h64")
        self.assertEqual(solution.definition, "rmsnorm_h64")
        traces = dataset.traces["rmsnorm_h64"]
        self.assertEqual(len(traces), 2)
        for trace in traces:
            self.assertEqual(trace.solution, solution.name)
            self.assertEqual(trace.evaluation.status, models.EvaluationStatus.PASSED)
        # As their loaders would: the winner is found by its name.
        self.assertIs(dataset._solution_by_name[solution.name], solution)


if __name__ == "__main__":
    models = import_models(unpack_package())
    unittest.main(argv=sys.argv[:1], verbosity=2)
