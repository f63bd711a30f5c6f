"""Container images without Docker: layers, OCI layouts, and a registry to pull from."""

import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading
import urllib.parse
from pathlib import Path

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar(entries):
    """A tar archive of {path: what}: bytes (a file), (bytes, mode), a Path (copied with all below), None (a folder), or a TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, what in entries.items():
            if isinstance(what, tarfile.TarInfo):
                what.name = path
                archive.addfile(what)
                continue
            if isinstance(what, Path):
                archive.add(what, path)
                continue
            info = tarfile.TarInfo(path)
            data, mode = what if isinstance(what, tuple) else (what, 0o644)
            info.mode = 0o755 if data is None else mode
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            info.size = len(data or b"")
            archive.addfile(info, io.BytesIO(data) if data else None)
    return out.getvalue()


def special(kind, target="", mode=0o777, device=(0, 0)):
    info = tarfile.TarInfo()
    info.type, info.linkname, info.mode = kind, str(target), mode
    info.devmajor, info.devminor = device
    return info


class Image:
    """Blobs of one image, and its manifest."""

    def __init__(self, layers, config, packing="gzip", docker=False, architecture=GO_ARCH):
        self.blobs = {}
        types = {
            "config": f"{DOCKER}.container.image.v1+json" if docker else f"{OCI}.config.v1+json",
            "gzip": f"{DOCKER}.image.rootfs.diff.tar.gzip" if docker else f"{OCI}.layer.v1.tar+gzip",
            "plain": f"{OCI}.layer.v1.tar",
            "zstd": f"{OCI}.layer.v1.tar+zstd",
            "manifest": f"{DOCKER}.distribution.manifest.v2+json" if docker else f"{OCI}.manifest.v1+json",
        }
        pack = {"gzip": lambda data: gzip.compress(data, 1, mtime=0), "plain": bytes, "zstd": zstd}[packing]
        document = {
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": types["manifest"],
            "config": self.blob(json.dumps(document).encode(), types["config"]),
            "layers": [self.blob(pack(layer), types[packing]) for layer in layers],
        }
        self.media_type = types["manifest"]
        self.manifest = json.dumps(manifest).encode()
        self.digest = sha256(self.manifest)
        self.blobs[self.digest] = self.manifest
        self.architecture = architecture

    def blob(self, data, media_type):
        self.blobs[sha256(data)] = data
        return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}

    def descriptor(self):
        platform = {"architecture": self.architecture, "os": "linux"}
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest), "platform": platform}


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def index_of(images):
    """A manifest for several platforms: bytes."""
    manifests = [image.descriptor() for image in images]
    return json.dumps({"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": manifests}).encode()


def write_layout(folder, images):
    """An OCI image layout of {tag: Image}."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    manifests = []
    for tag, image in images.items():
        for digest, data in image.blobs.items():
            (blobs / digest.removeprefix("sha256:")).write_bytes(data)
        manifests.append({**image.descriptor(), "annotations": {"org.opencontainers.image.ref.name": tag}})
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))


class Registry:
    """What pulls need of the distribution API. `user` asks for a token (Bearer) or, with `basic`, for user and password."""

    def __init__(self, user=None, basic=False):
        self.user, self.basic = user, basic
        self.manifests, self.blobs, self.requests = {}, {}, []
        self.redirects, self.failures = {}, 0
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                registry.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self.server.server_address[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def push(self, repository, tag, image, index=None):
        """Serves an image under a tag; `index` (bytes) stands in its place."""
        self.blobs.update({(repository, digest): data for digest, data in image.blobs.items()})
        self.manifests[repository, image.digest] = (image.media_type, image.manifest)
        if index is not None:
            self.manifests[repository, sha256(index)] = (f"{OCI}.index.v1+json", index)
        self.manifests[repository, tag] = (f"{OCI}.index.v1+json", index) if index else (image.media_type, image.manifest)
        return f"{self.host}/{repository}:{tag}"

    def answer(self, request):
        self.requests.append((request.path, request.headers.get("Authorization")))
        url = urllib.parse.urlsplit(request.path)
        if url.path == "/token":
            return self.token(request, urllib.parse.parse_qs(url.query))
        if self.user and not self.may(request):
            challenge = 'Basic realm="r"' if self.basic else f'Bearer realm="{self.url}/token",service="s"'
            return self.send(request, 401, b"", {"WWW-Authenticate": challenge})
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", url.path)
        if not found:
            return self.send(request, 404, b"")
        repository, kind, reference = found.groups()
        if self.failures > 0:
            self.failures -= 1
            return self.send(request, 503, b"")
        if reference in self.redirects:
            return self.send(request, 307, b"", {"Location": self.redirects[reference]})
        if kind == "manifests" and (repository, reference) in self.manifests:
            media_type, data = self.manifests[repository, reference]
            return self.send(request, 200, data, {"Content-Type": media_type})
        if kind == "blobs" and (repository, reference) in self.blobs:
            return self.send(request, 200, self.blobs[repository, reference])
        return self.send(request, 404, b"")

    def may(self, request):
        given = request.headers.get("Authorization", "")
        basic = base64.b64encode(self.user.encode()).decode()
        return given == (f"Basic {basic}" if self.basic else "Bearer the-token")

    def token(self, request, query):
        basic = base64.b64encode(self.user.encode()).decode()
        pulls = query.get("scope", [""])[0].endswith(":pull") and query.get("service") == ["s"]
        if not pulls or request.headers.get("Authorization") != f"Basic {basic}":
            return self.send(request, 401, b"")
        return self.send(request, 200, json.dumps({"token": "the-token", "expires_in": 300}).encode())

    def send(self, request, status, body, headers=None):
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


def program(source, folder):
    """A C file as a static program: bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / Path(source).stem
    if not out.exists():
        subprocess.run(["gcc", "-static", "-O1", "-o", str(out), str(source)], check=True)
    return out.read_bytes()


def with_libraries(programs):
    """{path: bytes} of programs of this machine, at their own paths, with the libraries that they load."""
    entries = {}
    for path in programs:
        listed = subprocess.run(["ldd", path], stdout=subprocess.PIPE, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            entries[library.lstrip("/")] = (Path(library).read_bytes(), 0o755)
        entries[path.lstrip("/")] = (Path(path).read_bytes(), 0o755)
    return entries
