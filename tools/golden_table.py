#!/usr/bin/env python3
"""Prints a table of every golden model: logit error, greedy ids, splits, agreement of the fast path.

usage: ./dev golden [BACKEND]     (cpu; or reference)
"""
import json, pathlib, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BACKEND = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def run():
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        subprocess.run([ROOT / "build/release/tests/golden/golden_test", f"--gtest_filter=Models/*_{BACKEND}",
                        f"--gtest_output=json:{report.name}"], stdout=subprocess.DEVNULL)
        return json.loads(pathlib.Path(report.name).read_text())


def main():
    models = {}
    for suite in run()["testsuites"]:
        for case in suite["testsuite"]:
            test, _, model = case["name"].partition("/")
            model = model.removesuffix(f"_{BACKEND}")
            skipped = case["result"] == "SKIPPED"
            models.setdefault(model, {})[test] = (None if skipped else not case.get("failures"), case)

    def verdict(tests, name):
        ok = tests.get(name, (None, {}))[0]
        return "-" if ok is None else "yes" if ok else "NO"

    def figure(tests, name, key):
        return tests.get(name, (None, {}))[1].get(key, "-")

    print(f"| model on {BACKEND} | logit error | greedy | any split | any chunk | bf16 wire | fast: agreement | KL |")
    print("|---|---|---|---|---|---|---|---|")
    for model, tests in sorted(models.items()):
        exact = "AreThoseOfTheGolden" if "AreThoseOfTheGolden" in tests else "ExactLogitsAndGreedyIds"  # embeddings
        print("|", " | ".join([model, figure(tests, exact, "logit_error"),
                               verdict(tests, "ExactLogitsAndGreedyIds"), verdict(tests, "EverySplitIsTheWholeBitForBit"),
                               verdict(tests, "ChunksDoNotChangeARow"), figure(tests, "HiddenStatesMayCrossAsBf16", "bf16_wire_error"),
                               figure(tests, "TheFastPathIsClose", "agreement"), figure(tests, "TheFastPathIsClose", "kl")]), "|")
    return 1 if any(ok is False for tests in models.values() for ok, _ in tests.values()) else 0


sys.exit(main())
