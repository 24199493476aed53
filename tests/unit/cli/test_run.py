"""`trimtab run`: every setting has a flag and a variable, and mistakes are told at once."""

import dataclasses
import inspect
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.cli.main import app
from trimtab.cli.run import default_identity, run
from trimtab.config import OperatorConfig, PlannerConfig

FIXED = {"lease_duration_s", "lease_renew_s", "lease_retry_s", "write_timeout_s", "planner"}
"""Times that keep each other safe: whoever changed one could break the promise of one writer."""


def started(tmp_path: Path, *flags: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of a start that finds no cluster."""
    arguments = ["run", "--kubeconfig", str(tmp_path / "missing"), *flags]
    env = {"COLUMNS": "200"} | environment
    result = CliRunner().invoke(app, arguments, env=env)
    return result.exit_code, result.output


def test_every_setting_that_a_user_decides_on_has_a_flag() -> None:
    parameters = set(inspect.signature(run).parameters)
    for settings in (OperatorConfig, PlannerConfig):
        names = {field.name for field in dataclasses.fields(settings)} - FIXED
        assert names <= parameters


def test_defaults_are_those_of_the_settings() -> None:
    for settings in (OperatorConfig(), PlannerConfig()):
        for name, parameter in inspect.signature(run).parameters.items():
            if hasattr(settings, name) and parameter.default is not None:
                assert parameter.default == getattr(settings, name)


def test_no_cluster_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    code, output = started(tmp_path)
    assert code == 1
    assert "kubectl works with" in output


@pytest.mark.parametrize(
    ("flags", "environment", "says"),
    [
        (("--period", "5x"), {}, "'5x' is not a duration"),
        ((), {"TRIMTAB_PERIOD": "soon"}, "TRIMTAB_PERIOD"),
        (("--headroom", "1.5"), {}, "--headroom"),
        (("--health-port", "0"), {}, "--health-port"),
        (("--log-level", "loud"), {}, "'loud' is no level"),
        (("--log-format", "xml"), {}, "--log-format"),
    ],
)
def test_a_wrong_setting_is_a_mistake_of_usage(
    tmp_path: Path, flags: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    code, output = started(tmp_path, *flags, **environment)
    assert code == 2
    assert says in output


def test_the_help_has_an_example() -> None:
    result = CliRunner().invoke(app, ["run", "--help"])
    assert result.exit_code == 0
    assert "trimtab run --prometheus-url" in result.output


def test_a_pod_keeps_its_name_and_other_processes_never_share_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert default_identity() != default_identity()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert default_identity() == default_identity()
