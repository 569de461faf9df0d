#!/usr/bin/env python3
"""Builds and runs every test; the last line is "N passed, M failed".

usage: ./dev test [--full | --arm] [--only PATTERN]
Default: lint, release build and all its tests, AddressSanitizer over the parsers and the simulator, end-to-end
tests with real processes and clients. --full adds AddressSanitizer, UndefinedBehaviorSanitizer and
ThreadSanitizer over everything they can run on, fuzzing, each header alone, and thousands of simulator seeds.
--arm does none of this: it cross-builds everything for ARM64 and runs, under qemu, what depends on the processor
(tools/arm_tests.py).
"""
import concurrent.futures, json, os, pathlib, re, subprocess, sys, tempfile, time

import arm_tests

ROOT = pathlib.Path(__file__).resolve().parent.parent
FULL = "--full" in sys.argv
ONLY = re.compile(sys.argv[sys.argv.index("--only") + 1]) if "--only" in sys.argv else None
# What fits the time of a cold run; --full takes everything.
ASAN_TESTS = ["test_base", "test_core", "test_tensor", "test_text", "test_media", "test_networking", "sim_test"]
TSAN_TESTS = ["test_base", "test_download", "test_inference", "test_orchestration", "sim_test"]  # gRPC is not instrumented
FUZZ_SECONDS = 60
SHARDED = ["golden_test"]  # an hour under a sanitizer: there in as many processes as there are cores

passed, failed, skipped, failures = 0, 0, 0, []


def say(text):
    print(text, flush=True)


def record(name, ok, detail=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        failures.append(name)
        say(f"FAILED {name}\n{detail}")


def wanted(name):
    return ONLY is None or ONLY.search(name)


def run(arguments, timeout_s=1800, env=None):
    """(exit code, output). A program that hangs counts as failed."""
    try:
        done = subprocess.run(arguments, cwd=ROOT, text=True, errors="replace", stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout_s, env={**os.environ, **(env or {})})
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
        return 124, (out.decode(errors="replace") if isinstance(out, bytes) else out) + f"\nno end after {timeout_s} s"


def build(preset, targets=()):
    started = time.time()
    code, output = run(["cmake", "--preset", preset, "-DEXO_TESTS=ON", "-DEXO_BENCH=ON"])
    if code == 0:
        code, output = run(["cmake", "--build", "--preset", preset, *(["--target", *targets] if targets else [])], 5400)
    say(f"build {preset}: {'ok' if code == 0 else 'FAILED'} in {time.time() - started:.0f} s")
    if code != 0:
        record(f"build {preset}", False, "\n".join(output.splitlines()[-60:]))
    return code == 0


def gtest_programs(preset):
    folder = ROOT / "build" / preset
    found = [p for p in folder.rglob("*") if p.is_file() and os.access(p, os.X_OK)
             and re.fullmatch(r"test_\w+|\w+_test", p.name)]
    return sorted(found, key=lambda p: p.name)


def gtest_report(arguments, timeout_s, env):
    """(exit code, output, test suites) of one process of a test program."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        code, output = run([*arguments, f"--gtest_output=json:{report.name}"], timeout_s, env)
        try:
            return code, output, json.loads(pathlib.Path(report.name).read_text())["testsuites"]
        except (ValueError, KeyError):
            return code, output, []


def gtest_shards(count, arguments, timeout_s, env):
    """The same of `count` processes at once that share the tests."""
    def one(index):
        return gtest_report(arguments, timeout_s, {**(env or {}), "GTEST_TOTAL_SHARDS": str(count), "GTEST_SHARD_INDEX": str(index)})
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        codes, outputs, suites = zip(*pool.map(one, range(count)))
    return max(codes, key=abs), "\n".join(outputs), [suite for some in suites for suite in some]


def run_gtest(program, label, timeout_s=1200, env=None, through=(), only=None, shards=1):
    """Runs a test program, if need be through an emulator; returns its test cases as gtest reports them."""
    global passed, failed, skipped
    name = f"{label}/{program.name}"
    if not wanted(name):
        return []
    started = time.time()
    code, output, suites = gtest_shards(shards, [*through, str(program), *([f"--gtest_filter={only}"] if only else [])],
                                        timeout_s, env)
    good = bad = out = 0
    for suite in suites:
        for case in suite["testsuite"]:
            if case.get("failures"):
                bad += 1
                failures.append(f"{name} {suite['name']}.{case['name']}")
            elif case.get("result") == "SKIPPED":
                out += 1
            else:
                good += 1
    for line in output.splitlines():
        if "skipp" in line.lower() and not line.startswith("["):
            say(f"  {line.strip()}")
    passed, failed, skipped = passed + good, failed + bad, skipped + out
    say(f"{name}: {good} passed, {bad} failed, {out} skipped in {time.time() - started:.1f} s")
    if bad or (code != 0 and bad == 0):
        say("\n".join(output.splitlines()[-80:]))
    if code != 0 and bad == 0:
        record(name, False, f"exit code {code}")
    return [case for suite in suites for case in suite["testsuite"]]


def run_lines(name, arguments, timeout_s=900, env=None):
    """A script that prints 'ok NAME' or 'FAILED NAME ...' for each of its checks."""
    global skipped
    if not wanted(name):
        return
    started = time.time()
    code, output = run(arguments, timeout_s, env)
    good = re.findall(r"^ok (.+)$", output, re.M)
    bad = re.findall(r"^FAILED (.+)$", output, re.M)
    for one in good:
        record(f"{name}: {one}", True)
    for one in bad:
        record(f"{name}: {one}", False)
    for one in re.findall(r"^skipped (.+)$", output, re.M):
        skipped += 1
        say(f"  skipped {one}")
    say(f"{name}: {len(good)} passed, {len(bad)} failed in {time.time() - started:.1f} s")
    if bad or code != 0:
        say("\n".join(output.splitlines()[-120:]))
    if code != 0 and not bad:
        record(name, False, f"exit code {code}")


def sanitized(preset, programs, options):
    cores = os.cpu_count() or 1
    for program in programs:
        sharded = program.name in SHARDED
        run_gtest(program, preset, 7200 if sharded else 3600, options, shards=cores if sharded else 1)


def sanitizers():
    if build("asan", [] if FULL else ASAN_TESTS):
        sanitized("asan", [p for p in gtest_programs("asan") if FULL or p.name in ASAN_TESTS],
                  {"ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
                   "LSAN_OPTIONS": f"suppressions={ROOT}/tests/lsan.supp:print_suppressions=0"})
    if FULL and build("ubsan"):
        sanitized("ubsan", gtest_programs("ubsan"), {"UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"})
    if FULL and build("tsan", TSAN_TESTS):
        sanitized("tsan", [p for p in gtest_programs("tsan") if p.name in TSAN_TESTS], {"TSAN_OPTIONS": "halt_on_error=1"})


def end_to_end():
    npm = ROOT / "tests" / "clients"
    if (npm / "package-lock.json").exists():
        code, output = run(["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(npm)], 900)
        if code != 0:
            record("npm ci in tests/clients", False, output[-2000:])
            return
    for script in sorted((ROOT / "tests" / "e2e").glob("e2e_*.py")):
        run_lines(script.stem, [sys.executable, str(script), "build/release/exo"])


def full_extras():
    run_lines("sim seeds", ["build/release/tests/sim/exo_sim", "1000..6000", "--quiet"], 3600)
    fuzzers = [f.stem for f in sorted((ROOT / "tests/fuzz").glob("fuzz_*.cpp"))]
    if build("fuzz", fuzzers):
        for fuzzer in sorted((ROOT / "build/fuzz/tests/fuzz").glob("fuzz_*")):
            if fuzzer.is_file() and os.access(fuzzer, os.X_OK) and wanted(fuzzer.name):
                code, output = run(["./dev", "fuzz", fuzzer.name[5:], str(FUZZ_SECONDS)], FUZZ_SECONDS + 600)
                record(fuzzer.name, code == 0, "\n".join(output.splitlines()[-40:]))


def summary():
    for name in failures:
        say(f"failed: {name}")
    if skipped:
        say(f"({skipped} skipped; what they need is said above)")
    say(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def main():
    if "--arm" in sys.argv:
        arm_tests.run_all(sys.modules[__name__])
        return summary()
    lint_code, lint_output = run([sys.executable, "tools/lint.py", *(["--headers"] if FULL else [])])
    say(lint_output.strip())
    record("lint", lint_code == 0)
    if build("release"):
        for program in gtest_programs("release"):
            run_gtest(program, "release")
        if wanted("e2e"):
            end_to_end()
    if wanted("asan") or wanted("tsan"):
        sanitizers()
    if FULL:
        full_extras()
    return summary()


sys.exit(main())
