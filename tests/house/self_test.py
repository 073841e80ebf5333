#!/usr/bin/env python3
"""Shows that each house rule can fail: builds small trees and looks at what is found."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import check_headers
from rules import LONGEST_FILE, RULES
from source_tree import Tree, strip_literals

CLEAN = {
    "README.md": "# readme\n",
    "signatures/CMakeLists.txt": "add_library(fib_signatures STATIC\n  base/result.cpp)\n",
    "signatures/base/result.h": "// What it is.\n#pragma once\n#include <string>\n",
    "signatures/base/result.cpp": '#include "signatures/base/result.h"\n#include <cstdio>\n'
                                  '// exit(1) and printf("x") are only talked about here\n'
                                  'const char* text = "std::cout << getenv(0)";\n'
                                  'void f(char* s) { std::snprintf(s, 1, "x"); task.exit(); }\n',
    "harness/abi/fib/plan.h": "#pragma once\n",
    "runners/launch/plan.h": '#pragma once\n#include "fib/plan.h"\n'
                             '#include "signatures/base/result.h"\n',
    "integrations/package/package.h": "#pragma once\n",
    "integrations/serving/engine.h": '#pragma once\n#include "integrations/package/package.h"\n',
    "integrations/cli/CMakeLists.txt": "add_executable(fib main.cpp)\n",
    "integrations/cli/main.cpp": 'int main() { std::printf("%s", getenv("HOME")); exit(0); }\n',
    "leaderboard/solutions/cpu/x/kernel.cpp": '#include "fib/plan.h"\n#include "helper.h"\n',
}

# One fault each, laid over the clean tree: (rule, file, text, words of the finding).
FAULTS = [
    ("top_level", "notes.txt", "x\n", "'notes.txt' is not an agreed"),
    ("top_level", "misc/notes.txt", "x\n", "'misc' is not an agreed"),
    ("include_direction", "signatures/base/up.h", '#pragma once\n#include "signatures/catalog.h"\n',
     "not a file of the repository"),
    ("include_direction", "signatures/base/up.h",
     '#pragma once\n\n#include "integrations/package/package.h"\n',
     'signatures/base may not include "integrations/package/package.h"'),
    ("include_direction", "signatures/up.h", '#pragma once\n#include <runners/launch/plan.h>\n',
     "signatures may not include"),
    ("include_direction", "runners/launch/more.h",
     '#pragma once\n#include "integrations/package/package.h"\n', "runners/launch may not include"),
    ("include_direction", "integrations/serving/more.h",
     '#pragma once\n#include "runners/launch/plan.h"\n', "integrations/serving may not include"),
    ("include_direction", "signatures/base/sibling.h", '#pragma once\n#include "result.h"\n',
     "written from its root"),
    ("own_header_first", "signatures/base/result.cpp",
     '#include <string>\n#include "signatures/base/result.h"\n', "first include must be"),
    ("pragma_once", "signatures/base/guard.h", "#ifndef GUARD\n#define GUARD\n#endif\n",
     "#pragma once"),
    ("pragma_once", "signatures/base/guard.h", "// #pragma once\n", "#pragma once"),
    ("pragma_once", "integrations/package/include/given.h", "#pragma once\n", "include guard"),
    ("file_length", "signatures/base/result.cpp",
     '#include "signatures/base/result.h"\n' + "\n" * LONGEST_FILE, "601 lines"),
    ("file_length", "scripts/tool", "#!/bin/sh\n" + ":\n" * LONGEST_FILE, "601 lines"),
    ("listed_sources", "signatures/base/dead.cpp", "\n", "not in the source list"),
    ("machine_paths", "README.md", "see /" + "root/notes\n", "path of one machine"),
    ("machine_paths", "scripts/tool", "\ncd /" + "home/me/fib\n", "path of one machine"),
    ("quiet_libraries", "signatures/base/result.cpp",
     '#include "signatures/base/result.h"\nvoid f() { std::cerr << 1; }\n', "std::cerr"),
    ("quiet_libraries", "signatures/base/result.cpp",
     '#include "signatures/base/result.h"\nvoid f() { printf("x"); }\n', "printf"),
    ("quiet_libraries", "signatures/base/result.cpp",
     '#include "signatures/base/result.h"\nvoid f() { std::exit (1); }\n', "exit"),
    ("quiet_libraries", "signatures/base/result.cpp",
     '#include "signatures/base/result.h"\nauto f() { return ::getenv("X"); }\n', "getenv"),
    ("quiet_libraries", "integrations/package/p.h", '#pragma once\nvoid f() { fmt::print("x"); }\n',
     "fmt::print"),
]


def write_tree(root, files):
    for path, text in files.items():
        target = Path(root, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def findings_in(files):
    with tempfile.TemporaryDirectory() as root:
        write_tree(root, files)
        tree = Tree(root)
        return [(rule.__name__, path, message) for rule in RULES for path, _, message in rule(tree)]


class HouseRules(unittest.TestCase):
    def test_a_clean_tree_has_no_findings(self):
        self.assertEqual(findings_in(CLEAN), [])

    def test_each_fault_is_found_and_nothing_else(self):
        for rule, path, text, words in FAULTS:
            with self.subTest(rule=rule, path=path, text=text[:80]):
                found = [finding for finding in findings_in({**CLEAN, path: text})]
                self.assertEqual([(name, where) for name, where, _ in found], [(rule, path)])
                self.assertIn(words, found[0][2])

    def test_every_rule_has_a_fault(self):
        self.assertEqual({rule.__name__ for rule in RULES}, {fault[0] for fault in FAULTS})

    def test_ignored_files_are_not_checked(self):
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {**CLEAN, ".gitignore": "/build/\n", "build/notes.txt": "x\n"})
            subprocess.run(["git", "init", "-q", root], check=True)
            self.assertNotIn("build/notes.txt", Tree(root).paths)
            self.assertIn("README.md", Tree(root).paths)

    def test_literals_are_stripped_and_lines_stay(self):
        code = 'a("x\\"y", \'"\', 1\'000) /* b\n */ R"t(c)" d)t" // e\nf'
        self.assertEqual(strip_literals(code).split(), ["a(", ",", ",", "1'000)", "f"])
        self.assertEqual(strip_literals(code).count("\n"), code.count("\n"))


class Headers(unittest.TestCase):
    def check(self, files):
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, files)
            tree = Tree(root)
            return {path: check_headers.compile_error(tree, "c++", [], path)
                    for path in check_headers.lone_headers(tree)}

    def test_a_header_that_leans_on_others_is_found(self):
        found = self.check({"signatures/good.h": "#pragma once\n#include <vector>\n"
                                                 "inline std::vector<int> x;\n",
                            "signatures/bad.h": "#pragma once\ninline std::vector<int> x;\n"})
        self.assertIsNone(found["signatures/good.h"])
        self.assertIn("signatures/bad.h: does not compile alone", found["signatures/bad.h"])

    def test_headers_with_a_source_are_left_to_the_build(self):
        self.assertEqual(self.check({"signatures/a.h": "nonsense", "signatures/a.cpp": ""}), {})

    def test_headers_of_the_toolkit_are_seen_through_others(self):
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {"runners/a.h": '#include "runners/b.h"\n',
                              "runners/b.h": "#include <cuda.h>\n", "runners/c.h": "\n"})
            tree = Tree(root)
            self.assertTrue(check_headers.needs_cuda(tree, "runners/a.h", set()))
            self.assertFalse(check_headers.needs_cuda(tree, "runners/c.h", set()))


if __name__ == "__main__":
    sys.exit(unittest.main())
