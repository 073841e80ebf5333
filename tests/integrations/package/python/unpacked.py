"""fib_kernels of a package for this process: its wheel, unpacked. For tests in environments that
nothing is to be installed into."""

import atexit
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile


def import_from(package, build_wheel):
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    wheel = subprocess.run([sys.executable, build_wheel, package, folder], check=True,
                           stdout=subprocess.PIPE, text=True).stdout.strip()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    sys.path.insert(0, str(folder))


def skip_without(what, why):
    """Ends the test as skipped."""
    print(f"skipped: {what} is missing: {why}")
    sys.exit(77)
