"""Functions of container images through boto3: made here without Docker, pulled from a registry or read from a layout."""

import base64
import json
import tarfile
from pathlib import Path

import pytest
from blackbox.functions import NODE, package, unique, javascript
from blackbox.images import Image, Registry, index_of, program, sha256, special, tar, with_libraries, write_layout
from blackbox.server import ROLE
from blackbox.suites import python_packages, suites_folder
from botocore.exceptions import ClientError, WaiterError

BOOTSTRAP = Path(__file__).resolve().parents[3] / "fixtures" / "image-bootstrap" / "bootstrap.c"
WAIT = {"Delay": 1, "MaxAttempts": 60}


@pytest.fixture(scope="module")
def bootstrap():
    return program(BOOTSTRAP, suites_folder() / "image-bootstrap")


@pytest.fixture(scope="module")
def registry():
    running = Registry()
    yield running
    running.close()


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    return tmp_path_factory.mktemp("layouts")


@pytest.fixture(scope="module")
def host(tmp_path_factory, registry, layouts):
    """A server that may pull from the registry, and reads every ECR name in a folder."""
    from blackbox.server import Server

    folder = tmp_path_factory.mktemp("tinderbox")
    running = Server(folder / "data", "--image-registry", registry.url, "--image-registry", f"ecr={layouts}").start()
    yield running
    running.end()


@pytest.fixture
def create(host):
    """create(uri, wait=True, **fields): (client, name, answer) of a new function."""
    client, made = host.client("lambda"), []

    def make(uri, wait=True, **fields):
        name = unique()
        answer = client.create_function(
            FunctionName=name, Role=ROLE, PackageType="Image", Code={"ImageUri": uri}, **{"Timeout": 10, **fields}
        )
        made.append(name)
        if wait:
            client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=WAIT)
        return client, name, answer

    yield make
    for name in made:
        client.delete_function(FunctionName=name)


def invoke(client, name, event=None, **fields):
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event or {}), **fields)
    return answer.get("FunctionError"), json.loads(answer["Payload"].read())


def result(client, name, event=None):
    error, body = invoke(client, name, event)
    assert error is None, body
    return body


def refused(call, **fields):
    with pytest.raises(ClientError) as caught:
        call(**fields)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def simple(bootstrap, config=None, extra=(), **fields):
    layers = [tar({"boot": (bootstrap, 0o755)}), *(tar(entries) for entries in extra)]
    return Image(layers, {"Entrypoint": ["/boot"], **(config or {})}, **fields)


def test_an_image_of_one_program_runs(create, registry, bootstrap):
    config = {"Cmd": ["one", "two"], "Env": ["FROM_IMAGE=1", "BOTH=image", "PATH=/here"], "WorkingDir": "/srv", "User": "0"}
    image = simple(bootstrap, config, [{"srv": None}])
    uri = registry.push("team/app", "v1", image)
    client, name, created = create(uri, Environment={"Variables": {"BOTH": "function", "OWN": "2"}})
    assert created["PackageType"] == "Image" and created["CodeSize"] == 0
    assert created["State"] == "Pending" and created["StateReasonCode"] == "Creating"
    assert created["CodeSha256"] == image.digest.removeprefix("sha256:")
    assert not {"Runtime", "Handler", "ImageConfigResponse"} & set(created)

    got = client.get_function(FunctionName=name)
    assert got["Configuration"]["State"] == "Active" and got["Configuration"]["LastUpdateStatus"] == "Successful"
    resolved = f"{uri.rsplit(':', 1)[0]}@{image.digest}"
    assert got["Code"] == {"RepositoryType": "ECR", "ImageUri": uri, "ResolvedImageUri": resolved}

    seen = result(client, name)
    variables = dict(text.split("=", 1) for text in seen["variables"])
    assert seen["arguments"] == ["/boot", "one", "two"] and seen["folder"] == "/srv"
    assert (variables["FROM_IMAGE"], variables["BOTH"], variables["OWN"], variables["PATH"]) == ("1", "function", "2", "/here")
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == name and variables["AWS_LAMBDA_RUNTIME_API"]
    assert not {"_HANDLER", "AWS_EXECUTION_ENV", "LD_LIBRARY_PATH", "_TINDERBOX_CHANNEL_FD"} & set(variables)
    assert seen["uid"] != 0, "the image's user is not looked at"


@pytest.mark.parametrize("packing", ["gzip", "plain", "zstd"])
@pytest.mark.parametrize("docker", [False, True])
def test_layers_of_every_packing_lie_over_each_other(create, registry, bootstrap, packing, docker):
    if docker and packing != "gzip":
        pytest.skip("Docker's media types know gzip only")
    below = {"d": None, "d/old": b"1", "d/kept": b"1", "gone": b"1"}
    above = {"d/.wh.old": b"", ".wh.gone": b"", "d/new": b"2", "hard": special(tarfile.LNKTYPE, "d/new")}
    image = simple(bootstrap, None, [below, above], packing=packing, docker=docker)
    client, name, _ = create(registry.push("layers", f"{packing}-{docker}", image))
    assert sorted(result(client, name, {"do": "list /d"})["did"].split()) == [".", "..", "kept", "new"]
    assert result(client, name, {"do": "read /hard"})["did"] == "2"
    assert "gone" not in result(client, name, {"do": "list /"})["did"].split()


def test_overrides_of_entry_point_command_and_folder(create, registry, bootstrap):
    image = simple(bootstrap, {"Cmd": ["image"], "WorkingDir": "/srv"}, [{"srv": None, "other": None, "alt": (bootstrap, 0o755)}])
    config = {"EntryPoint": ["/alt", "-x"], "Command": ["function"], "WorkingDirectory": "/other"}
    client, name, created = create(registry.push("overrides", "v1", image), ImageConfig=config)
    assert created["ImageConfigResponse"] == {"ImageConfig": config}
    seen = result(client, name)
    assert seen["arguments"] == ["/alt", "-x", "function"] and seen["folder"] == "/other"

    updated = client.update_function_configuration(FunctionName=name, ImageConfig={"Command": ["changed"]})
    assert updated["ImageConfigResponse"] == {"ImageConfig": {"Command": ["changed"]}}
    seen = result(client, name)
    assert seen["arguments"] == ["/boot", "changed"] and seen["folder"] == "/srv"
    updated = client.update_function_configuration(FunctionName=name, ImageConfig={})
    assert "ImageConfigResponse" not in updated
    assert result(client, name)["arguments"] == ["/boot", "image"]


def test_an_update_runs_the_old_image_until_the_new_one_is_there(create, registry, bootstrap):
    uri = registry.push("update", "live", simple(bootstrap, {"Cmd": ["old"]}))
    client, name, created = create(uri, Publish=True)
    assert created["Version"] == "1"
    new = simple(bootstrap, {"Cmd": ["new"]}, [{"big": b"x" * 100_000}])
    registry.push("update", "live", new)
    assert result(client, name)["arguments"][1] == "old", "a tag is resolved when the function is updated, and not before"

    updated = client.update_function_code(FunctionName=name, ImageUri=uri, Publish=True)
    assert updated["Version"] == "2" and updated["CodeSha256"] == new.digest.removeprefix("sha256:")
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=WAIT)
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="2", WaiterConfig={"Delay": 1})
    assert result(client, name)["arguments"][1] == "new"
    assert result(client, f"{name}:1")["arguments"][1] == "old"
    assert result(client, f"{name}:2")["arguments"][1] == "new"


def test_an_index_is_resolved_to_this_machine(create, registry, bootstrap):
    own, other = simple(bootstrap, {"Cmd": ["own"]}), simple(b"nothing", architecture="s390x")
    registry.push("multi", "other", other)
    uri = registry.push("multi", "v1", own, index=index_of([other, own]))
    client, name, created = create(uri)
    assert created["CodeSha256"] == own.digest.removeprefix("sha256:")
    assert result(client, name)["arguments"][1] == "own"
    client, again, created = create(f"{uri.rsplit(':', 1)[0]}@{own.digest}")
    assert client.get_function(FunctionName=again)["Code"]["ResolvedImageUri"].endswith(own.digest)

    only = registry.push("multi", "only", other, index=index_of([other]))
    code, message = refused(create, uri=only)
    assert code == "InvalidParameterValueException" and "is not valid. Provide a valid source image." in message
    foreign = registry.push("multi", "foreign", other)
    assert "linux/s390x" in refused(create, uri=foreign)[1]


def test_a_layout_stands_behind_names_of_ecr(create, layouts, bootstrap):
    image = simple(bootstrap, {"Cmd": ["layout"]})
    write_layout(layouts / "team" / "app", {"v1": image})
    uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1"
    client, name, _ = create(uri)
    assert result(client, name)["arguments"][1] == "layout"
    assert client.get_function(FunctionName=name)["Code"]["ImageUri"] == uri
    for absent in ["team/app:v2", "team/other:v1"]:
        absent = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/{absent}"
        code, message = refused(create, uri=absent)
        assert (code, message) == (
            "InvalidParameterValueException",
            f"Source image {absent} does not exist. Provide a valid source image.",
        )


def test_python_with_awslambdaric_runs_as_on_aws(create, registry):
    """Debian's Python, its libraries and AWS's own runtime client from PyPI: what a Dockerfile would have made."""
    modules = [path for path in Path("/usr/lib/python3.11").rglob("*.so")]
    system = with_libraries(["/usr/bin/python3.11", *map(str, modules)])
    files = [path for path in Path("/usr/lib/python3.11").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    system.update({str(path).lstrip("/"): (path.read_bytes(), 0o644) for path in files})
    ric = python_packages("awslambdaric", "awslambdaric==4.2.2")
    packages = {f"function/{path.relative_to(ric)}": (path.read_bytes(), 0o755) for path in ric.rglob("*") if path.is_file()}
    libraries = with_libraries([str(path) for path in ric.rglob("*.so")])
    packages.update({path: what for path, what in libraries.items() if path.startswith(("lib", "usr/"))})
    app = b"""import os, sys
def handler(event, context):
    if event.get('fail'):
        raise RuntimeError('as asked')
    return {'echo': event, 'arn': context.invoked_function_arn, 'python': sys.version_info[:2], 'cwd': os.getcwd(),
            'uid': os.getuid(), 'tmp': open('/tmp/x', 'w').write('abc')}
"""
    config = {
        "Entrypoint": ["/usr/bin/python3.11", "-m", "awslambdaric"],
        "Cmd": ["app.handler"],
        "WorkingDir": "/function",
        "Env": ["PYTHONDONTWRITEBYTECODE=1"],
    }
    merged = [name for name in ("lib", "lib64") if Path("/", name).is_symlink()]
    links = {f"usr/{name}": None for name in merged} | {name: special(tarfile.SYMTYPE, f"usr/{name}") for name in merged}
    image = Image([tar({**links, **system}), tar(packages), tar({"function/app.py": app})], config)
    client, name, _ = create(registry.push("python/app", "v1", image), MemorySize=512)
    answer = result(client, name, {"n": 1})
    assert answer["echo"] == {"n": 1} and answer["python"] == [3, 11] and answer["cwd"] == "/function"
    assert answer["arn"].endswith(f":function:{name}") and answer["uid"] != 0 and answer["tmp"] == 3
    error, body = invoke(client, name, {"fail": True})
    assert error == "Unhandled" and body["errorType"] == "RuntimeError" and body["errorMessage"] == "as asked"


def test_extensions_of_an_image_run(create, registry, bootstrap):
    """An external extension in /opt/extensions: it registers, and hears of invocations."""
    source = Path(__file__).resolve().parents[3] / "fixtures" / "image-bootstrap" / "extension.c"
    extension = program(source, suites_folder() / "image-bootstrap")
    image = simple(bootstrap, None, [{"opt/extensions/watcher": (extension, 0o755)}])
    client, name, _ = create(registry.push("extended", "v1", image))
    answer = client.invoke(FunctionName=name, LogType="Tail", Payload=b"{}")
    assert answer.get("FunctionError") is None
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "watcher: INVOKE" in log and "EXTENSION\tName: watcher" in log


# What goes wrong, in AWS's words.


def test_images_that_are_not_there(create, registry, bootstrap):
    registry.push("there", "v1", simple(bootstrap))
    for uri in [f"{registry.host}/there:v2", f"{registry.host}/absent:v1"]:
        expected = f"Source image {uri} does not exist. Provide a valid source image."
        assert refused(create, uri=uri) == ("InvalidParameterValueException", expected)
    for uri in ["there:v1", f"{registry.host}/there", f"http://{registry.host}/there:v1", f"{registry.host}/../x:v1"]:
        expected = f"Source image {uri} is not valid. Provide a valid source image."
        assert refused(create, uri=uri) == ("InvalidParameterValueException", expected)


def test_registries_that_the_operator_has_not_named_are_not_asked(create, server):
    for uri in ["127.0.0.1:1/a:b", "docker.io/library/alpine:3", "169.254.169.254/latest:a", server.url.removeprefix("http://") + "/a:b"]:
        code, message = refused(create, uri=uri)
        assert code == "InvalidParameterValueException" and "--image-registry" in message, message


def test_media_types_that_lambda_does_not_take(create, registry, bootstrap):
    image = simple(bootstrap)
    manifest = json.loads(image.manifest)
    manifest["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    image.manifest = json.dumps(manifest).encode()
    image.digest = sha256(image.manifest)
    uri = registry.push("chart", "v1", image)
    expected = f"The image manifest, config or layer media type for the source image {uri} is not supported."
    assert refused(create, uri=uri) == ("InvalidParameterValueException", expected)


def test_members_that_do_not_go_together(create, host, registry, bootstrap, deploy):
    uri = registry.push("members", "v1", simple(bootstrap))
    client = host.client("lambda")
    own = "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
    for fields in [{"Runtime": NODE}, {"Handler": "a.b"}, {"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]}]:
        assert refused(create, uri=uri, **fields)[1] == own
    fields = {"FunctionName": unique(), "Role": ROLE}
    code = {"ImageUri": uri, "ZipFile": b"x"}
    assert "other FunctionCode parameters" in refused(client.create_function, PackageType="Image", Code=code, **fields)[1]
    code = {"ZipFile": package({"index.js": "x"})}
    expected = "Please provide ImageUri when creating a function with packageType Image."
    assert refused(client.create_function, PackageType="Image", Code=code, **fields)[1] == expected
    expected = "Please do not provide ImageUri when creating a function with packageType Zip."
    managed = {**fields, "Runtime": NODE, "Handler": "a.b"}
    assert refused(client.create_function, Code={"ImageUri": uri}, **managed)[1] == expected

    client, name, _ = create(uri)
    expected = "Please provide ImageUri when updating a function with packageType Image."
    assert refused(client.update_function_code, FunctionName=name, ZipFile=b"x")[1] == expected
    assert refused(client.update_function_configuration, FunctionName=name, Runtime=NODE)[1] == own
    zipped = deploy(javascript("exports.handler = async () => 1;"))
    expected = "Please do not provide ImageUri when updating a function with packageType Zip."
    assert refused(zipped.client.update_function_code, FunctionName=zipped.name, ImageUri=uri)[1] == expected
    assert "ImageConfig" in refused(
        zipped.client.update_function_configuration, FunctionName=zipped.name, ImageConfig={"Command": ["x"]}
    )[1]


def failed(client, name):
    """Waits for a function that cannot become active; its configuration."""
    with pytest.raises(WaiterError):
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=WAIT)
    return client.get_function_configuration(FunctionName=name)


def test_a_layer_that_cannot_be_unpacked_fails_the_function(create, registry, bootstrap):
    layers = {"escape": {"../escape": b"x"}, "torn": {"a": b"x" * 5000}}
    for what, entries in layers.items():
        image = simple(bootstrap, None, [entries])
        if what == "torn":
            digest = json.loads(image.manifest)["layers"][1]["digest"]
            image.blobs[digest] = image.blobs[digest][:-20] + b"\0" * 20
        client, name, _ = create(registry.push("broken", what, image), wait=False)
        configuration = failed(client, name)
        assert configuration["State"] == "Failed" and configuration["StateReasonCode"] == "InvalidImage", configuration
        code, message = refused(client.invoke, FunctionName=name)
        assert code == "ResourceConflictException" and message.endswith("following state: Failed")


def test_a_failed_update_leaves_what_was_there(create, registry, bootstrap):
    uri = registry.push("keeps", "v1", simple(bootstrap, {"Cmd": ["good"]}))
    client, name, created = create(uri)
    bad = registry.push("keeps", "v2", simple(bootstrap, {"Cmd": ["bad"]}, [{"../x": b"x"}]))
    assert client.update_function_code(FunctionName=name, ImageUri=bad)["LastUpdateStatus"] == "InProgress"
    with pytest.raises(WaiterError):
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=WAIT)
    got = client.get_function(FunctionName=name)
    assert got["Configuration"]["LastUpdateStatus"] == "Failed" and got["Configuration"]["State"] == "Active"
    assert got["Configuration"]["LastUpdateStatusReasonCode"] == "InvalidImage"
    assert got["Code"]["ImageUri"] == uri and got["Configuration"]["CodeSha256"] == created["CodeSha256"]
    assert result(client, name)["arguments"][1] == "good"
    good = registry.push("keeps", "v3", simple(bootstrap, {"Cmd": ["mended"]}))
    client.update_function_code(FunctionName=name, ImageUri=good)
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=WAIT)
    assert result(client, name)["arguments"][1] == "mended"


def test_a_program_that_is_not_there_and_none_at_all(create, registry, bootstrap):
    for config, text in [({"Entrypoint": ["/absent"]}, "no such file"), ({"Entrypoint": None}, "neither an entry point")]:
        client, name, _ = create(registry.push("entries", text.split()[0], simple(bootstrap, config)))
        error, body = invoke(client, name)
        assert error == "Unhandled" and body["errorType"] == "Runtime.InvalidEntrypoint" and text in body["errorMessage"]


def test_registries_with_passwords_redirects_and_bad_days(new_server, tmp_path, bootstrap):
    secrets = {"bearer": Registry("user:s3cret"), "basic": Registry("user:s3cret", basic=True)}
    store = Registry()
    try:
        credentials = tmp_path / "config.json"
        auth = base64.b64encode(b"user:s3cret").decode()
        credentials.write_text(json.dumps({"auths": {registry.host: {"auth": auth} for registry in secrets.values()}}))
        named = [argument for registry in secrets.values() for argument in ("--image-registry", registry.url)]
        running = new_server(*named, "--image-credentials", str(credentials))
        client = running.client("lambda")
        for kind, registry in secrets.items():
            registry.failures = 1
            name, uri = unique(), registry.push("app", "v1", simple(bootstrap, {"Cmd": [kind]}))
            fields = {"FunctionName": name, "Role": ROLE, "PackageType": "Image", "Timeout": 10}
            code, message = refused(client.create_function, Code={"ImageUri": uri}, **fields)
            assert code == "InvalidParameterValueException" and "status 503" in message
            client.create_function(Code={"ImageUri": uri}, **fields)
            client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=WAIT)
            assert result(client, name)["arguments"][1] == kind
            # Neither to another registry of this machine nor anywhere inside is anybody sent.
            digest = sha256(b"elsewhere")
            registry.redirects[digest] = f"{store.url}/v2/app/manifests/v1"
            code, message = refused(client.create_function, Code={"ImageUri": f"{registry.host}/app@{digest}"}, **{**fields, "FunctionName": unique()})
            assert "neither itself nor a public address" in message, message
        assert not store.requests
        credentials.write_text(json.dumps({"auths": {}}))
        uri = secrets["bearer"].push("other", "v1", simple(bootstrap))
        code, message = refused(client.create_function, Code={"ImageUri": uri}, **{**fields, "FunctionName": unique()})
        assert (code, message) == (
            "AccessDeniedException",
            "Lambda does not have permission to access the ECR image. Check the ECR permissions.",
        )
        assert "s3cret" not in running.stderr()
    finally:
        for registry in [*secrets.values(), store]:
            registry.close()


def test_image_bounds(new_server, layouts, bootstrap):
    """1 MB of zeros and more in a few bytes, and an image that is too large before it is fetched."""
    running = new_server("--image-registry", f"images.local={layouts}", "--image-mb", "3")
    client = running.client("lambda")
    fields = {"Role": ROLE, "PackageType": "Image"}
    for packing in ["gzip", "zstd"]:
        write_layout(layouts / "bomb", {packing: simple(bootstrap, None, [{"zeros": b"\0" * (64 << 20)}], packing=packing)})
        name = unique()
        client.create_function(FunctionName=name, Code={"ImageUri": f"images.local/bomb:{packing}"}, **fields)
        reason = failed(client, name)["StateReason"]
        assert "too large unpacked" in reason, reason
    write_layout(layouts / "large", {"v1": simple(bootstrap, None, [{"x": b"\0" * (4 << 20)}], packing="plain")})
    assert "larger than" in refused(client.create_function, FunctionName=unique(), Code={"ImageUri": "images.local/large:v1"}, **fields)[1]
    unpacked = list((running.data / "code").glob("boot-*/*"))
    assert not unpacked, "nothing is left of what was refused"
