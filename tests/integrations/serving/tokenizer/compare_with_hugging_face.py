"""Compares encode_texts with Hugging Face's tokenizers, on the bundled model's tokenizer and on
variants of it that have the parts of other families' tokenizers.

    python3 compare_with_hugging_face.py ENCODE_TEXTS MODEL_FOLDER [CORPUS.jsonl.zst]

Exits with 77, which means skipped, where the tokenizers package is not installed.
"""

import copy
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import tokenizers
except ImportError:
    print("skipped: the Python package 'tokenizers' is not installed")
    sys.exit(77)

LLAMA_3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
           r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BEHAVIORS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
SNIPPETS = list("abcXYZ 0123456789\n\r\t'\".,!?-_<|>") + [
    "é", "É", "ß", "ſ", "K", "\u0301", "\u0316", "\u3000", "\u00a0", "\u200b", "\u200d", "\u2028",
    "中", "文", "か", "な", "한", "글", "😀", "👩", "ا", "ب", "क", "\u094d", "①", "Ⅷ", "½",
    "'s", "'LL", "\n\n  ", "   ", " \r\n", "<|endoftext|>", "<|x|>", "  <|x|>  ", "<|im_start|>",
    "endly", "<|e", "XY", "e\u0301", "中文"]


def byte_level(prefix=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True,
            "use_regex": regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def added(token, content, **flags):
    return {"id": token, "content": content, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True} | flags


def without(model, *letters):
    """The model, ignorant of some letters."""
    def keeps(piece):
        return not any(letter in piece for letter in letters)
    return {"vocab": {piece: i for piece, i in model["vocab"].items() if keeps(piece)},
            "merges": [pair for pair in model["merges"] if keeps("".join(pair))]}


def variants(base):
    model, end = base["model"], base["added_tokens"][0]
    yield "bundled", {}, {}
    yield "llama3", {"pre_tokenizer": sequence(split(LLAMA_3), byte_level())}, {
        "ignore_merges": True, "merges": [" ".join(pair) for pair in model["merges"]]}
    yield "cased", {"pre_tokenizer": sequence(split(CASED, "Removed", True), byte_level()),
                    "normalizer": {"type": "NFC"}}, {}
    yield "gpt2", {"pre_tokenizer": byte_level(True, True)}, {}
    yield "empty_matches", {"pre_tokenizer": sequence(split(r"(?=[A-Z])|\s*"), byte_level())}, {}
    for individual in (True, False):
        yield f"digits_{individual}", {"pre_tokenizer": sequence(
            {"type": "Digits", "individual_digits": individual}, byte_level(False, True))}, {}
    for form in ("NFD", "NFKC", "NFKD"):
        yield form, {"normalizer": {"type": "Sequence", "normalizers": [{"type": form}]}}, {}
    for behavior in BEHAVIORS:
        for invert in (False, True):
            for kind, pattern in (("Regex", "[ .]"), ("String", " ")):
                yield f"{behavior}_{invert}_{kind}", {"pre_tokenizer": sequence(
                    split(pattern, behavior, invert, kind), byte_level())}, {}
    yield "added", {"normalizer": {"type": "NFC"}, "added_tokens": [
        end, added(4096, "<|x|>", lstrip=True, rstrip=True), added(4097, "<|im_start|>", rstrip=True),
        added(4098, "endly", single_word=True, special=False), added(4099, "<|e", special=False),
        added(4100, "<|end", special=False), added(4101, "e\u0301", normalized=True, special=False),
        added(4102, "XY", normalized=True), added(4103, "中文", special=False)]}, {}
    ignorant = without(model, "z", "Ã")
    yield "dropped", {}, ignorant
    yield "unknown", {}, ignorant | {"unk_token": end["content"]}
    yield "fused", {}, ignorant | {"unk_token": end["content"], "fuse_unk": True}


def make_texts(corpus):
    source = random.Random(1)
    texts = ["".join(source.choices(SNIPPETS, k=source.randint(0, 60))) for _ in range(1500)]
    if corpus and Path(corpus).exists() and shutil.which("zstd"):
        books = subprocess.run(["zstd", "-dc", corpus], capture_output=True, check=True).stdout
        for line in books.decode().splitlines()[::6]:
            text = json.loads(line)["text"]
            starts = [source.randrange(len(text)) for _ in range(100)]
            texts += [text[:30000]] + [text[at:at + source.randint(1, 80)] for at in starts]
    return texts


def main(encode_texts, folder, corpus=None):
    base = json.loads((Path(folder) / "tokenizer.json").read_text())
    texts, failures = make_texts(corpus), 0
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "texts.json"
        file.write_text(json.dumps(texts))
        for name, parts, model in variants(base):
            made = copy.deepcopy(base) | parts
            made["model"] |= model
            (Path(scratch) / "tokenizer.json").write_text(json.dumps(made))
            theirs = tokenizers.Tokenizer.from_file(str(Path(scratch) / "tokenizer.json"))
            for mode in ("parse", "text"):
                theirs.encode_special_tokens = mode == "text"
                ours = json.loads(subprocess.run([encode_texts, scratch, file, mode], check=True,
                                                 stdout=subprocess.PIPE).stdout)
                bad = [text for text, ids in zip(texts, ours) if theirs.encode(text).ids != ids]
                failures += len(bad)
                print(f"{name}, {mode}: {len(texts)} texts, {len(bad)} differ",
                      repr(min(bad, key=len)) if bad else "")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
