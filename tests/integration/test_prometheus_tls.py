"""A real Prometheus that asks for TLS and a password, let in by the files of a mounted Secret."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from trimtab.errors import Unavailable
from trimtab.observe.access import CA, PASSWORD, USERNAME, Access
from trimtab.observe.prometheus import PrometheusSource
from trimtab_e2e import prometheus
from trimtab_e2e.binaries import build
from trimtab_e2e.cluster import LocalCluster
from trimtab_e2e.waiting import eventually

WORD = "test"
WORD_HASHED = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"
"""That word as bcrypt stores it, from Prometheus' own guide to basic authentication."""


@dataclass
class World:
    """A Prometheus behind TLS, and the folder with what lets us in."""

    url: str
    folder: Path

    def ask(self) -> bool:
        """Whether it answers; the files are read anew each time."""
        source = PrometheusSource(self.url, 5.0, Access(folder=self.folder))
        return source.query("vector(1)")[0].value == 1.0

    def refusal(self) -> str:
        """Why it does not answer."""
        with pytest.raises(Unavailable) as caught:
            self.ask()
        return str(caught.value)


@pytest.fixture
def world(cluster: LocalCluster, tmp_path: Path) -> Iterator[World]:
    # The API server makes itself a certificate, with its authority behind it: that serves here too.
    pki = cluster.dir / "pki"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    config, web = tmp_path / "prometheus" / "prometheus.yml", tmp_path / "web.yml"
    config.parent.mkdir()
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}}))
    certificate = {
        "cert_file": str(pki / "apiserver.crt"),
        "key_file": str(pki / "apiserver.key"),
    }
    users = {"trimtab": WORD_HASHED}
    web.write_text(yaml.safe_dump({"tls_server_config": certificate, "basic_auth_users": users}))
    command = [*prometheus.command(build(), config, listen), f"--web.config.file={web}"]
    process = subprocess.Popen(command)
    folder = tmp_path / "secret"
    folder.mkdir()
    shutil.copy(pki / "apiserver.crt", folder / CA)
    (folder / USERNAME).write_text("trimtab\n")
    (folder / PASSWORD).write_text(f"{WORD}\n")
    found = World(url=f"https://{listen}", folder=folder)

    def answers() -> bool:
        try:
            return found.ask()
        except Unavailable:
            return False

    try:
        eventually(answers, "Prometheus answers who is let in", 60)
        yield found
    finally:
        process.terminate()
        process.wait(10)


def test_the_files_are_what_lets_us_in_and_a_rotated_one_is_taken_up(world: World) -> None:
    (world.folder / PASSWORD).write_text("yesterday's")
    refusal = world.refusal()
    assert "HTTP 401" in refusal
    assert "yesterday" not in refusal
    (world.folder / PASSWORD).write_text(WORD)
    assert world.ask()


def test_whose_authority_is_not_ours_is_not_told_the_password(world: World) -> None:
    (world.folder / CA).unlink()  # so that those of the system are trusted
    assert "certificate verify failed" in world.refusal()
    (world.folder / CA).write_text("no certificate")
    assert world.url.removeprefix("https://") in world.refusal()
