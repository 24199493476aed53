"""Container images without Docker and without a registry: the Dockerfile's content, made here.

Every image is a stack of layers over one base: this machine's own Python with the packages that
`requirements/runtime.txt` pins. They go into one OCI archive, which containerd imports.
"""

import fnmatch
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from trimtab_e2e.binaries import Progress, cache_dir, print_progress
from trimtab_e2e.errors import BuildFailed

REPOSITORY = Path(__file__).parents[2]
USER = "65532:65532"  # as in the Dockerfile
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_HOME = PurePosixPath("/opt/trimtab")
SITE = _HOME / "lib" / f"python{_VERSION}" / "site-packages"
"""Where packages lie in an image, as in a virtual environment at /opt/trimtab."""
_PYTHON = PurePosixPath(f"/usr/local/bin/python{_VERSION}")
_STDLIB = PurePosixPath(f"/usr/local/lib/python{_VERSION}")
_NOT_NEEDED = (
    "site-packages", "dist-packages", "test", "tests", "idlelib", "turtledemo", "tkinter",
    "ensurepip", "lib2to3", "config-*", "__pycache__",
)  # fmt: skip
# As in the Dockerfile: a second, asynchronous Kubernetes client that nothing imports, and tests.
PRUNED = ("kubernetes/aio", "**/tests")
_EPOCH = 1_704_067_200  # 2024-01-01: the same content is the same layer
_LIBRARY = re.compile(r"(/\S+\.so\S*)")
_STANDARD = ("/lib/", "/usr/lib/", "/lib64/")


@dataclass(frozen=True)
class Layer:
    """A tar file of a part of an image's root."""

    path: Path

    @property
    def digest(self) -> str:
        """The digest of its bytes."""
        with self.path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.path.stat().st_size


@dataclass(frozen=True)
class Image:
    """Layers and how they are run."""

    name: str
    """With registry and tag."""
    layers: Sequence[Layer]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = USER
    environment: Mapping[str, str] | None = None

    @property
    def size(self) -> int:
        """The bytes of its layers, uncompressed."""
        return sum(layer.size for layer in self.layers)


def base_layer(progress: Progress = print_progress) -> Layer:
    """Give the layer of Python and the pinned packages, made once for each set of pins."""
    pins = (REPOSITORY / "requirements" / "runtime.txt").read_bytes()
    maker = Path(__file__).read_bytes()
    key = hashlib.sha256(pins + sys.version.encode() + maker).hexdigest()[:12]
    path = cache_dir() / "images" / f"base-{key}.tar"
    if not path.is_file():
        progress("making the images' base: Python and the pinned packages (a minute, once)...")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as temporary:
            root = Path(temporary) / "root"
            _python(root)
            site = root / SITE.relative_to("/")
            requirements = str(REPOSITORY / "requirements" / "runtime.txt")
            _pip("--require-hashes", "--requirement", requirements, "--target", str(site))
            for folder in [site / "bin", *(found for p in PRUNED for found in site.glob(p))]:
                shutil.rmtree(folder, ignore_errors=True)
            _link_libraries(root)
            _surroundings(root)
            _compile(root)
            made = Path(temporary) / "layer.tar"
            _tar(root, made)
            made.rename(path)
        for older in path.parent.glob("base-*.tar"):
            if older != path:
                older.unlink()
    return Layer(path)


def operator_layer(folder: Path) -> Layer:
    """Give the layer of Trimtab itself, of the repository as it is now."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        root = Path(temporary)
        site = root / SITE.relative_to("/")
        _pip("--no-deps", "--no-build-isolation", "--target", str(site), str(REPOSITORY))
        shutil.rmtree(site / "bin", ignore_errors=True)
        script = "import sys\nfrom trimtab.cli.main import app\nsys.exit(app())\n"
        _script(root, _HOME / "bin" / "trimtab", script)
        _compile(root)
        layer = folder / "operator.tar"
        _tar(root, layer)
    return Layer(layer)


def operator_image(
    name: str, layers: Sequence[Layer], environment: Mapping[str, str] | None = None
) -> Image:
    """Give the operator's image, run as the Dockerfile's is."""
    return Image(
        name=name, layers=layers, entrypoint=["trimtab"], command=["run"], environment=environment
    )


def script_layer(folder: Path, name: str, script: str, packages: Iterable[Path] = ()) -> Layer:
    """Give a layer of one program on the PATH, and of packages that it imports."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        root = Path(temporary)
        for package in packages:
            target = root / SITE.relative_to("/") / package.name
            shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
        _script(root, _HOME / "bin" / name, script)
        _compile(root)
        layer = folder / f"{name}.tar"
        _tar(root, layer)
    return Layer(layer)


def file_layer(folder: Path, files: Mapping[str, Path]) -> Layer:
    """Give a layer of single files, by their paths in the image."""
    name = hashlib.sha256(repr(sorted(files)).encode()).hexdigest()[:12]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for target, source in files.items():
            path = Path(temporary) / target.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, path)
        layer = folder / f"files-{name}.tar"
        _tar(Path(temporary), layer)
    return Layer(layer)


def write_archive(path: Path, images: Sequence[Image]) -> None:
    """Write images as one OCI archive, layers that they share once."""
    manifests = []
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        written: set[str] = set()
        for image in images:
            described = []
            for layer in image.layers:
                digest = layer.digest
                if digest not in written:
                    archive.add(layer.path, _blob(digest))
                    written.add(digest)
                described.append(_descriptor("image.layer.v1.tar", digest, layer.size))
            config = _json(_config(image, [part["digest"] for part in described]))
            manifest = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": _add_blob(archive, "image.config.v1+json", config, written),
                "layers": described,
            }
            entry = _add_blob(archive, "image.manifest.v1+json", _json(manifest), written)
            manifests.append(entry | {"annotations": {"io.containerd.image.name": image.name}})
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        }
        _add(archive, "index.json", _json(index))


def variables(image: Image) -> dict[str, str]:
    """Give the environment that a container of `image` starts with."""
    return {
        "PATH": f"{_HOME}/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(SITE),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **(image.environment or {}),
    }


def _config(image: Image, digests: list[str]) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": image.user,
            "Env": [f"{name}={value}" for name, value in variables(image).items()],
            "Entrypoint": list(image.entrypoint),
            "Cmd": list(image.command),
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
    }


def _python(root: Path) -> None:
    """Copy this machine's interpreter and standard library, without what a server never needs."""
    target = root / _PYTHON.relative_to("/")
    target.parent.mkdir(parents=True)
    shutil.copy(os.path.realpath(sys.executable), target)
    for name in ("python3", "python"):
        (target.parent / name).symlink_to(target.name)

    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if any(fnmatch.fnmatch(name, p) for p in _NOT_NEEDED)]

    stdlib = sysconfig.get_path("stdlib")
    shutil.copytree(stdlib, root / _STDLIB.relative_to("/"), ignore=ignored)


def _link_libraries(root: Path) -> None:
    """Copy every shared library that a program or a module in the image is linked against."""
    objects = [path for path in root.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    program = root / _PYTHON.relative_to("/")
    own = {path.name for path in objects}
    listed = subprocess.run(
        ["ldd", str(program), *map(str, objects)], capture_output=True, text=True, check=False
    ).stdout
    found = {Path(match) for match in _LIBRARY.findall(listed)}
    for library in found:
        if not library.is_file() or library.is_relative_to(root) or library.name in own:
            continue
        standard = str(library).startswith(_STANDARD)
        target = root / (str(library).lstrip("/") if standard else f"usr/lib/{library.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def _surroundings(root: Path) -> None:
    for folder in ("tmp", "etc", "proc", "sys", "dev"):
        (root / folder).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nnonroot:x:65532:\n")
    (root / "etc" / "nsswitch.conf").write_text("hosts: files dns\n")


def _script(root: Path, path: PurePosixPath, text: str) -> None:
    file = root / path.relative_to("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!{_PYTHON}\n{text}")
    file.chmod(0o755)


def _compile(root: Path) -> None:
    """Compile for good: a pod with a read-only root cannot, and would do it at every start."""
    mode = ("--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/")
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", *mode, str(root)]
    subprocess.run(command, capture_output=True, check=False)  # templates in packages do not parse


def _pip(*arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-compile")
    command = [sys.executable, "-m", "pip", "install", *quiet, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildFailed(f"`pip install` of an image's content failed:\n{result.stderr}")


def _tar(root: Path, path: Path) -> None:
    def normal(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = _EPOCH
        if entry.isdir() and entry.name != "tmp":
            entry.mode = 0o755
        elif entry.isfile():
            entry.mode |= 0o444
        return entry

    with tarfile.open(path, "w") as archive:
        for child in sorted(root.iterdir()):
            archive.add(child, child.name, filter=normal)


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"application/vnd.oci.{kind}", "digest": digest, "size": size}


def _add_blob(
    archive: tarfile.TarFile, kind: str, content: bytes, written: set[str]
) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if digest not in written:
        _add(archive, _blob(digest), content)
        written.add(digest)
    return _descriptor(kind, digest, len(content))


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
