"""What an init is asked for beside itself: it changes nothing of what the function sees."""

import json

import pytest

BUSY_JS = "{ const end = performance.now() + 30; while (performance.now() < end); }"
BUSY_PY = "import time\nend = time.perf_counter() + .03\nwhile time.perf_counter() < end: pass\n"


def given(environment):
    frame = environment.receive()
    assert frame.kind == "GIVEN", (frame, environment.finish())
    environment.ready()
    return json.loads(frame.body)


def own_times(times):
    """Own time in milliseconds by the end of the file's name."""
    return {name.rsplit("/", 1)[-1]: time / 1000 for _, time, name in times["modules"]}


def check(times):
    """Parents come before what they load, and nothing is counted twice."""
    assert all(-1 <= parent < index for index, (parent, _, _) in enumerate(times["modules"]))
    assert all(time >= 0 for _, time, _ in times["modules"])
    assert sum(time for _, time, _ in times["modules"]) <= times["totalUs"] + 1000


def test_node_times_cycles_failures_and_late_loads(start):
    files = {
        "index.js": f"{BUSY_JS} require('./a'); try {{ require('./broken'); }} catch {{}} try {{ require('./missing'); }} catch {{}}\n"
        "require('./data.json'); require('fs'); require('node:zlib'); require('./a');\n"
        "exports.handler = async () => [require('./late').x, process.env._TINDERBOX_INIT ?? null, require('module')._load.name];",
        "a.js": f"{BUSY_JS} require('./b');",
        "b.js": f"require('./a'); {BUSY_JS}",
        "broken.js": f"{BUSY_JS} throw new Error('no');",
        "late.js": "exports.x = 5;",
        "data.json": "{}",
    }
    environment = start("node", files, _TINDERBOX_INIT="modules")
    times = given(environment)
    check(times)
    own = own_times(times)
    for name in ("index.js", "a.js", "b.js", "broken.js"):
        assert 29 <= own[name] < 5_000, (name, own)
    assert "data.json" in own and "node:zlib" in own and "late.js" not in own and "missing" not in own
    names = [name.rsplit("/", 1)[-1] for _, _, name in times["modules"]]
    assert names.count("a.js") == 1
    parents = {name: names[parent] for name, (parent, _, _) in zip(names, times["modules"]) if parent >= 0}
    assert (parents["a.js"], parents["b.js"], parents["broken.js"]) == ("index.js", "a.js", "index.js")
    late, left, loader = environment.result()
    assert (late, left) == (5, None)


def test_python_times_cycles_failures_and_threads(start):
    files = {
        "index.py": f"{BUSY_PY}import a, os, sys\n"
        "try:\n    import broken\nexcept ValueError:\n    pass\n"
        "try:\n    import missing\nexcept ImportError:\n    pass\n"
        "import threading\nthread = threading.Thread(target=lambda: __import__('beside'))\nthread.start()\nthread.join()\n"
        "def handler(event, context):\n    import late\n"
        "    return [late.X, os.environ.get('_TINDERBOX_INIT'), [type(finder).__name__ for finder in sys.meta_path].count('Finder')]",
        "a.py": f"{BUSY_PY}import b",
        "b.py": f"import a\n{BUSY_PY}",
        "broken.py": f"{BUSY_PY}raise ValueError('no')",
        "beside.py": BUSY_PY,
        "late.py": "X = 5",
    }
    environment = start("python", files, _TINDERBOX_INIT="modules")
    times = given(environment)
    check(times)
    own = own_times(times)
    for name in ("a.py", "b.py", "broken.py"):
        assert 29 <= own[name] < 5_000, (name, own)
    assert "late.py" not in own and "beside.py" not in own
    assert environment.result() == [5, None, 0]


@pytest.mark.parametrize("language", ["node", "python"])
def test_what_is_not_below_the_package_is_not_kept(start, language):
    sources = {
        "node": f"exports.handler = async () => 1;\n//{'x' * 100_000}",
        "python": "def handler(event, context):\n    return 1\n" + "".join(f"def f{n}(a):\n    return {n}\n" for n in range(900)),
    }
    environment = start(language, sources[language], _TINDERBOX_INIT="make")
    frame = environment.receive()
    assert frame == ("GIVEN", "", b""), frame
    assert environment.ready().result() == 1


@pytest.mark.parametrize("language", ["node", "python"])
def test_an_init_that_fails_gives_nothing(start, language):
    source = {"node": "throw new Error('no');", "python": "raise ValueError('no')"}[language]
    for asked in ("modules", "make"):
        assert start(language, source, _TINDERBOX_INIT=asked).init_error()["errorMessage"] == "no"


@pytest.mark.parametrize("memory_size", ["nonsense", ""])
@pytest.mark.parametrize("asked", ["make", "use"])
@pytest.mark.parametrize("language", ["node", "python"])
def test_a_cache_that_cannot_be_made_or_read_fails_no_init(start, language, asked, memory_size):
    # Nothing lies at /var/code-cache here.
    source = {"node": "exports.handler = async () => 1;", "python": "def handler(event, context):\n    return 1\n"}[language]
    environment = start(language, source, _TINDERBOX_INIT=asked, AWS_LAMBDA_FUNCTION_MEMORY_SIZE=memory_size)
    frame = environment.receive()
    if frame.kind == "GIVEN":
        assert frame.body == b""
        frame = environment.receive()
    assert frame.kind == "READY", (frame, environment.finish())
    assert environment.result() == 1


@pytest.mark.parametrize("asked", ["make", None])
def test_node_leaves_what_hooks_change_and_odd_package_files_to_node(start, asked):
    files = {
        "package.json": "\ufeff{}",
        "node_modules/b/package.json": '\ufeff{"type": "commonjs"}',
        "node_modules/b/index.js": "exports.x = [require('module')._extensions['.js'].length, Object.hasOwn(module, '_compile')];",
        "node_modules/c/index.js": "exports.x = 'TEXT';",
        "node_modules/d/index.mjs": "export const x = 5;",
        "index.js": "const { prototype } = require('module'); const found = [require('b').x]; const { _compile } = prototype;\n"
        "prototype._compile = function (text, ...rest) { return _compile.call(this, text.replace('TEXT', 'changed'), ...rest); };\n"
        "found.push(require('c').x); exports.handler = async () => [...found, (await import('./node_modules/d/index.mjs')).x];",
    }
    environment = start("node", files, **({"_TINDERBOX_INIT": asked} if asked else {}))
    if asked:
        assert environment.receive() == ("GIVEN", "", b"")
    assert environment.ready().result() == [[2, False], "changed", 5]
