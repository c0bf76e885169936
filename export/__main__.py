"""`python -m export STAGE ...`: data -> teacher -> student -> ONNX -> model repository; `run` is all of it."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path

from serving.errors import ServingError

from .errors import ExportError

STAGES = {
    "run": "chain",
    "data": "data.faces",
    "generate": "synthesis.generate",
    "reconstruct": "synthesis.reconstruct",
    "contact-sheet": "synthesis.contact_sheet",
    "train": "training.train",
    "probe": "training.probe",
    "fit-clip-ensemble": "training.thorough",
    "prune": "training.prune",
    "finetune": "training.finetune",
    "convert": "conversion.torch_to_onnx",
    "publish": "conversion.publish",
    "quantize": "conversion.quantize",
    "verify": "conversion.verify",
    "engine": "conversion.onnx_to_engine",
    "benchmark": "conversion.benchmark",
    "compare": "compare",
    "ablate": "ablate",
    "evaluate": "evaluation.evaluate",
}


def usage() -> str:
    """Every stage with the first sentence of its module, which is not imported for it."""
    lines = ["usage: python -m export STAGE [--help]", ""]
    for stage, module in STAGES.items():
        source = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py").read_text()
        lines.append(f"  {stage:<14}{(ast.get_docstring(ast.parse(source)) or '').splitlines()[0]}")
    return "\n".join(lines)


def main() -> int:
    """Command line entry: 0 done, 1 failed or a gate shut, 2 usage."""
    stage = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if stage not in STAGES:
        print(usage(), file=sys.stdout if stage in ("-h", "--help") else sys.stderr)
        return 0 if stage in ("-h", "--help") else 2
    sys.argv = sys.argv[:1] + sys.argv[2:]
    try:
        return import_module(f"export.{STAGES[stage]}").main() or 0
    except ModuleNotFoundError as exc:
        environment = ".venv: `make evaluate`" if stage == "evaluate" else ".venv-export: `make .venv-export/.export`"
        print(f"{stage} needs {exc.name}, which this environment lacks; it runs in {environment}", file=sys.stderr)
        return 1
    except (ExportError, ServingError, OSError, ValueError) as exc:
        print(f"{stage} failed: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
