"""The `idolctl` command. A subcommand is imported only when it is called, so that `--help` is fast."""

from __future__ import annotations

import importlib
import os
import select
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from idol_core.errors import IdolError, InvalidInput
from idolctl import __version__
from idolctl.errors import INTERRUPTED, report, suggestion
from idolctl.terminal.text import escaped_output

GROUPS = {
    "Train": {
        "run": "Train and evaluate the steps of a recipe; resume where it stopped.",
        "plan": "Show what run would do, and why.",
        "show": "Print a recipe as resolved, and where each value comes from.",
        "cp": "Copy a recipe to a file of your own.",
        "validate": "Check recipes; report every mistake at once.",
        "import": "Turn a detectron2-style YAML configuration into a recipe.",
        "doctor": "Show what is installed and found here; --smoke trains a little.",
        "bench": "Measure how fast operator, inference and training are on this machine.",
    },
    "Look": {
        "status": "Show how far the steps of runs are.",
        "logs": "Print what the processes of a step wrote.",
        "report": "Write one HTML page of runs: scores, errors, clips, curves.",
        "eval": "Score runs, weights or results; try tracker settings; oracle experiments.",
        "compare": "Show in what two runs differ.",
        "predict": "Track the objects of a video of your own.",
        "submit": "Check results and package them for the evaluation server.",
    },
    "Data": {
        "data": "Check a data set on disk; add your own.",
        "split": "Divide a labelled set by video; check or fetch a split.",
        "ls": "List recipes, zoo weights, data sets, splits or runs.",
    },
    "Weights": {
        "fetch": "Bring published weights into the cache.",
        "convert": "Convert weights from the original's layout to ours, or back.",
        "export": "Write a model as ONNX, for OpenVINO or as .pt2, proven against torch.",
        "publish": "Publish a run's weights with a model card: a folder or Hugging Face.",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}
# What other tools call them: a wrong command is answered with ours.
ELSEWHERE = {
    **dict.fromkeys(("train", "finetune", "fit", "resume"), "run"),
    **dict.fromkeys(("test", "val", "score"), "eval"),
    **dict.fromkeys(("demo", "infer", "inference", "track", "segment", "detect"), "predict"),
    **dict.fromkeys(("visualize", "vis"), "report"),
    "download": "fetch",
    "register": "data add",
}
UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer has its own copy of click in some versions


class LazyGroup(TyperGroup):
    """A command group that lists names and one-line helps, and imports idolctl.commands.NAME only to run NAME."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return TyperCommand(name=cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in COMMANDS and ctx.resilient_parsing:  # shell completion of an unknown command: nothing to offer
            return None, None, []
        if name not in COMMANDS:
            fix = f"idolctl {ELSEWHERE[name]} --help" if name in ELSEWHERE else suggestion(name, COMMANDS)
            raise InvalidInput(f"no command '{name}'", where="command line", fix=fix)
        module = importlib.import_module(f"idolctl.commands.{name}")
        command = typer.main.get_command(module.app)
        command.name = name
        return name, command, args[1:]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


app = typer.Typer(
    cls=LazyGroup,
    help=f"IDOL, online video instance segmentation: train, evaluate, run, submit. Version {__version__}.",
    epilog=(
        "\b\nStart here:\n"
        "  idolctl run toy          train and evaluate on the embedded data set\n"
        "  idolctl COMMAND --help   options and examples"
    ),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may be given anywhere.")] = False,
) -> None:
    if version:
        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    with escaped_output():
        return _run(argv)


def _nobody_reads() -> bool:
    """Whether stdout or stderr is a pipe whose reader has gone, as after `| head`; what is left for it goes nowhere."""
    poll = select.poll()
    for output in (1, 2):
        poll.register(output, 0)
    gone = [output for output, events in poll.poll(0) if events & select.POLLERR]
    for output in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return bool(gone)


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in own
    if debug:
        arguments.remove("--debug")
    try:
        result = typer.main.get_command(app)(args=arguments, prog_name="idolctl", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError as error:  # of our output, or of a connection
        return 1 if _nobody_reads() else report(error, debug=debug)
    except UsageError as error:
        return report(_usage(error), debug=debug)
    except Exception as error:
        return report(error, debug=debug)


def _usage(error: Any) -> IdolError:
    path = error.ctx.command_path if error.ctx is not None else "idolctl"
    what, fix = error.format_message(), f"{path} --help"
    if path == "idolctl predict" and "unexpected extra argument" in what:  # the shell has replaced a pattern by files
        what, fix = "predict takes one SOURCE", "a folder, or a pattern in quotes: idolctl predict 'clips/*.mp4'"
    return InvalidInput(what, where=f"command line: {path}", fix=fix)
