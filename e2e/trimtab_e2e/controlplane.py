"""A real Kubernetes control plane as plain processes: etcd, API server, controllers, scheduler."""

import base64
import secrets
from pathlib import Path

from trimtab_e2e import kubeconfigs, probes
from trimtab_e2e.binaries import Binaries
from trimtab_e2e.crew import Crew
from trimtab_e2e.node import LOCAL, NODE_USERS, PROXY_USER, SERVICES, address_of
from trimtab_e2e.registry import State

_AUDIT_POLICY = Path(__file__).with_name("data") / "audit-policy.yaml"
_MASTERS = "system:masters"

# The users of the cluster's own parts. Each has a name of its own, so that the audit log tells
# who wrote what. User name -> group.
_USERS = {
    "trimtab-admin": _MASTERS,
    "kwok": _MASTERS,
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    **dict.fromkeys(NODE_USERS.values(), "system:nodes"),
    PROXY_USER: "",
}


class OwnControlPlane:
    """The four programs on free ports, with RBAC and the default admission.

    All listen on 127.0.0.1; the API server listens where the state's pods can reach it.
    """

    def __init__(self, state: State, binaries: Binaries, crew: Crew) -> None:
        self._folder = state.folder
        self._ports = state.ports
        self._binaries = binaries
        self._crew = crew
        self._address = address_of(state)
        self.server = f"https://{self._address}:{self._ports['apiserver']}"
        self.audit_log = self._folder / "audit.log"

    @property
    def _pki(self) -> Path:
        return self._folder / "pki"

    @property
    def _certificate(self) -> Path:
        """The API server's certificate with its CA, which it makes itself at its first start."""
        return self._pki / "apiserver.crt"

    def kubeconfig(self, user: str = "trimtab-admin") -> Path:
        """Give the kubeconfig of one of the cluster's own users."""
        return self._folder / "kubeconfigs" / f"{user.removeprefix('system:')}.yaml"

    def start(self) -> None:
        """Start everything; return when the API server is ready and the others are started."""
        self._write_secrets()
        self._start_etcd()
        self.start_apiserver()
        for user, token in self._tokens().items():
            kubeconfigs.write(
                self.kubeconfig(user),
                server=self.server,
                ca=self._certificate.read_bytes(),
                token=token,
                user=user,
            )
        self._start_controllers()
        self._start_scheduler()

    def start_apiserver(self) -> None:
        """Start the API server and wait until it is ready; again after `kill_apiserver`."""
        self._crew.start("kube-apiserver", self._apiserver_command())
        token = self._tokens()["trimtab-admin"]
        url = f"{self.server}/readyz"
        self._crew.wait_until(
            lambda: probes.answers(url, token=token, ca_file=self._certificate),
            "the API server",
            "kube-apiserver",
            "etcd",
        )

    def kill_apiserver(self) -> None:
        """Kill the API server without warning."""
        self._crew.kill("kube-apiserver")

    def stop(self) -> None:
        """Do nothing: all programs are the crew's, which ends them."""

    def _write_secrets(self) -> None:
        self._pki.mkdir(mode=0o700)
        _write_signing_key(self._pki / "sa.key")
        lines = [
            f'{secrets.token_hex(16)},{user},{user},"{group}"\n' for user, group in _USERS.items()
        ]
        (self._pki / "tokens.csv").write_text("".join(lines))

    def _tokens(self) -> dict[str, str]:
        lines = (self._pki / "tokens.csv").read_text().splitlines()
        return {user: token for token, user, *_ in (line.split(",") for line in lines)}

    def _start_etcd(self) -> None:
        client = f"http://127.0.0.1:{self._ports['etcd']}"
        peer = f"http://127.0.0.1:{self._ports['etcd-peer']}"
        self._crew.start(
            "etcd",
            [
                self._binaries.program("etcd"),
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",  # nothing here has to survive a power cut
                "--log-level=warn",
            ],
        )
        self._crew.wait_until(lambda: probes.answers(f"{client}/health"), "etcd", "etcd")

    def _apiserver_command(self) -> list[str]:
        key = self._pki / "sa.key"
        issuer = "https://kubernetes.default.svc.cluster.local"
        return [
            self._binaries.program("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            f"--bind-address={self._address}",
            f"--advertise-address={self._address}",
            # The endpoints of the Service `kubernetes`; a loopback address is refused there.
            f"--endpoint-reconciler-type={'none' if self._address == LOCAL else 'lease'}",
            f"--secure-port={self._ports['apiserver']}",
            f"--cert-dir={self._pki}",
            f"--token-auth-file={self._pki / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            # As OpenShift has it: whoever makes a child that blocks its owner's deletion must be
            # allowed to update the owner's finalizers.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            f"--service-cluster-ip-range={SERVICES}",
            f"--service-account-issuer={issuer}",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",  # names of nodes do not resolve
            f"--audit-policy-file={_AUDIT_POLICY}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=10000",  # MB: one file, whatever a test does
            "--profiling=false",
        ]

    def _start_controllers(self) -> None:
        self._crew.start(
            "kube-controller-manager",
            [
                self._binaries.program("kube-controller-manager"),
                f"--kubeconfig={self.kubeconfig('system:kube-controller-manager')}",
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={self._pki / 'sa.key'}",
                f"--root-ca-file={self._certificate}",
                "--leader-elect=false",
                "--secure-port=0",
                # The default of 20 a second would make 200 deployments a matter of minutes.
                "--kube-api-qps=100",
                "--kube-api-burst=200",
            ],
        )

    def _start_scheduler(self) -> None:
        self._crew.start(
            "kube-scheduler",
            [
                self._binaries.program("kube-scheduler"),
                f"--kubeconfig={self.kubeconfig('system:kube-scheduler')}",
                "--leader-elect=false",
                "--secure-port=0",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
            ],
        )


def _write_signing_key(path: Path) -> None:
    """Write a new P-256 private key for service account tokens.

    The key is 32 random bytes in a fixed frame (RFC 5915, where the public half is optional),
    so that neither openssl nor a cryptography package has to be there.
    """
    scalar = secrets.randbits(255).to_bytes(32, "big")  # surely less than the curve's order
    algorithm = bytes.fromhex("a00a06082a8648ce3d030107")  # [0] { prime256v1 }
    content = b"\x02\x01\x01" + b"\x04\x20" + scalar + algorithm
    der = b"\x30" + bytes([len(content)]) + content
    body = base64.encodebytes(der).decode().replace("\n", "")
    path.write_text(f"-----BEGIN EC PRIVATE KEY-----\n{body}\n-----END EC PRIVATE KEY-----\n")
    path.chmod(0o600)
