"""The house rules. Each is a generator of (path, line, message) over a Tree."""

import re

from source_tree import CODE_SUFFIXES, ROOMS, strip_literals

LONGEST_FILE = 600

TOP_LEVEL = {".ci", ".clang-format", ".gitignore", "CMakeLists.txt", "CMakePresets.json", "LICENSE",
             "README.md", "agents", "docs", "harness", "integrations", "leaderboard", "reference",
             "runners", "scripts", "signatures", "tests", "workloads"}

# What a folder may include besides itself; the longest matching prefix decides. This is the table
# of the design, with the folders inside rooms that promise more than their room does. harness/abi
# includes nothing at all, and the values it defines are generated in workloads too.
MAY_INCLUDE = {
    "signatures/base": (),
    "signatures": (),
    "reference": ("signatures",),
    "workloads": ("signatures", "harness/abi"),
    "harness/abi": (),
    "harness": ("signatures", "reference", "workloads"),
    "runners/launch": ("signatures/base", "harness/abi"),
    "runners": ("signatures", "harness", "workloads"),
    "leaderboard": ("signatures", "harness"),
    "agents": ("signatures", "reference", "workloads", "harness", "runners", "leaderboard"),
    "integrations/serving": ("signatures", "workloads", "integrations/package"),
    "integrations": ("signatures", "reference", "workloads", "harness", "runners", "leaderboard",
                     "agents"),
    "tests": ROOMS,
}

# Where a process talks and ends: the commands, and the entry of workers, which else talk over their
# channel and end by returning.
MAY_PRINT_AND_EXIT = re.compile(r"integrations/cli/|tests/|runners/worker_entry\.cpp$")
_FORBIDDEN_CALLS = re.compile(
    r"(?<![\w.>])(?:std::|::)?(printf|puts|putchar|fprintf|vprintf|exit|quick_exit|getenv|"
    r"secure_getenv|setenv|putenv)\s*\(|\b(std::c(?:out|err|log))\b|\b(fmt::print(?:ln)?)\s*\(")

# Spelled in pieces, so that this file passes its own rule.
_MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(?:" + "|".join(("work", "root", "home", "Users")) +
                           r")/[\w.]")


def _under(path, folder):
    return path == folder or path.startswith(folder + "/")


def _longest_prefix(path):
    return max((folder for folder in MAY_INCLUDE if _under(path, folder)), key=len, default=None)


def top_level(tree):
    for path in tree.paths:
        if path.split("/")[0] not in TOP_LEVEL:
            yield path, 1, f"'{path.split('/')[0]}' is not an agreed top-level entry"


def include_direction(tree):
    for file in tree.files:
        if not file.is_cpp() or file.room not in ROOMS or file.is_data():
            continue
        own = _longest_prefix(file.path)
        for line, bracket, name in file.includes():
            target = "harness/abi/" + name if name.startswith("fib/") else name
            in_room = target.split("/")[0] in ROOMS and "/" in target
            if bracket == "<" and not in_room:
                continue
            if target not in tree.known:
                yield (file.path, line, f"\"{name}\" is not a file of the repository; includes are "
                       "written from its root")
                continue
            if not any(_under(target, folder) for folder in (own, *MAY_INCLUDE[own])):
                allowed = ", ".join(MAY_INCLUDE[own]) or "nothing else"
                yield file.path, line, f"{own} may not include \"{name}\" (it may: {allowed})"


def own_header_first(tree):
    """x.cpp includes x.h before anything else, which proves that x.h stands alone."""
    for file in tree.files:
        header = file.path[:-len(".cpp")] + ".h"
        if file.suffix != ".cpp" or header not in tree.known or file.is_data():
            continue
        first = next(((line, name) for line, _, name in file.includes()), (1, None))
        if first[1] is None or ("harness/abi/" + first[1] != header and first[1] != header):
            yield file.path, first[0], f"the first include must be \"{header}\""


def pragma_once(tree):
    for file in tree.files:
        if file.suffix not in (".h", ".hpp", ".cuh"):
            continue
        text = strip_literals(file.text).lstrip()
        if "/include/" in file.path:
            # Copied into every package: one program may meet it under several paths.
            if not re.match(r"#ifndef (\w+_H_)\n#define \1\n", text):
                yield file.path, 1, "a header that is given away starts with an include guard"
        elif not text.startswith("#pragma once"):
            yield file.path, 1, "a header starts with #pragma once"


def file_length(tree):
    for file in tree.files:
        if file.suffix not in CODE_SUFFIXES and not file.text.startswith("#!"):
            continue
        lines = file.text.count("\n")
        if lines > LONGEST_FILE:
            yield file.path, LONGEST_FILE + 1, f"{lines} lines; look for the seam ({LONGEST_FILE})"


def listed_sources(tree):
    """Every compiled source is in an explicit list: what is in none is dead."""
    lists = {file.path.rpartition("/")[0]: file.text for file in tree.files
             if file.path.endswith("CMakeLists.txt")}
    for file in tree.files:
        if file.suffix != ".cpp" or file.room not in ROOMS or file.is_data():
            continue
        folder = file.path.rpartition("/")[0]
        while folder and folder not in lists:
            folder = folder.rpartition("/")[0]
        name = file.path[len(folder) + 1:] if folder else file.path
        words = re.split(r"[\s()\"]+", lists.get(folder, ""))
        if not any(name == word or word.endswith("/" + name) for word in words):
            yield file.path, 1, f"not in the source list of {folder}/CMakeLists.txt"


def machine_paths(tree):
    for file in tree.files:
        for line, match in file.matches(_MACHINE_PATH):
            yield file.path, line, f"'{match.group()}...' is a path of one machine"


def quiet_libraries(tree):
    for file in tree.files:
        if not file.is_cpp() or file.room not in ROOMS or file.is_data():
            continue
        if MAY_PRINT_AND_EXIT.match(file.path):
            continue
        for line, match in file.matches(_FORBIDDEN_CALLS, strip_literals(file.text)):
            call = next(group for group in match.groups() if group)
            yield (file.path, line, f"{call}: libraries don't print, exit or read the environment")


RULES = (top_level, include_direction, own_header_first, pragma_once, file_length, listed_sources,
         machine_paths, quiet_libraries)
