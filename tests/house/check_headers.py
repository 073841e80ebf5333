#!/usr/bin/env python3
"""Compiles, for syntax alone, each header that no source file proves self-contained.

x.cpp includes x.h first (rule own_header_first), so the build itself checks most headers; what is
left are headers without a source beside them (not those of device code, which NVRTC compiles
with every kernel, nor fixtures of tests, which lean on definitions of their programs). Usage:
check_headers.py ROOT COMPILER [INCLUDE_FOLDER...]
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from source_tree import ROOMS, Tree

_CUDA_HEADER = re.compile(r"(cuda|nvrtc|cupti|nvml)\w*\.h")


def lone_headers(tree):
    return [file.path for file in tree.files
            if file.suffix == ".h" and file.room in ROOMS and not file.is_data()
            and not file.path.startswith(("harness/abi/fib/device/", "tests/"))
            and file.path[:-len(".h")] + ".cpp" not in tree.known]


def needs_cuda(tree, path, seen):
    """Whether a header reaches one of the CUDA toolkit's, which not every machine has."""
    by_path = {file.path: file for file in tree.files}
    if path in seen or path not in by_path:
        return False
    seen.add(path)
    for _, _, name in by_path[path].includes():
        if _CUDA_HEADER.fullmatch(name) or needs_cuda(tree, name, seen):
            return True
    return False


def compile_error(tree, compiler, includes, path):
    folders = [str(tree.root), str(tree.root / "harness/abi"), *includes]
    command = [compiler, "-std=gnu++20", "-fsyntax-only", "-fmax-errors=3",
               *(f"-I{folder}" for folder in folders), "-x", "c++", "-"]
    done = subprocess.run(command, input=f'#include "{path}"\n', text=True, capture_output=True)
    return None if done.returncode == 0 else f"{path}: does not compile alone\n{done.stderr}"


def main(arguments):
    root, compiler, *includes = arguments
    tree = Tree(root)
    headers = lone_headers(tree)
    if not includes:
        headers = [path for path in headers if not needs_cuda(tree, path, set())]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        errors = pool.map(lambda path: compile_error(tree, compiler, includes, path), headers)
    errors = [error for error in errors if error]
    print("".join(errors) + f"{len(headers)} headers compiled alone, {len(errors)} failed")
    return 1 if errors or not headers else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
