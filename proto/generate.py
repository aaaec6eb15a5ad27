"""Write the Python form of the .proto files beside them; `--check` only says whether it is up to date."""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).parent
PACKAGE = Path("cdp") / "v1"
_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
_INIT = '"""The contract cdp.v1, generated from the .proto files here by proto/generate.py; never edited."""\n'


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
        *sources,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed; its message stands above")
    for folder in (target / "cdp", target / PACKAGE):
        (folder / "__init__.py").write_text(_INIT)


def generated_files(root: Path) -> set[Path]:
    """Generated files under `root`, relative to it."""
    return {path.relative_to(root) for path in (root / PACKAGE).iterdir() if path.name.endswith(_SUFFIXES)} | {
        Path("cdp") / "__init__.py",
        PACKAGE / "__init__.py",
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
