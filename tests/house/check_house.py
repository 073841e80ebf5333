#!/usr/bin/env python3
"""Checks a checkout against the house rules: check_house.py ROOT [RULE...]."""

import sys

from rules import RULES
from source_tree import Tree


def main(arguments):
    root, *names = arguments
    tree = Tree(root)
    if not tree.files:
        print(f"{root}: no files to check")
        return 1
    findings = 0
    for rule in RULES:
        if names and rule.__name__ not in names:
            continue
        for path, line, message in rule(tree):
            print(f"{path}:{line}: {message} [{rule.__name__}]")
            findings += 1
    print(f"{len(tree.files)} files, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
