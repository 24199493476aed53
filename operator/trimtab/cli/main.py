"""The `trimtab` command: one word per job, an example in every help, errors with their remedy."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from typer._completion_shared import Shells, get_completion_script
from typer.core import TyperGroup

from trimtab.cli import crds, fleet, predict, profiles
from trimtab.cli import doctor as examining
from trimtab.cli import explain as explaining
from trimtab.cli import plan as planning
from trimtab.cli import run as running
from trimtab.cli import simulate as simulating
from trimtab.cli.output import examples
from trimtab.errors import InvalidInput, TrimtabError
from trimtab.version import VERSION

_err = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


class _Group(TyperGroup):
    """Turns an error of ours into lines on standard error and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InvalidInput as error:
            _err.print(f"error: {error.field}: {error.problem}\n{error.remedy}")
        except TrimtabError as error:
            _err.print(f"error: {error}")
        sys.exit(1)


app = typer.Typer(
    name="trimtab",
    cls=_Group,
    help="Keeps LLM serving on Kubernetes at its latency targets for the least money.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command(epilog=running.EPILOG)(running.run)
app.command(epilog=explaining.EPILOG)(explaining.explain)
app.command(epilog=fleet.STATUS_EPILOG)(fleet.status)
app.command(epilog=fleet.TOP_EPILOG)(fleet.top)
app.command(epilog=planning.EPILOG)(planning.plan)
app.command(epilog=simulating.EPILOG)(simulating.simulate)
app.command(epilog=examining.EPILOG)(examining.doctor)
app.add_typer(crds.app, name="crds")
app.add_typer(predict.app, name="predict")
app.add_typer(profiles.app, name="profile")


@app.command(epilog=examples("trimtab version"))
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


@app.command(
    epilog=examples(
        "source <(trimtab completion bash)",
        "trimtab completion fish > ~/.config/fish/completions/trimtab.fish",
    )
)
def completion(shell: Annotated[Shells, typer.Argument(help="Whose words to speak.")]) -> None:
    """Print the script with which a shell completes what is begun."""
    typer.echo(
        get_completion_script(
            prog_name="trimtab", complete_var="_TRIMTAB_COMPLETE", shell=shell.value
        )
    )
