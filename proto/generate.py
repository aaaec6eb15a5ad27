"""Write the Python form of the .proto files beside them; `--check` only says whether it is up to date."""

from __future__ import annotations

import filecmp
import json
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from grpc_tools import protoc

PROTO = Path(__file__).parent
PACKAGE = Path("cdp") / "v1"
_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
_INIT = '"""The contract cdp.v1, generated from the .proto files here by proto/generate.py; never edited."""\n'
SERVICE_CONFIG = PACKAGE / "service_config.json"
_INTERNAL_SERVICES = ("ShardService", "PartitionService")
_LONG_METHODS = (
    "GetDigest",
    "VerifySnapshots",
    "PurgeErased",
    "DiscoverSchema",
    "ForgetEvents",
    "RedriveQuarantined",
    "DropQuarantined",
    "ExportProfile",
    "ExportRecords",
    "Members",
    "EraseProfile",
)  # they read or write everything
_REPEATABLE = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)
_RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def service_config(described: FileDescriptorSet) -> str:
    """What clients may do by themselves: try again what the contract calls idempotent, and give up some time."""
    usual, long = list[dict[str, str]](), list[dict[str, str]]()
    for file in described.file:
        for service in file.service:
            for method in service.method:
                repeatable = method.options.idempotency_level in _REPEATABLE and not method.client_streaming
                if repeatable and service.name not in _INTERNAL_SERVICES:
                    name = {"service": f"{file.package}.{service.name}", "method": method.name}
                    (long if method.name in _LONG_METHODS else usual).append(name)
    configs = [
        {"name": usual, "timeout": "600s", "retryPolicy": _RETRIES},
        {"name": long, "timeout": "3600s", "retryPolicy": _RETRIES},
    ]
    throttling = {"maxTokens": 10, "tokenRatio": 0.1}
    return json.dumps({"methodConfig": configs, "retryThrottling": throttling}, indent=2) + "\n"


def generate(target: Path) -> None:
    """Generate messages, services and their types under `target`."""
    include = resources.files("grpc_tools") / "_proto"
    sources = [str(path) for path in sorted((PROTO / PACKAGE).glob("*.proto"))]
    # The plugins stand beside the interpreter; the environment need not be activated.
    programs = Path(sys.executable).parent
    plugins = [f"--plugin={name}={programs / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    arguments = [
        "protoc",
        *plugins,
        f"-I{PROTO}",
        f"-I{include}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out={target}",
        f"--mypy_grpc_out={target}",
        f"--descriptor_set_out={target / 'described'}",
        *sources,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed; its message stands above")
    for folder in (target / "cdp", target / PACKAGE):
        (folder / "__init__.py").write_text(_INIT)
    described = FileDescriptorSet.FromString((target / "described").read_bytes())
    (target / SERVICE_CONFIG).write_text(service_config(described))


def generated_files(root: Path) -> set[Path]:
    """Generated files under `root`, relative to it."""
    return {path.relative_to(root) for path in (root / PACKAGE).iterdir() if path.name.endswith(_SUFFIXES)} | {
        Path("cdp") / "__init__.py",
        PACKAGE / "__init__.py",
        SERVICE_CONFIG,
    }


def main() -> None:
    """Regenerate, or with --check compare."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        wanted = generated_files(fresh)
        if "--check" in sys.argv:
            stale = sorted(
                str(path)
                for path in wanted | generated_files(PROTO)
                if path not in wanted
                or not (PROTO / path).exists()
                or not filecmp.cmp(fresh / path, PROTO / path, False)
            )
            if stale:
                raise SystemExit(f"generated code is out of date: {', '.join(stale)}. Run: make proto")
            return
        for path in wanted:
            shutil.copyfile(fresh / path, PROTO / path)


if __name__ == "__main__":
    main()
