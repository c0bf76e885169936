"""`python -m export STAGE ...`: from data to a published version, its evaluation, and what is fitted to it."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path

from serving.errors import ServingError
from serving.settings import command_line

from .errors import ExportError, UsageError

STAGES = {
    "run": "chain",  # all from data to publication
    "data": "data.faces",
    "generate": "synthesis.generate",
    "reconstruct": "synthesis.reconstruct",
    "contact-sheet": "synthesis.contact_sheet",
    "train": "training.train",
    "probe": "training.probe",
    "prune": "training.prune",
    "finetune": "training.finetune",
    "leave-one-out": "leave_one_out",
    "quantize": "conversion.quantize",
    "verify": "conversion.verify",
    "engine": "conversion.onnx_to_engine",
    "benchmark": "conversion.benchmark",
    "convert": "publication.convert",
    "compare": "publication.compare",
    "publish": "publication.publish",
    "evaluate": "evaluation.evaluate",
    "fit-clip-ensemble": "fitting.clip_ensemble",
    "fit-video": "fitting.video_decision",
    "simulate-video": "fitting.video_simulation",
}
WITHOUT_TORCH = ("evaluate", "fit-video", "simulate-video")


def usage() -> str:
    """Every stage with the first sentence of its module, which is not imported for it."""
    lines = ["usage: python -m export STAGE [--help]", ""]
    for stage, module in STAGES.items():
        source = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py").read_text()
        lines.append(f"  {stage:<18}{(ast.get_docstring(ast.parse(source)) or '').splitlines()[0]}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Runs a stage. Exit code: 0 done, 1 failed or a gate is shut, 2 usage."""
    stage, *arguments = arguments or ["--help"]
    if stage not in STAGES:
        asked = stage in ("-h", "--help")
        if not asked:
            print(f"no stage {stage!r}", file=sys.stderr)
        print(usage(), file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    try:
        module = import_module(f"export.{STAGES[stage]}")
        return command_line(module.main, f"python -m export {stage}", module.__doc__, arguments)
    except ModuleNotFoundError as exc:
        environment = (
            ".venv: `make .venv/.evaluation`" if stage in WITHOUT_TORCH else ".venv-export: `make .venv-export/.export`"
        )
        print(f"{stage} needs {exc.name}, which this environment lacks; it runs in {environment}", file=sys.stderr)
    except UsageError as exc:
        print(f"{stage}: {exc}", file=sys.stderr)
        return 2
    except (ExportError, ServingError, OSError, ValueError) as exc:
        print(f"{stage} failed: {exc}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
