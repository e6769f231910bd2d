"""Programs that the compiler was shown a run of: profile-guided optimization (PGO)."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import bench, tools
from .proxies import HERE, Sidecar, node_line
from .special import start_pair

SHORT = ("--seconds", 1.0)
FETCHES = 3000
# What the second sidecar uses at least in a second of hops: a tenth of its half of a core.
HOPS_NS_MIN = 50e6
SIMULATED = ["--concurrency", "10", "--seed", "1", "--policy", "dynamic-adaptive+predictive",
             "--policy", "decentralized+least_request"]


class Build:
    """Where things are, and how cargo is asked for them."""

    def __init__(self, root, target=None, profile="release", flags="", name="pgo"):
        self.root, self.profile, self.flags = root, profile, flags
        self.target = target or host()
        self.directory = tools.target(root) / name
        self.raw = self.directory / "raw"

    def cargo(self, flag, wanted):
        """The programs `wanted`, built with one more flag of rustc."""
        flags = [*os.environ.get("RUSTFLAGS", "").split(), *self.flags.split(), flag]
        asked = [word for name, kind in wanted.items() for word in (f"--{kind}", name)]
        # Naming the target keeps the flag from build scripts and macros.
        tools.run("cargo", "build", "--quiet", "--locked", "--profile", self.profile, "--target",
                  self.target, "--target-dir", self.directory, *asked, cwd=self.root,
                  # Encoded, since a path may have spaces in it.
                  env={**os.environ, "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags)})
        made = self.directory / self.target / {"dev": "debug"}.get(self.profile, self.profile)
        return {name: made / ("examples" if kind == "example" else "") / name
                for name, kind in wanted.items()}

    def kept(self, made, suffix):
        """Copies that the next build leaves alone."""
        kept = {}
        for name, path in made.items():
            kept[name] = self.directory / f"{name}{suffix}"
            shutil.copy2(path, kept[name])
        return kept


def host():
    about = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return re.search(r"^host: (\S+)$", about, re.MULTILINE)[1]


def merger():
    """llvm-profdata of the LLVM that rustc has in it: those of others may not read its profiles."""
    named = os.environ.get("LLVM_PROFDATA")
    if named:
        return named
    root = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True)
    tool = Path(root.stdout.strip()) / "lib/rustlib" / host() / "bin/llvm-profdata"
    if not tool.exists() and shutil.which("rustup"):
        subprocess.run(["rustup", "component", "add", "llvm-tools"], check=False)
    if not tool.exists():
        sys.exit("there is no llvm-profdata: add rustup's component llvm-tools, or name that of "
                 "rustc's LLVM in LLVM_PROFDATA")
    return tool


def programs(floor):
    return {"hopwise": "bin", **({"floor": "example"} if floor else {})}


def built(build, floor=False):
    """hopwise, and the least that a proxy does if that is wanted, both trained."""
    profile = profiled(build, floor)
    print("building with the profile", file=sys.stderr)
    return build.kept(build.cargo(f"-Cprofile-use={profile}", programs(floor)), "")


def profiled(build, floor=False):
    """What running them showed, for the compiler."""
    tool = merger()
    print("building what writes a profile", file=sys.stderr)
    made = build.cargo(f"-Cprofile-generate={build.raw}", programs(floor))
    instrumented = build.kept(made, "-instrumented")
    named = hashlib.sha256(b"".join(path.read_bytes() for path in instrumented.values()))
    profile = build.directory / f"{named.hexdigest()[:16]}.profdata"
    # Cargo knows a profile by its name: one of another program has to have another.
    if not profile.exists():
        shutil.rmtree(build.raw, ignore_errors=True)
        train({**instrumented, "load": tools.load(build.root)})
        tools.run(tool, "merge", "--output", profile, build.raw)
    return profile


def train(programs):
    """Runs what will be run: all loads of the comparison, hops, all that can be switched on, TLS."""
    print("training", file=sys.stderr)
    tools.install(["taskset", "nice", "h2load", "openssl"])
    with tempfile.TemporaryDirectory(prefix="hopwise-pgo-") as scratch:
        running = bench.Bench(programs, Path(scratch))
        try:
            loads(running)
            hops(running, Path(scratch))
            clients(running, Path(scratch))
        finally:
            running.stop()
        tools.run(programs["hopwise"], "simulate", *SIMULATED, stdout=subprocess.DEVNULL)


def load(running, port, scenario):
    saw = running.generate(port, scenario, *SHORT)
    if saw["failed"] or not saw["requests"]:
        sys.exit(f"{saw['failed']} of {saw['requests']} requests failed: {saw['problem']}")


def loads(running):
    kinds = ["hopwise", "hopwise-41", "hopwise-proper", "hopwise-on"]
    for kind in kinds + ["floor", "floor-proper"] * ("floor" in running.programs):
        port = running.proxies.start(kind, bench.PROXY_CPU).port
        for scenario in bench.ALL if kind in ("hopwise", "floor") else [bench.SATURATED]:
            load(running, port, scenario)


def hops(running, scratch):
    key = scratch / "key"
    key.write_text("a key of this training\n")
    for key_file in ["", str(key)]:
        first, second = start_pair(running.proxies, key_file)
        before = second.used()[0]
        load(running, first.port, bench.SATURATED)
        if second.used()[0] - before < HOPS_NS_MIN:
            sys.exit("the second sidecar was not asked, so that nothing is learned of hops")


def clients(running, scratch):
    """What the generator does not speak: TLS, and HTTP/2 with and without."""
    tools.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
              "-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout", scratch / "key.pem",
              "-out", scratch / "cert.pem", stderr=subprocess.DEVNULL)
    port = running.proxies.next_port
    sidecar = Sidecar(topology=node_line("here", "cloud-controller", "zone0", HERE, port),
                      tls=f"{{ certificate_file: {scratch}/cert.pem, key_file: {scratch}/key.pem }}")
    running.proxies.start("hopwise:tls", bench.PROXY_CPU, sidecar)
    for scheme, version in [("https", ["--h1"]), ("https", []), ("http", [])]:
        url = f"{scheme}://127.0.0.1:{port}/function/echo"
        saw = tools.run("h2load", *version, "--requests", FETCHES, "--clients", 4, url,
                        capture_output=True, text=True).stdout
        if f" {FETCHES} succeeded" not in saw:
            sys.exit(f"not every request of {url} {version} succeeded:\n{saw}")
