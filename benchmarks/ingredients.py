"""What the programs of compiling.py are made of: state that is read, changed and left behind, options, branches, results.

A part is text. `$r` stands for a number, `$n` for one of either sign and now and then 0, NaN or infinite, `$i` for a small whole number,
`$s` for a seed, `$m` for the number of rows of this call. Names are a part's own, so that any parts go together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr

RANKS = "nvm"  # a number, a vector, a matrix of three columns


@dataclass(frozen=True)
class Part:
    """An ingredient of a program."""

    name: str
    f: str = ""  # lines of the function; y is what it has computed so far
    top: str = ""  # lines of the module
    around: str = ""  # lines around the function
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # its parameters, each with what it may be given
    changes: tuple[str, ...] = ()  # what may happen between two calls; v is a number
    beside: str = ""  # what is returned beside the result
    result: str = ""  # what is returned, made of y
    form: str = ""  # what is compiled, made of the function g
    ranks: str = RANKS  # of x


def part(name: str, f: str = "", *changes: str, **fields: Any) -> Part:
    return Part(name, f, changes=changes, **fields)


IMPORTS = """import array, collections, contextvars, dataclasses, enum, functools, itertools, os, random, types
import numpy as np
import chainrule as cr
from ingredients import Pair, Record, labels, normal, plain
"""


def normal(seed: int, *shape: int) -> Any:
    """Random numbers, and now and then one that is rare."""
    x = np.random.default_rng(seed).normal(size=shape)
    if seed % 17 == 0:
        x.flat[seed % x.size] = [0.0, np.inf, np.nan, 1e200][seed % 4]
    return x


def labels(seed: int, n: int) -> Any:
    return np.random.default_rng(seed).integers(0, 3, n)


def plain(x: Any) -> Any:
    return x.data if isinstance(x, cr.Node) else x


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Record:
    loss: Any
    note: Any


VARIABLE = "CHAINRULE_FUZZ"  # of the environment
RARE = ("0.0", "-0.0", "float('nan')", "float('inf')", "1e200", "-3.0")

# fmt: off
DATA = {
    "n": {"float": "$n", "np.float64": "np.float64($n)", "np.float32": "np.float32($n)", "int": "$i", "Value": "cr.Value($n)",
          "named Value": "cr.Value($n, name='x')", "0-d array": "np.array($n)", "0-d Tensor": "cr.Tensor($n)"},
    "v": {"vector": "normal($s, $m)", "float32 vector": "normal($s, $m).astype(np.float32)", "Tensor": "cr.Tensor(normal($s, $m))",
          "float32 Tensor": "cr.Tensor(normal($s, $m).astype(np.float32))", "int vector": "labels($s, $m)",
          "bool vector": "labels($s, $m) > 0", "strided vector": "normal($s, 2 * $m)[::2]"},
    "m": {"matrix": "normal($s, $m, 3)", "float32 matrix": "normal($s, $m, 3).astype(np.float32)",
          "Tensor matrix": "cr.Tensor(normal($s, $m, 3))", "float32 Tensor matrix": "cr.Tensor(normal($s, $m, 3).astype(np.float32))",
          "transposed matrix": "normal($s, 3, $m).T"},
}

ARITHMETIC = ["y = cr.tanh(y)", "y = y * $r + x", "y = cr.sin(y) * 0.5", "y = y * y", "y = y + 0.5 * x", "y = cr.relu(y)",
              "y = $r - y", "y = cr.exp(-cr.abs(y))", "y = y / (1.0 + y * y)", "y = cr.where(y > 0, y, 0.1 * y)", "y = y * np.float64($r)",
              "y = cr.log(1.0 + y * y)", "y = -y"]

RESULTS = ["y", "cr.sum(y)", "cr.mean(y)", "(y, None)", "(None, [y], {})", "{'y': y, 'n': $i}", "[y, y]", "(y, y * $r)", "(y, cr.sum(y * y))", "(x, y)",
           "(x, cr.sum(x * y))", "x", "y > 0", "(y, y > 0, x <= y)", "Pair(y, 'text')", "Record(cr.sum(y), None)", "(y, True, $i, $r)", "None",
           "(cr.sum(y), np.shape(y))", "(y, np.float32($r), np.arange(2))", "y.T if np.ndim(y) else y", "plain(y)", "x[:1] if np.ndim(x) else x",
           "{'loss': cr.mean(y), 'parts': (y, x)}", "(y for _ in range(2))"]

FORMS = {
    "lambda": "f = compiled(lambda *args, **kwargs: g(*args, **kwargs))",
    "partial": "f = compiled(functools.partial(g))",
    "bound method": "class Owner:\n    def method(self, *args, **kwargs): return g(*args, **kwargs)\nf = compiled(Owner().method)",
    "decorated method": "class Owner:\n    @compiled\n    def method(self, *args, **kwargs): return g(*args, **kwargs)\nf = Owner().method",
    "callable object": "class Owner:\n    def __call__(self, *args, **kwargs): return g(*args, **kwargs)\nf = compiled(Owner())",
    "model": "class Owner(cr.nn.Module):\n    def forward(self, *args, **kwargs): return g(*args, **kwargs)\nf = compiled(Owner())",
    "twice": "f = compiled(compiled(g))",
}

PARTS = [
    # Closures and globals.
    part("nonlocal read", "y = y * scale", "nonlocal scale; scale = v", around="scale = $r"),
    part("nonlocal counter", "nonlocal calls\ncalls += 1", around="calls = 0"),
    part("nonlocal counter that counts", "nonlocal steps\nsteps += 1\ny = y * steps", around="steps = 0"),
    part("nonlocal last", "nonlocal last\nlast = y", around="last = None"),
    part("function around", "y = helper(y)", "nonlocal slope; slope = v", around="slope = $r\ndef helper(z): return z * slope"),
    part("function of a factory", "y = made(y)", "nonlocal made; made = factory(v)", around="made = factory($r)",
         top="def factory(k):\n    def inner(z): return z * k\n    return inner"),
    part("global read", "y = y * K", "global K; K = v", top="K = $r"),
    part("global counter", "global COUNT\nCOUNT += 1", top="COUNT = 0"),
    part("global last", "global LAST\nLAST = y * 2.0", top="LAST = None"),
    part("global of a helper", "y = rated(y)", "global RATE; RATE = v", top="RATE = $r\ndef rated(z): return z * RATE"),
    part("global function replaced", "y = act(y)", "global act; act = lambda z: z + v", top="def act(z): return z * $r"),
    part("global that comes later", "y = y * globals().get('MAYBE', 1.0)", "global MAYBE; MAYBE = v"),
    part("global that hides a builtin", "y = y * round(2.0)", "global round; round = lambda z: v"),
    part("branch on a global", "y = y * 2.0 if FLAG else y + 1.0", "global FLAG; FLAG = not FLAG", top="FLAG = True"),
    part("evaluated text", "y = y * eval('TEXT')", "global TEXT; TEXT = v", top="TEXT = $r"),
    part("module attribute", "y = y * settings.scale", "settings.scale = v", top="settings = types.ModuleType('settings'); settings.scale = $r"),
    part("module counter", "ledger.calls += 1", top="ledger = types.ModuleType('ledger'); ledger.calls = 0"),
    part("function of a module", "y = tools.helper(y)", "tools.k = v", "tools.helper = lambda z: z - v",
         top="tools = types.ModuleType('tools'); exec('k = $r\\ndef helper(z): return z * k', vars(tools))"),
    # Classes and objects.
    part("class attribute", "y = y * Config.k", "Config.k = v", top="class Config: k = $r"),
    part("inherited class attribute", "y = y * child.a", "Parent.a = v", "Child.a = v", "child.a = v",
         top="class Parent: a = $r\nclass Child(Parent): pass\nchild = Child()"),
    part("class list", "y = y * Table.ks[0]", "Table.ks[0] = v", "Table.ks.insert(0, v)", top="class Table: ks = [$r]"),
    part("class counter", "Tally.n += 1\ny = y * 1.5", top="class Tally: n = 0"),
    part("instance attribute", "y = y * box.k", "box.k = v", "global box; box = types.SimpleNamespace(k=v)", top="box = types.SimpleNamespace(k=$r)"),
    part("instance counter", "meter.n += 1\ny = y * meter.n", top="meter = types.SimpleNamespace(n=0)"),
    part("slots", "y = y * slotted.k", "slotted.k = v", top="class Slotted: __slots__ = ('k',)\nslotted = Slotted(); slotted.k = $r"),
    part("slots dataclass", "y = y * options.beta", "options.beta = v",
         top="@dataclasses.dataclass(slots=True)\nclass Options: beta: float = $r\noptions = Options()"),
    part("property", "y = y * gauge.double", "gauge.half = v", top="class Gauge:\n    half = $r\n    @property\n    def double(self): return 2.0 * self.half\ngauge = Gauge()"),
    part("static method", "y = Clock.today(y)", "global DAY; DAY = v", top="DAY = $r\nclass Clock:\n    @staticmethod\n    def today(z): return z * DAY"),
    part("class method", "y = Kind.of(y)", "Kind.k = v", top="class Kind:\n    k = $r\n    @classmethod\n    def of(cls, z): return z * cls.k"),
    part("method reads a global", "y = plan.at(y)", "global PLAN; PLAN = v", top="PLAN = $r\nclass Plan:\n    def at(self, z): return z * PLAN\nplan = Plan()"),
    part("method replaced", "y = worker.work(y)", "Worker.work = lambda self, z: z + v", top="class Worker:\n    def work(self, z): return z * $r\nworker = Worker()"),
    part("callable object", "y = loss(y)", "loss.k = v", top="class Loss:\n    k = $r\n    def __call__(self, z): return z * self.k\nloss = Loss()"),
    part("__getattr__", "y = y * dynamic.k", "dynamic.table['k'] = v",
         top="class Dynamic:\n    table = {'k': $r}\n    def __getattr__(self, name): return self.table[name]\ndynamic = Dynamic()"),
    part("__getitem__", "y = y * shelf[0]", "shelf.k = v", top="class Shelf:\n    k = $r\n    def __getitem__(self, i): return self.k + i\nshelf = Shelf()"),
    part("descriptor", "y = y * host.level", "Level.k = v",
         top="class Level:\n    k = $r\n    def __get__(self, owner, kind): return self.k\nclass Host: level = Level()\nhost = Host()"),
    part("context manager", "with guard: y = y * guard.k", "guard.k = v",
         top="class Guard:\n    n, k = 0, $r\n    def __enter__(self): self.n += 1\n    def __exit__(self, *_): pass\nguard = Guard()"),
    # Containers.
    part("dict entry", "y = y * table['k']", "table['k'] = v", "table.update(k=v, other=1)", top="table = {'k': $r}"),
    part("dict get", "y = y * found.get('k', 2.0)", "found['k'] = v", "found.clear()", top="found = {}"),
    part("dict grows", "seen[len(seen)] = np.shape(y)", top="seen = {}"),
    part("list item", "y = y * ks[-1]", "ks[-1] = v", "ks.append(v)", top="ks = [1.0, $r]"),
    part("list loop", "for k in loop: y = y * k", "loop.append(v)", "loop[:] = [v]", top="loop = [$r]"),
    part("list appended", "log.append(1)", top="log = []"),
    part("list of results", "activations.append(y)", top="activations = []"),
    part("deque", "y = y * window[0]", "window.append(v)", "window.rotate()", top="window = collections.deque([$r, $r], maxlen=2)"),
    part("tuple", "y = y * sizes[0] ** sizes[1]", "global sizes; sizes = (v, 2)", top="sizes = ($r, 1)"),
    part("set", "y = y * (2.0 if 'double' in flags else 1.0)", "flags.add('double')", "flags.clear()", top="flags = set()"),
    part("set grows", "shapes.add(np.shape(x))\ny = y * len(shapes)", top="shapes = set()"),
    part("Counter", "tally['calls'] += 1\ny = y + tally['calls']", "tally['calls'] = 0", top="tally = collections.Counter()"),
    part("ChainMap", "y = y * chain['k']", "chain['k'] = v", "below['k'] = v", top="below = {'k': $r}; chain = collections.ChainMap({}, below)"),
    part("array of the standard library", "y = y * cells[0]", "cells[0] = v", top="cells = array.array('d', [$r])"),
    part("mapping proxy", "y = y * view['a']", "viewed['a'] = v", top="viewed = {'a': $r}; view = types.MappingProxyType(viewed)"),
    # Arrays.
    part("array read", "y = y * shift", "shift[0] = v", "global shift; shift = np.array([v])", "shift[:] *= 2.0", top="shift = np.array([$r])"),
    part("float32 array read", "y = y * light", "light[0] = v", top="light = np.array([$r], np.float32)"),
    part("mask chooses", "y = cr.where(chosen, y, -y)", "chosen[0] = not chosen[0]", top="chosen = np.array([True])"),
    part("array counter", "counts[0] += 1\ny = y * counts[0]", top="counts = np.zeros(2, int)"),
    part("array added to", "global total\ntotal += 0.5\ny = y * total.sum()", top="total = np.zeros(2)"),
    part("array written after use", "y = y * late\nlate[0] += 0.5", top="late = np.array([$r])"),
    part("array by out=", "np.add(acc, 1.0, out=acc)", top="acc = np.zeros(3)"),
    part("array filled", "buffer.fill(buffer[0] + 1.0)\ny = y + buffer", top="buffer = np.zeros(1)"),
    part("mean of the data", "average[0] = 0.9 * average[0] + 0.1 * float(np.mean(plain(y)))\ny = y - average[0]", top="average = np.zeros(1)"),
    part("row of a table", "y = y * rows[place]", "global place; place = 1 - place", "rows[place] = v", top="rows = np.array([$r, $r]); place = 0"),
    # Variables and models.
    part("variable", "y = y * w", "w.data = v", "global w; w = cr.Value(v)", "w.grad = None", "w.grad = v", top="w = cr.Value($r)"),
    part("Tensor variable", "y = y * weight + bias", "weight.data = [v]", "bias.data += v", top="weight, bias = cr.Tensor([$r]), cr.Tensor([$r])"),
    part("SGD", "y = y * theta", "sgd.step()", "sgd.zero_grad()", "sgd.lr = v * 0.01", top="theta = cr.Tensor([$r]); sgd = cr.nn.SGD([theta], lr=0.01, momentum=0.5)"),
    part("gradient read", "y = y * u * (1.0 if u.grad is None else 2.0)", "u.grad = None", top="u = cr.Value($r)"),
    part("variable as key", "y = sum((decay[p] * p for p in decay), 0.0) * y", "decay[next(iter(decay))] = v", top="decay = {cr.Value($r): $r, cr.Value($r): $r}"),
    part("name of a variable", "y = y * (3.0 if n.name == 'b' else n)", "n.name = 'b'", top="n = cr.Value($r, name='a')"),
    part("variable given", "y = y * p", "global shared; shared = cr.Value(v)", top="shared = cr.Value($r)", given={"p": ("shared", "cr.Value($r)", "$r")}),
    part("same variable twice", "y = y * one * two", top="same = cr.Value($r)", given={"one": ("same",), "two": ("same", "cr.Value($r)")}),
    part("list of variables", "y = sum((q * q for q in qs), 0.0) * y", top="q0, q1 = cr.Value($r), cr.Value($r)", given={"qs": ("[q0, q1]", "[q0, q0]", "(q1, $r)", "[q0, q1, 3.0]")}),
    part("dict of variables", "y = y * theta_0['w'] + theta_0['b']", given={"theta_0": ("{'w': cr.Value($r), 'b': $r}", "{'b': cr.Tensor([$r]), 'w': $r}", "{'w': $r, 'b': 1}")}),
    part("nested containers", "y = y * tree[0]['a'][1]", given={"tree": ("[{'a': ($i, $r)}]", "({'a': [None, $r]},)", "[{'a': ($i, cr.Value($r))}, $r]")}),
    part("namedtuple given", "y = y * pair.first + pair.second", given={"pair": ("Pair($r, $r)", "Pair(cr.Value($r), $i)")}),
    part("dataclass given", "y = y * record.loss", "record_0.loss = v", top="record_0 = Record($r, 'text')", given={"record": ("record_0", "Record($r, None)", "Record(cr.Value($r), 1)")}),
    part("object given", "y = y * thing.k\nthing.n += 1", "thing_0.k = v", top="thing_0 = types.SimpleNamespace(k=$r, n=0)", given={"thing": ("thing_0", "types.SimpleNamespace(k=$r, n=1)")}),
    part("function given", "y = act_0(y)", "global GAIN; GAIN = v", top="GAIN = $r\ndef gained(z): return z * GAIN", given={"act_0": ("gained", "cr.tanh", "lambda z: z * $r")}),
    part("MLP", "y = net(y)", "opt.step()", "for q in net.parameters(): q.data *= v", "net.zero_grad()", ranks="m",
         top="net = cr.nn.MLP([3, 4, 3], rng=$i); opt = cr.nn.SGD(net.parameters(), lr=0.01)"),
    part("float32 MLP", "y = single(y)", "single.eval()", ranks="m", top="single = cr.nn.MLP([3, 4, 3], dtype='float32', rng=$i)"),
    part("model given", "y = model(y)", "first.weight.data *= v", "first.freeze()", "first.unfreeze()", ranks="m", given={"model": ("first", "second")},
         top="first, second = cr.nn.Linear(3, 3, rng=0), cr.nn.Linear(3, 3, rng=1)"),
    part("layer replaced", "y = stack.layer(y)", "stack.layer = cr.nn.Linear(3, 3, rng=7)", "stack.layer.bias.data += v", ranks="m",
         top="class Stack(cr.nn.Module): layer = None\nstack = Stack(); stack.layer = cr.nn.Linear(3, 3, rng=0)"),
    part("BatchNorm", "y = norm(y)", "norm.eval()", "norm.train()", ranks="m", top="norm = cr.nn.BatchNorm1d(3)"),
    part("BatchNorm in use", "y = used(y)", "used.running_mean += v", "used.running_var *= v", ranks="m", top="used = cr.nn.BatchNorm1d(3).eval()"),
    part("Dropout", "y = drop(y)", "drop.eval()", "drop.train()", "drop.p = 0.5 / (1.0 + v)", ranks="vm", top="drop = cr.nn.Dropout(0.5, rng=$i)"),
    part("model that counts", "y = counting(y)", top="class Counting(cr.nn.Module):\n    def __init__(self): self.w, self.calls = cr.Value($r), 0\n"
         "    def forward(self, x):\n        self.calls += 1\n        return x * self.w\ncounting = Counting()"),
    part("model with a buffer", "y = moving(y)", "moving.train(v > 1.0)", top="class Moving(cr.nn.Module):\n    buffers = ('mean',)\n    def __init__(self): self.w, self.mean = cr.Value($r), np.zeros(1)\n"
         "    def forward(self, x):\n        if self.training: self.mean += 0.5\n        return x * self.w + self.mean\nmoving = Moving()"),
    part("model that keeps an activation", "y = keeping(y)", top="class Keeping(cr.nn.Module):\n    last = None\n    def __init__(self): self.w = cr.Value($r)\n"
         "    def forward(self, x):\n        self.last = x * self.w\n        return self.last * 2.0\nkeeping = Keeping()"),
    part("class attribute of a model", "y = warm(y)", "Warm.temperature = v", "warm.temperature = v", "Warm.forward = lambda self, x: x - self.w",
         top="class Warm(cr.nn.Module):\n    temperature = $r\n    def __init__(self): self.w = cr.Value($r)\n    def forward(self, x): return x * self.w * self.temperature\nwarm = Warm()"),
    part("accuracy", beside="cr.nn.accuracy(y, t_0)", ranks="m", given={"t_0": ("labels($s, $m)",)}),
    part("cross entropy", beside="cr.nn.cross_entropy(y, t_1)", ranks="m", given={"t_1": ("labels($s, $m)",)}),
    part("ignored labels", beside="cr.nn.cross_entropy(y, t_2, ignore_index=0)", ranks="m", given={"t_2": ("labels($s, $m)",)}),
    # Functions.
    part("list of functions", "for step in pipeline: y = step(y)", "pipeline.append(lambda z: z * v)", "pipeline[0] = lambda z: z - v", top="pipeline = [lambda z: z + $r]"),
    part("closure in a container", "y = kit['f'](y)", "nonlocal spread; spread = v", around="spread = $r\nkit = {'f': lambda z: z * spread}"),
    part("partial", "y = scaled(y)", "scaled.keywords['by'] = v", "global scaled; scaled = functools.partial(scale_by, by=v)",
         top="def scale_by(z, by): return z * by\nscaled = functools.partial(scale_by, by=$r)"),
    part("lru_cache", "y = y * cached()", "global CACHED; CACHED = v; cached.cache_clear()", "global CACHED; CACHED = v", top="CACHED = $r\n@functools.lru_cache\ndef cached(): return CACHED"),
    part("default of a helper", "y = lifted(y)", "lifted.__defaults__ = (v,)", top="def lifted(z, by=$r): return z * by"),
    part("function attribute", "marked.calls += 1\ny = y * marked.k", "marked.k = v", top="def marked(): pass\nmarked.k, marked.calls = $r, 0"),
    part("code replaced", "y = patched(y)", "patched.__code__ = (lambda z: z - 3.0).__code__", top="def patched(z): return z * $r"),
    part("generator function", "for k in powers(): y = y * k", "global BASE; BASE = v", top="BASE = $r\ndef powers():\n    for i in range(2): yield BASE ** i"),
    part("recursion", "y = nest(y, 3)", "global STEP; STEP = v", top="STEP = $r\ndef nest(z, n): return z if n == 0 else nest(z * STEP, n - 1)"),
    part("decorated helper", "y = watched(y)", "watched.calls = 5",
         top="def watch(h):\n    @functools.wraps(h)\n    def inner(z):\n        inner.calls += 1\n        return h(z) * inner.calls\n    inner.calls = 0\n    return inner\n@watch\ndef watched(z): return z * $r"),
    part("compiled helper", "y = quick(y)", "nonlocal pace; pace = v", around="pace = $r\n@compiled\ndef quick(z): return z * pace"),
    part("custom operation", "y = tracked(y)", top="met = []\ndef forward(z):\n    met.append(float(np.sum(z)))\n    return z * 1.0\ntracked = cr.custom('tracked', forward, lambda g, y, z: g)"),
    # What belongs to the process, and what gives another at each call.
    part("environment variable", "y = y * float(os.environ['CHAINRULE_FUZZ'])", "os.environ['CHAINRULE_FUZZ'] = str(v)"),
    part("context variable", "y = y * context.get()", "context.set(v)", top="context = contextvars.ContextVar('context', default=$r)"),
    part("context variable set", "depth.set(depth.get() + 1)", top="depth = contextvars.ContextVar('depth', default=0)"),
    part("random", "y = y * random.random()", "random.seed(int(v * 100))"),
    part("seldom random", "y = -y if random.random() < 0.2 else y"),
    part("random.Random", "y = y * 2.0 if dice.random() < 0.3 else y", "dice.seed(int(v * 100))", top="dice = random.Random($s)"),
    part("np.random", "y = y + np.random.normal()", "np.random.seed(int(v * 100))"),
    part("Generator", "y = y * np.where(noise.random(1) < 0.2, -1.0, 1.0)", top="noise = np.random.default_rng($s)"),
    part("Generator drawn in vain", "noise_0.normal()", top="noise_0 = np.random.default_rng($s)"),
    part("count", "y = y * next(ticks)", "global ticks; ticks = itertools.count(5)", top="ticks = itertools.count(1)"),
    part("cycle", "y = y * next(wheel)", top="wheel = itertools.cycle([2.0] * 3 + [$r])"),
    part("generator", "y = y * next(stream)", top="def flow():\n    k = 1.0\n    while True:\n        yield k\n        k *= 0.5 if k > 0.1 else 10.0\nstream = flow()"),
    # Options.
    part("text option", "y = {'tanh': cr.tanh, 'sin': cr.sin}[mode](y)", given={"mode='tanh'": ("'tanh'", "'sin'")}),
    part("int option", "y = y ** power", given={"power=2": ("2", "3", "np.int64(2)", "2.0", "True")}),
    part("loop count", "for _ in range(times): y = cr.sin(y) + y", given={"times": ("1", "2", "3")}),
    part("optional number", "y = y if offset is None else y + offset", given={"offset=None": ("None", "$r", "cr.Value($r)", "np.float64($r)", "$i")}),
    part("enum option", "y = y * (2.0 if colour is Colour.RED else 3.0)", top="Colour = enum.Enum('Colour', 'RED BLUE')", given={"colour": ("Colour.RED", "Colour.BLUE")}),
    part("flag", "if flag: y = y * 2.0", given={"flag=False": ("True", "False", "1", "np.True_")}),
    part("slice option", "y = y + np.arange(8.0)[span].sum()", given={"span": ("slice(0, 2)", "slice(1, 3)", "slice(None)", "...")}),
    part("axis option", "y = y + cr.sum(y, axis=axis, keepdims=True)", ranks="m", given={"axis=0": ("0", "1", "(0, 1)", "None", "-1")}),
    part("dtype option", "y = y * np.ones(1, kind)", given={"kind": ("float", "np.float32", "'int64'", "np.dtype('float64')")}),
    part("set option", "y = y * sum(group)", given={"group": ("frozenset({1})", "frozenset({1.0})", "{$r}", "frozenset({2, $r})")}),
    part("mutable default", "trail.append(1)\ny = y * len(trail)", given={"trail=[]": ("[]", "[1, 1]")}),
    part("callable option", "y = (choice or cr.sin)(y)", given={"choice=None": ("None", "cr.tanh", "np.tanh", "abs")}),
    # What depends on the numbers.
    part("branch on a number", "if y > 0.5: y = y * 2.0", ranks="n"),
    part("branch on a sum", "y = y * 2.0 if cr.sum(y) > 0 else y - 1.0"),
    part("float in a try", "try: big = float(np.max(plain(y))) > 1.0\nexcept Exception: big = False\ny = y * (2.0 if big else 1.0)"),
    part("loop on numbers", "while 1.0 < abs(plain(y)) < 1e9: y = y * 0.25", ranks="n"),
    part("item", "y = y * (1.0 + cr.sum(y * 1.0).item()) if isinstance(y, cr.Node) else y"),
    part("builtin max", "y = max(y, 0.25)", ranks="n"),
    part("numbers as text", "notes.append(f'{np.sum(plain(y)):.3f}')", top="notes = []"),
    part("largest is remembered", "best['y'] = max(best['y'], float(np.sum(plain(y))))\ny = y + best['y']", top="best = {'y': 0.0}"),
    part("early return", "if cr.sum(y) < -1.0: return y * 3.0"),
    part("error on a number", "if np.sum(plain(y)) > 3.0: raise ValueError('too large')"),
    part("integer of the labels", "y = y * int(t_3.max())", given={"t_3": ("labels($s, 3)",)}),
    part("kind of number", "y = y * (2.0 if isinstance(x, cr.Node) else 3.0 if type(x) is float else 4.0)"),
    part("elements one by one", "y = y + sum((k * k for k in x), 0.0)", ranks="v"),
    part("shape", "y = y * np.shape(y)[0] / len(x)", ranks="vm"),
    # Operations.
    part("labels choose", "y = y + cr.sum(y[np.arange(len(t_4)), t_4])", ranks="m", given={"t_4": ("labels($s, $m)", "labels($s, $m).astype(np.uint8)", "list(labels($s, $m))")}),
    part("one hot", "y = y * np.eye(3)[t_5]", ranks="m", given={"t_5": ("labels($s, $m)",)}),
    part("take", "y = y * cr.take(lookup, t_6, 0)", "lookup.data[0] = v", "lookup.data = [v, v, v]", ranks="v", top="lookup = cr.Tensor([$r, $r, $r])", given={"t_6": ("labels($s, $m)",)}),
    part("mask of the data", "y = y + cr.sum(y[plain(x) > 0])", ranks="vm"),
    part("mask of a comparison", "y = y * (x > 0)"),
    part("slicing", "y = y - y[:1] + y[-1]", ranks="vm"),
    part("no_grad", "with cr.no_grad(): kept_0 = y * y\ny = y + kept_0"),
    part("detach", "y = y * (y.detach() if isinstance(y, cr.Node) else 1.0)"),
    part("grad inside", "y = cr.grad(lambda z: cr.sum(cr.sin(z) * z))(y)"),
    part("value_and_grad inside", "v_0, d_0 = cr.value_and_grad(lambda z: cr.sum(cr.tanh(z) * z))(y)\ny = d_0 * v_0"),
    part("jvp inside", "y = cr.jvp(cr.sin, (y,), (y,))[1]"),
    part("gradients inside", "z_0 = cr.sum(y * k_0 * k_0)\ny = y + cr.gradients(z_0, k_0, create_graph=True)", top="k_0 = cr.Value($r)"),
    part("plain gradients inside", "z_1 = cr.sum(y * k_1 * k_1)\ny = y + cr.gradients(z_1, k_1)", "k_1.data = v", top="k_1 = cr.Value($r)"),
    part("backward inside", "k_2.grad = None\ncr.sum(y * k_2).backward()\ny = y * k_2.grad", top="k_2 = cr.Value($r)"),
    part("step inside", "inner.zero_grad()\ncr.sum(y * k_3).backward()\ninner.step()", top="k_3 = cr.Tensor([$r]); inner = cr.nn.SGD([k_3], lr=0.01)"),
    part("NumPy's functions", "y = np.tanh(y) + np.sum(y)"),
    part("NumPy's stacking", "y = np.concatenate([y, y])[: len(y)]", ranks="m"),
    part("copy", "y = y.copy() if isinstance(y, np.ndarray) else y"),
    part("astype", "y = y + cr.astype(y, np.float32)", ranks="vm"),
    part("overflow", "y = cr.exp(y * 300.0) * 1e-3"),
    part("name of the result", "y = y * 1.0\nif isinstance(y, cr.Node): y.name = 'y'"),
    # Arguments and results that change.
    part("result written", "", "for z in kept[-1] if type(kept[-1]) is tuple else kept[-1:]:\n    if isinstance(z, np.ndarray): z.flat[:1] = v"),
    part("list given grows", "given.append(len(given))\ny = y * len(given)", top="memo = []", given={"given": ("memo", "[]", "[3]")}),
    part("dict given changes", "state['n'] = state.get('n', 0) + 1\ny = y * state['n']", top="state_0 = {}", given={"state": ("state_0", "{}", "{'n': $i}")}),
    part("array given written", "out += 1.0\ny = y * out", top="out_0 = np.zeros(1)", given={"out": ("out_0", "np.ones(1)")}),
    part("x written", "if isinstance(x, np.ndarray) and x.dtype == float: x *= 2.0"),
    part("x written after use", "y = y * x\nif isinstance(x, np.ndarray) and x.dtype == float: x += 1.0"),
]
# fmt: on
