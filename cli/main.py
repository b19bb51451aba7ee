"""The command ``landscape``: its subcommands, and the one place where errors become exit codes.

    0  done                                    3  a file that cannot be read or is refused
    1  failed, or a bug of ours                4  measured; an accuracy was not reached, or a limit was passed
    2  wrong usage                           130  interrupted

An error is one line on stderr; ``--traceback``, anywhere among the arguments, shows where it came from. Nothing slow is
imported here or at the top of a subcommand, so that ``--help`` and mistakes answer at once.
"""

import signal
import sys
import traceback
import warnings
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from landscape import __version__
from landscape.reading import FileError
from landscape.text import printable

from .analyze import analyze
from .arena import arena
from .compare import compare
from .demo import demo
from .doctor import doctor
from .figures import figures
from .inspect import inspect
from .pipes import outlive_readers
from .reproduce import reproduce
from .surface import surface
from .track import track
from .train import train

WELCOME = """\
landscape measures what the loss looks like around the weights of a neural
network: curvature and sharpness, with error bars and what they cost.

Three commands to try:
  landscape demo                                 SGD and SAM on real digits
  landscape train --epochs 10 --out runs/first   train a network of your own
  landscape analyze runs/first/last.pt           measure it

landscape --help lists the rest."""

app = typer.Typer(
    rich_markup_mode="rich",
    epilog="[bold]--traceback[/], anywhere, shows where an error came from.",
    no_args_is_help=False,
)
_INTERRUPTED = 130


class _Measuring(TyperCommand):
    """A command whose help ends with the metrics, which are read when it is shown."""

    def format_help(self, *args: Any) -> None:
        from landscape.metrics import about_metrics

        metrics = "\n\n".join(f"[bold]{name}[/]: {about.definition}" for name, about in about_metrics().items())
        self.epilog = f"Metrics, the first six of which are the default:\n\n{metrics}"
        super().format_help(*args)


for command in (demo, train, analyze, track, surface, figures, compare, reproduce, arena, inspect, doctor):
    app.command(cls=_Measuring if command in (analyze, track) else None)(command)


@app.callback(invoke_without_command=True)
def landscape(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """What does the loss look like around these weights?

    [bold]landscape demo[/]
    [bold]landscape analyze runs/first/last.pt[/]
    """
    if version:
        typer.echo(f"landscape {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(WELCOME)


def main() -> None:
    """Run the command line and exit."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--traceback"]
    in_full = len(arguments) < len(sys.argv) - 1
    if not in_full:
        sys.excepthook = _unexpected
    warnings.showwarning = _warn
    signal.signal(signal.SIGTERM, _interrupt)
    code: int | None
    outlive_readers(arguments)
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="landscape", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone, and wants no message about it
        code = 1
    except (TyperException, ValueError, OSError, ArithmeticError) as error:
        if in_full:
            traceback.print_exception(error)
        _say("error", _message(error))
        code = _exit_code(error)
    if code == _INTERRUPTED:
        _say("interrupted")
    sys.exit(code)


def _exit_code(error: Exception) -> int:
    if isinstance(error, (OSError, FileError)):
        return 3
    if "landscape.errors" in sys.modules and isinstance(error, sys.modules["landscape.errors"].MeasurementError):
        return 4
    return 1 if isinstance(error, ArithmeticError) else 2


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}."
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        message = error.format_message()
        return f"{message.rstrip('.')}. See {context.command_path} --help." if context else message
    return str(error)


def _unexpected(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """The excepthook: Python exits with 1 after it."""
    _say("error", f"{kind.__name__}: {error} (add --traceback to see where)")


def _say(*parts: str) -> None:
    print("landscape", *(printable(" ".join(part.split())) for part in parts), sep=": ", file=sys.stderr)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    _say("warning", str(message))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
