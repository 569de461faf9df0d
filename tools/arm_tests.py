"""What `./dev test --arm` does. The whole of exo is cross-built for ARM64; under qemu run the tests of what depends on the
processor, on two of them, and an ARM64 node shares the demo model with one of this machine (tests/arm/arm_cluster.py).
"""
import shutil, sys

# What qemu is told to be -> the best level of src/backend/cpu there. A processor without the dot product
# instructions ends with SIGILL where a kernel uses them all the same.
PROCESSORS = {"max": "neon_i8mm", "cortex-a72": "neon"}
EVERYWHERE = ["test_tensor", "test_backend", "golden_test"]
ONCE = ["test_base", "test_core", "test_text"]
# One model for each kind of kernel and no reference backend: emulated, a whole model takes seconds.
MODELS = ["llama3_f32", "qwen2_bf16", "gemma2_bf16", "deepseek_v3_bf16", "gpt_oss_mxfp4_gguf", "llamaq_F16_gguf",
          "llamaq_Q8_0_gguf", "llamaq_Q4_0_gguf", "llamaq_Q4_K_M_gguf", "llamaq_Q6_K_gguf", "llamaq_IQ3_S_gguf"]
CHECKS = ["ExactLogitsAndGreedyIds", "EverySplitIsTheWholeBitForBit", "ChunksDoNotChangeARow", "TheFastPathIsClose"]
GOLDEN = ":".join(f"Models/Golden.{check}/{model}_cpu" for check in CHECKS for model in MODELS)


def qemu(root, processor):
    program = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    return [program, "-cpu", processor, "-L", str(root / "build" / "arm64-sysroot")]


def conformance(tests, processor, programs):
    for program in programs:
        cases = tests.run_gtest(tests.ROOT / "build/arm64" / program, f"arm64 {processor}", 3600, through=qemu(tests.ROOT, processor),
                                only=GOLDEN if program.name == "golden_test" else None)
        if cases and program.name == "test_backend":
            levels = next((case["levels"] for case in cases if "levels" in case), "none in the report")
            best = PROCESSORS[processor]
            tests.record(f"the best level of {processor} is {best}", levels.split()[-1] == best, f"its levels: {levels}")


def run_all(tests):
    if not tests.build("arm64", ["exo", *EVERYWHERE, *ONCE]):
        return
    found = {program.name: program for program in tests.gtest_programs("arm64")}
    for processor in PROCESSORS:
        conformance(tests, processor, [found[name] for name in EVERYWHERE])
    conformance(tests, "max", [found[name] for name in ONCE])
    if tests.wanted("arm_cluster") and tests.build("release", ["exo"]):
        for processor in PROCESSORS:
            node = [*qemu(tests.ROOT, processor), "build/arm64/exo"]
            tests.run_lines(f"arm_cluster {processor}", [sys.executable, "tests/arm/arm_cluster.py", "build/release/exo"],
                            env={"EXO_ARM64": " ".join(node)})
