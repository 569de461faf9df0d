#!/usr/bin/env python3
"""The rules of the house, as a test: include arrows, sizes, standalone headers, format.

usage: tools/lint.py [--headers] [--update]
Sizes ratchet: what was over a limit when tools/lint_ratchet.json was written may shrink, never grow.
--headers also compiles every header alone; --update rewrites the ratchet (only ever downwards).
"""
import concurrent.futures, json, pathlib, re, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATCHET = ROOT / "tools" / "lint_ratchet.json"
LIMITS = {"file": 800, "header": 200, "function": 70}
P90_FUNCTION = 35

# folder -> folders it may include, beside itself, base and core
ALLOWED = {
    "base": set(), "core": set(), "text": set(), "media": set(), "topology": set(),
    "networking": set(), "tensor": set(), "download": {"tensor"}, "backend": {"tensor"},
    "model": {"backend", "tensor"}, "inference": {"model", "backend", "tensor"},
    "orchestration": {"inference", "topology", "networking", "text", "media", "download", "model", "backend", "tensor"},
}
ALLOWED["api"] = ALLOWED["orchestration"] | {"orchestration"}
ALLOWED["app"] = ALLOWED["api"] | {"api"}
# The pure core of orchestration is linked into the simulator without network, model or clock.
PURE = re.compile(r"^src/orchestration/(core(?!_driver)|membership|placements|sessions|ring)[^/]*$")
PURE_ALLOWED = {"base", "core", "topology", "orchestration"}


def sources():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "src", "tests", "bench"], cwd=ROOT, text=True,
                         capture_output=True, check=True).stdout.split()
    return [p for p in out if p.endswith((".h", ".cpp")) and (ROOT / p).exists()]


def check_includes(path, text, problems):
    if not path.startswith("src/"):
        return
    folder = path.split("/")[1]
    is_test = path.endswith("_test.cpp")
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'#include "([a-z_0-9]+)/', line)
        if not match:
            continue
        target = match.group(1)
        if target not in ALLOWED or target in (folder, "base", "core"):
            if target == "core" and folder == "base":
                problems.append(f"{path}:{number}: base may not include core")
            continue
        if PURE.match(path) and not is_test and target not in PURE_ALLOWED:
            problems.append(f"{path}:{number}: the pure core may not include {target}/")
        elif target not in ALLOWED.get(folder, set()):
            problems.append(f"{path}:{number}: {folder}/ may not include {target}/ (arrows only go down)")


def function_lengths(text):
    """(name, lines) of each function body. Relies on clang-format's layout: a body opens at the end of a
    line and closes alone at the indentation where it began."""
    lines = text.splitlines()
    found, i = [], 0
    opener = re.compile(r"^( *)(?!namespace|class|struct|enum|union|extern|using|//|#|switch|if|for|while|else|do\b|return|case|try)"
                        r"\S.*(\)|const|noexcept|override|final)\s*(: .*)?\{$")
    while i < len(lines):
        match = opener.match(lines[i])
        continued = not match and re.match(r"^ +.*\)( const| override| noexcept)* \{$", lines[i])
        if not match and not continued:
            i += 1
            continue
        start = i
        if continued:  # the signature began on an earlier, less indented line
            while start > 0 and (len(lines[start]) - len(lines[start].lstrip())) >= (len(lines[i]) - len(lines[i].lstrip())):
                start -= 1
            if not re.match(r"^ {0,2}\S", lines[start]) or re.match(r"^ *(if|for|while|switch|return|else|case)\b", lines[start]):
                i += 1
                continue
        indent = len(lines[start]) - len(lines[start].lstrip())
        if indent > 2:
            i += 1
            continue
        end = i + 1
        while end < len(lines) and not re.match(rf"^ {{{indent}}}\}}[;,)]*( .*)?$", lines[end]):
            end += 1
        name = re.sub(r"\(.*", "", lines[start].strip())
        found.append((name, end - start + 1))
        i = end + 1 if indent == 0 else i + 1
    return found


def check_sizes(path, text, over, lengths, problems):
    count = text.count("\n")
    kind = "header" if path.endswith(".h") else "file"
    if count > LIMITS[kind]:
        over[f"{kind} {path}"] = count
    for number, line in enumerate(text.splitlines(), 1):
        if "co_await" in line or "co_yield" in line:
            problems.append(f"{path}:{number}: coroutines (docs/decisions/0002)")
        if len(line) > 100 and not re.search(r"https?://|R\"|^#include", line):
            problems.append(f"{path}:{number}: {len(line)} columns, at most 100")
    if not path.startswith("src/"):
        return
    for name, size in function_lengths(text):
        lengths.append(size)
        if size > LIMITS["function"]:
            over[f"function {path} {name}"] = size


def check_try(path, text, problems):
    """A return out of a braced list leaks the elements before it, with clang 14 at least."""
    code = re.sub(r"//[^\n]*", "", text)
    for match in re.finditer(r"\{(?:[^;{}]|\{[^;{}]*\})*\}", code):
        before = match.group(0).partition("TRY(")
        if before[1] and "," in before[0] and "#" not in before[0]:
            problems.append(f"{path}:{code[:match.start()].count(chr(10)) + 1}: TRY behind other elements of a braced list")


def check_ratchet(over, update, problems):
    old = json.loads(RATCHET.read_text()) if RATCHET.exists() else {}
    for key, size in sorted(over.items()):
        if size > old.get(key, 0):
            problems.append(f"{key}: {size} lines, at most {max(old.get(key, 0), LIMITS[key.split()[0]])}")
    if update:
        kept = {key: min(size, old.get(key, size)) for key, size in over.items() if key in old or not old}
        RATCHET.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def check_headers(headers):
    def compile_alone(path):
        run = subprocess.run(["g++", "-std=c++20", "-fsyntax-only", "-Isrc", "-DEXO_SOURCE_DIR=\".\"", "-w", "-x", "c++", path], cwd=ROOT,
                             text=True, capture_output=True)
        return f"{path}: does not compile alone:\n{run.stderr[:600]}" if run.returncode else None
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return [p for p in pool.map(compile_alone, headers) if p]


def check_format(paths):
    run = subprocess.run(["clang-format", "--dry-run", *paths], cwd=ROOT, text=True, capture_output=True)
    files = sorted({line.split(":")[0] for line in run.stderr.splitlines() if "clang-format-violations" in line})
    return [f"{f}: not formatted (./dev fmt)" for f in files]


def main():
    problems, over, lengths = [], {}, []
    paths = sources()
    for path in paths:
        text = (ROOT / path).read_text(encoding="utf-8")
        check_includes(path, text, problems)
        check_sizes(path, text, over, lengths, problems)
        check_try(path, text, problems)
        if path.endswith(".h") and "#pragma once" not in text:
            problems.append(f"{path}: no #pragma once")
        if path.startswith("src/") and path.endswith(".h") and not text.startswith("//"):
            problems.append(f"{path}: a header opens with a paragraph that says what it is")
    check_ratchet(over, "--update" in sys.argv, problems)
    lengths.sort()
    p90 = lengths[len(lengths) * 9 // 10] if lengths else 0
    if p90 > P90_FUNCTION:
        problems.append(f"function length p90 is {p90} lines, at most {P90_FUNCTION}")
    problems += check_format(paths)
    if "--headers" in sys.argv:
        # Headers over generated code compile only where that was generated.
        problems += check_headers([p for p in paths if p.endswith(".h") and p.startswith("src/")
                                   and '.pb.h"' not in (ROOT / p).read_text(encoding="utf-8")])
    for problem in problems:
        print(problem)
    print(f"lint: {len(paths)} files, {len(lengths)} functions, p90 {p90} lines, {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main())
