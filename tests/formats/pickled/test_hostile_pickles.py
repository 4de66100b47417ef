"""Hostile pickles in sound archives, and the code each of them must end with."""

import pytest

from release.errors import CheckpointError

CALLED = (
    "posix.system", "nt.system", "os.system", "os.popen", "subprocess.Popen",
    "builtins.eval", "builtins.exec", "__builtin__.eval", "builtins.getattr",
    "builtins.bytearray", "builtins.print", "torch.hub.load", "torch.load",
    "torch.jit.load", "torch.Tensor", "torch.FloatTensor", "torch.nn.Parameter",
    "torch.nn.parameter.Parameter", "torch.storage._load_from_bytes",
    "torch.storage.TypedStorage", "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_parameter_with_state", "torch._dynamo.guards.GuardBuilder",
    "torch._utils", "torch.utils.collect_env.run", "torch.ops.load_library",
    "pip.main", "runpy.run_path", "numpy.load", "numpy.f2py.crackfortran.getlincoef",
    "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar",
    "numpy.dtype", "_codecs.encode", "importlib.import_module", "operator.attrgetter",
    "functools.partial", "collections.Counter", "collections.OrderedDict.fromkeys",
    "idlelib.pyshell.ModifiedInterpreter.runcode", "timeit.main", "cProfile.run",
    "doctest.debug_script", "pty.spawn", "ctypes.CDLL", "webbrowser.open",
    "bdb.Bdb.run",
    "code.InteractiveInterpreter.runcode", "pydoc.pipepager", "venv.create",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint", "lightning.x.Y",
    "collections.OrderedDi\u0441t", "collections .OrderedDict",
    "Collections.OrderedDict",
    "torch.FloatStorage\r",
)  # fmt: skip


@pytest.mark.parametrize("function", CALLED)
def test_name_that_is_not_listed_is_refused(kit, parsed, marker, function):
    touch = kit.call(function, kit.text(f"touch {marker}"))
    value = kit.mapping(("w", kit.tensor()), ("x", touch))

    with pytest.raises(CheckpointError) as caught:
        parsed(kit.file(value))

    assert caught.value.code == "global"
    assert caught.value.exit_code == 4


PLACES = {
    "instead of a state dict": lambda _, p: p,
    "before a valid state dict": lambda k, p: p + k.POP + k.GOOD,
    "and a broken stream": lambda _, p: p + b"\xff",
    "and no end": lambda k, p: k.program(p)[:-1],
    "and a forbidden opcode": lambda _, p: p + b"2",
    "and a missing memo": lambda _, p: p + b"h\x99",
    "and a list on top": lambda _, p: b"](" + p + b"e",
    "and a sparse tensor": lambda k, p: (
        p + k.call("torch._utils._rebuild_sparse_tensor")
    ),
    "as a value": lambda k, p: k.mapping(("w", p)),
    "as a key": lambda k, p: k.mapping((p, k.tensor())),
    "as a storage": lambda k, p: k.mapping(("w", k.tensor(p))),
    "as a storage type": lambda k, p: k.mapping(("w", k.tensor(k.storage(p)))),
    "as a parameter": lambda k, p: k.mapping(
        ("w", k.call("torch._utils._rebuild_parameter", p, k.TRUE, k.ordered()))
    ),
    "as hooks": lambda k, p: k.mapping(
        ("w", k.name("torch._utils._rebuild_tensor_v2") + k.sequence(p, p) + b"R")
    ),
    "as metadata": lambda k, p: k.mapping(("w", k.tensor(rest=p))),
    "as attributes": lambda k, p: k.ordered() + p + b"b",
    "with attributes": lambda _, p: p + b"}b",
    "with items": lambda _, p: p + b"(NNu",
    "beside a wrapped state dict": lambda k, p: k.mapping(
        ("state_dict", k.GOOD), ("x", p)
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_payload_is_refused_wherever_it_is(kit, opened, payload, marker, place):
    with pytest.raises(CheckpointError) as caught:
        opened(kit.file(PLACES[place](kit, payload)))

    assert caught.value.code == "global"
    assert "`posix.system`" in str(caught.value)
    assert not marker.exists()


FORBIDDEN = (
    "ISV", "LSV", "I1\n", "L1L\n", "S'x'\n", "T\1\0\0\0x", "Vx\n", "F1.0\n",
    "B\1\0\0\0x", "C\1x", "(1", "2", "Pposix\n", "(d", "(l", "(iposix\nsystem\n",
    "(cposix\nsystem\no", "p0\n", "g0\n", "c__main__\nX\n)\x81", "\x82\1", "\x83\1\1",
    "\x84\1\0\0\0", "\x8b\1\0\0\0\1", "\x8c\1x", "\x8d\1\0\0\0\0\0\0\0x",
    "\x8e\1\0\0\0\0\0\0\0x", "\x8f(\x90", "(\x91", "N)}\x92", "XX\x93", "N\x94",
    "\x95\1\0\0\0\0\0\0\0", "\x96\1\0\0\0\0\0\0\0x", "\x97", "\x98",
    "\x80\4N", "\x80\5N",
)  # fmt: skip


@pytest.mark.parametrize("stream", FORBIDDEN, ids=range(len(FORBIDDEN)))
def test_opcode_that_weights_do_not_need_is_refused(kit, parsed, stream):
    with pytest.raises(CheckpointError) as caught:
        parsed(kit.file(kit.program(stream.encode("latin-1"))))

    # Where the stream also names something, or has no string, that may be told first.
    assert caught.value.code in {"opcode", "global", "pickle"}
    if "\n" not in stream and "X" not in stream:
        assert caught.value.code == "opcode"


def test_second_way_to_name_a_function_is_refused(kit, parsed, marker):
    stack = kit.text("posix") + kit.text("system") + b"\x93"
    call = stack + kit.sequence(kit.text(f"touch {marker}")) + b"R."

    for stream in (b"\x80\x04" + call, b"\x80\x02" + call):
        with pytest.raises(CheckpointError) as caught:
            parsed(kit.file(stream))
        assert caught.value.code == "opcode"


BROKEN = {
    "missing memo": b"h\7",
    "missing long memo": b"j\7\0\0\0",
    "empty stack": b"0",
    "nothing to call": b"R",
    "nothing to memorise": b"q\0",
    "tuple of too little": b"N\x86",
    "no mark": b"t",
    "mark that is not used": b"(N",
    "value left over": b"NN",
    "nothing at all": b"",
    "four GiB of string": b"X\xff\xff\xff\xffabc",
    "string beyond the end": b"X\x80\0\0\0abc",
    "string that is not UTF-8": b"X\2\0\0\0\xc3\x28",
    "short string that is not UTF-8": b"U\1\xff",
    "unknown byte": b"\xff",
    "unknown letter": b"z",
    "cut integer": b"J\1",
    "cut name": b"ctorch\nFloat",
    "huge integer": b"\x8a\x11" + b"\1" * 17,
    "key without value": b"}(Nu",
    "items of a list": b"](NNu",
    "item of a number": b"K\1NNs",
    "appending to a dictionary": b"}Na",
    "extending a number": b"K\1(Ne",
    "attributes of a dictionary": b"}}b",
    "attributes of a list": b"]}b",
    "attributes from a list": b"ccollections\nOrderedDict\n)R]b",
    "call of a number": b"K\1)R",
    "call of a dtype": b"ctorch\nfloat32\n)R",
    "call with a list": b"ccollections\nOrderedDict\n]R",
    "ordered dictionary with content": b"ccollections\nOrderedDict\n](]e\x85R",
    "size of a number": b"ctorch\nSize\nK\1\x85R",
    "persistent id that is text": b"X\1\0\0\x000Q",
    "persistent id that is a list": b"]Q",
    "persistent id that is short": b"(X\7\0\0\0storagetQ",
}


@pytest.mark.parametrize("stream", BROKEN.values(), ids=BROKEN)
def test_broken_stream_is_refused(kit, parsed, stream):
    with pytest.raises(CheckpointError) as caught:
        parsed(kit.file(kit.program(stream)))

    assert caught.value.code == "pickle"


def _nested_lists(k, levels, per_level):
    """A list of lists of ... built with a memo: few bytes, per_level**levels leaves."""
    stream = b"]Naq\0"
    for level in range(1, levels):
        inner = b"h" + bytes([level - 1])
        stream += k.POP + b"](" + inner * per_level + b"eq" + bytes([level])
    return stream


UNTYPED = "torch.storage.UntypedStorage"
CASES = {
    # no end
    "bytes behind the end": (lambda k: k.program(k.GOOD) + b"N", "pickle"),
    "no end": (lambda k: k.program(k.GOOD)[:-1], "pickle"),
    "string of two MiB": (lambda k: k.text("x" * 2**21), "pickle-size"),
    # persistent ids
    "six fields": (
        lambda k: k.sequence(
            k.text("storage"), k.name("torch.FloatStorage"), k.text("0"),
            k.text("cpu"), k.number(4), k.NONE,
        ) + b"Q",
        "pickle",
    ),
    "another persistent thing": (
        lambda k: k.sequence(
            k.text("module"), k.name("torch.FloatStorage"), k.text("0"),
            k.text("cpu"), k.number(4),
        ) + b"Q",
        "pickle",
    ),
    "storage type that is a dtype": (
        lambda k: k.tensor(k.storage("torch.float32")), "pickle"
    ),
    "negative number of elements": (
        lambda k: k.tensor(k.storage(numel=-1)), "pickle"
    ),
    "number of elements that is true": (
        lambda k: k.tensor(k.storage(numel=True)), "pickle"
    ),
    "key that climbs": (lambda k: k.tensor(k.storage(key="../../x")), "zip-member"),
    "key with a folder": (lambda k: k.tensor(k.storage(key="a/b")), "zip-member"),
    "key of nothing": (lambda k: k.tensor(k.storage(key="")), "zip-member"),
    "key with a NUL": (lambda k: k.tensor(k.storage(key="0\0")), "zip-member"),
    "one key, two types": (
        lambda k: k.mapping(
            ("a", k.tensor()), ("b", k.tensor(k.storage("torch.IntStorage")))
        ),
        "dtype",
    ),
    "one key, two lengths": (
        lambda k: k.mapping(("a", k.tensor()), ("b", k.tensor(k.storage(numel=2)))),
        "dtype",
    ),
    # false claims
    "terabyte on 16 bytes": (
        lambda k: k.mapping(("w", k.tensor(k.storage(numel=2**40)))), "size-mismatch"
    ),
    "one element too many": (
        lambda k: k.mapping(("w", k.tensor(k.storage(numel=5)))), "size-mismatch"
    ),
    "one element too few": (
        lambda k: k.mapping(("w", k.tensor(k.storage(numel=3), shape=(3,)))),
        "size-mismatch",
    ),
    "elements beyond counting": (
        lambda k: k.mapping(("w", k.tensor(k.storage(numel=2**100)))), "size-mismatch"
    ),
    "no such record": (
        lambda k: k.mapping(("w", k.tensor(k.storage(key="1")))), "missing-record"
    ),
    "record in other letters": (
        lambda k: k.mapping(("w", k.tensor(k.storage(key="O")))), "missing-record"
    ),
    "offset beyond": (lambda k: k.mapping(("w", k.tensor(offset=1))), "out-of-bounds"),
    "offset far beyond": (
        lambda k: k.mapping(("w", k.tensor(offset=2**62))), "out-of-bounds"
    ),
    "offset before": (
        lambda k: k.mapping(("w", k.tensor(offset=-1))), "out-of-bounds"
    ),
    "empty tensor beyond": (
        lambda k: k.mapping(("w", k.tensor(offset=5, shape=(0,)))), "out-of-bounds"
    ),
    "shape beyond": (
        lambda k: k.mapping(("w", k.tensor(shape=(5,)))), "out-of-bounds"
    ),
    "stride beyond": (
        lambda k: k.mapping(("w", k.tensor(strides=(3, 1)))), "out-of-bounds"
    ),
    "negative stride": (
        lambda k: k.mapping(("w", k.tensor(strides=(-2, 1)))), "stride"
    ),
    "negative size": (lambda k: k.mapping(("w", k.tensor(shape=(-2, -2)))), "shape"),
    "sizes beyond counting": (
        lambda k: k.mapping(("w", k.tensor(shape=(2**62, 4), strides=(0, 0)))),
        "overflow",
    ),
    "sizes beyond counting beside zero": (
        lambda k: k.mapping(("w", k.tensor(shape=(2**40, 2**40, 0), strides=(1,) * 3))),
        "overflow",
    ),
    "stride beyond counting": (
        lambda k: k.mapping(("w", k.tensor(shape=(1,), strides=(2**70,)))), "overflow"
    ),
    "too many dimensions": (
        lambda k: k.mapping(("w", k.tensor(shape=(1,) * 1025))), "rank"
    ),
    "more strides than sizes": (
        lambda k: k.mapping(("w", k.tensor(strides=(2, 1, 1)))), "shape"
    ),
    "offset that is true": (lambda k: k.mapping(("w", k.tensor(offset=True))), "shape"),
    "size that is true": (
        lambda k: k.mapping(("w", k.tensor(shape=(True, 2)))), "shape"
    ),
    "shape that is a list": (
        lambda k: k.name("torch._utils._rebuild_tensor_v2") + k.sequence(
            k.storage(), k.number(0), k.LIST, k.LIST, k.FALSE, k.ordered()
        ) + k.REDUCE,
        "shape",
    ),
    "tensor of too little": (
        lambda k: k.call("torch._utils._rebuild_tensor_v2", k.storage()), "pickle"
    ),
    "tensor without a storage": (lambda k: k.tensor(k.NONE), "pickle"),
    "tensor with odd hooks": (
        lambda k: k.name("torch._utils._rebuild_tensor_v2") + k.sequence(
            k.storage(), k.number(0), k.sizes((4,)), k.sizes((1,)), k.FALSE, k.LIST
        ) + k.REDUCE,
        "pickle",
    ),
    "gradients of integers": (
        lambda k: k.tensor(k.storage("torch.IntStorage"), gradient=k.TRUE), "pickle"
    ),
    "parameter of nothing": (
        lambda k: k.call("torch._utils._rebuild_parameter", k.NONE, k.TRUE, k.NONE),
        "pickle",
    ),
    "tensor beside the state dict that lies": (
        lambda k: k.mapping(("state_dict", k.GOOD), ("x", k.tensor(offset=9))),
        "out-of-bounds",
    ),
    # inflation
    "terabyte view of 16 bytes": (
        lambda k: k.mapping(("w", k.tensor(shape=(2**38,), strides=(0,)))),
        "amplification",
    ),
    "views that grow together": (
        lambda k: k.mapping(
            *((f"w{i}", k.tensor(shape=(999,), strides=(0,))) for i in range(30))
        ),
        "amplification",
    ),
    # dtypes and layouts
    "plain bytes without a dtype": (
        lambda k: k.tensor(k.storage(UNTYPED, numel=16)), "dtype"
    ),
    "dtype against storage": (
        lambda k: k.tensor_v3("torch.int32", k.storage()), "dtype"
    ),
    "dtype that safetensors has not": (
        lambda k: k.tensor_v3("torch.complex128", k.storage(UNTYPED, numel=16)), "dtype"
    ),
    "two values in a byte": (
        lambda k: k.tensor_v3(
            "torch.float4_e2m1fn_x2", k.storage(UNTYPED, numel=16)
        ),
        "dtype",
    ),
    "quantised dtype": (
        lambda k: k.tensor_v3("torch.qint8", k.storage(UNTYPED, numel=16)), "dtype"
    ),
    "dtype that is a function": (
        lambda k: k.tensor_v3("torch.Size", k.storage(UNTYPED, numel=16)), "dtype"
    ),
    "quantised storage": (lambda k: k.tensor(k.storage("torch.QInt8Storage")), "dtype"),
    "quantised tensor": (
        lambda k: k.mapping(("w", k.call("torch._utils._rebuild_qtensor"))), "dtype"
    ),
    "wide complex storage": (
        lambda k: k.tensor(k.storage("torch.ComplexDoubleStorage")), "dtype"
    ),
    "meta device": (lambda k: k.tensor(k.storage(location="meta")), "meta"),
    "meta tensor": (
        lambda k: k.mapping(
            ("w", k.call("torch._utils._rebuild_meta_tensor_no_storage"))
        ),
        "meta",
    ),
    "sparse tensor": (
        lambda k: k.mapping(("w", k.call("torch._utils._rebuild_sparse_tensor"))),
        "layout",
    ),
    "sparse rows": (
        lambda k: k.mapping(("w", k.call("torch._utils._rebuild_sparse_csr_tensor"))),
        "layout",
    ),
    "nested tensor": (
        lambda k: k.mapping(("w", k.call("torch._utils._rebuild_nested_tensor"))),
        "layout",
    ),
    "lazy conjugate": (
        lambda k: k.tensor(
            k.storage("torch.ComplexFloatStorage", numel=2),
            shape=(2,),
            rest=k.mapping(("conj", k.TRUE)),
        ),
        "layout",
    ),
    "lazy negative": (
        lambda k: k.tensor(rest=k.mapping(("neg", k.TRUE))), "layout"
    ),
    # structure
    "list on top": (lambda k: b"](" + k.tensor() + b"e", "structure"),
    "bare tensor on top": (lambda k: k.tensor(), "structure"),
    "number on top": (lambda k: k.number(5), "structure"),
    "text on top": (lambda k: k.text("x"), "structure"),
    "nothing on top": (lambda k: k.NONE, "structure"),
    "empty dictionary": (lambda _: b"}", "no-tensors"),
    "numbers only": (lambda k: k.mapping(("epoch", k.number(3))), "no-tensors"),
    "empty state dict": (lambda k: k.mapping(("state_dict", b"}")), "no-tensors"),
    "list as a value": (lambda k: k.mapping(("w", k.LIST)), "structure"),
    "dictionary as a value": (
        lambda k: k.mapping(("w", k.tensor()), ("optimizer", k.GOOD)), "structure"
    ),
    "unknown wrapper": (lambda k: k.mapping(("generator", k.GOOD)), "structure"),
    "storage as a value": (lambda k: k.mapping(("w", k.storage())), "structure"),
    "three wrappers": (
        lambda k: k.mapping(
            ("state_dict", k.mapping(("model", k.mapping(("module", k.GOOD)))))
        ),
        "structure",
    ),
    "dictionary in itself": (
        lambda k: b"}q\0" + k.text("w") + k.tensor() + b"s" + k.text("x") + b"h\0s",
        "recursion",
    ),
    "list in itself": (lambda k: k.mapping(("w", b"]q\0h\0a")), "recursion"),
    "state dict in itself": (
        lambda k: b"}q\0" + k.text("state_dict") + b"h\0s", "recursion"
    ),
    "list of 10^12 leaves": (lambda k: _nested_lists(k, 13, 10), "recursion"),
    "list of 10^12 leaves as a value": (
        lambda k: k.mapping(("w", _nested_lists(k, 13, 10))), "recursion"
    ),
    "deep where it was met before": (
        lambda k: k.mapping(
            ("a", _nested_lists(k, 5, 2)), ("b", b"]" * 4 + b"h\4" + b"a" * 4)
        ),
        "recursion",
    ),
    "50 000 lists": (lambda _: b"]" * 50_000 + b"a" * 49_999, "recursion"),
    "50 000 tuples": (lambda _: b")" + b"\x85" * 50_000, "recursion"),
    "50 000 tuples as a key": (
        lambda k: k.mapping((b")" + b"\x85" * 50_000, k.tensor())), "recursion"
    ),
    # names
    "number as a name": (lambda k: k.mapping((k.number(1), k.tensor())), "key-type"),
    "1 and '1'": (
        lambda k: k.mapping(("1", k.tensor()), (k.number(1), k.tensor())), "key-type"
    ),
    "nothing as a name": (lambda k: k.mapping((k.NONE, k.tensor())), "key-type"),
    "tuple as a name": (
        lambda k: k.mapping((k.sizes((1, 2)), k.tensor())), "key-type"
    ),
    "reserved name": (lambda k: k.mapping(("__metadata__", k.tensor())), "name"),
    "half a surrogate pair": (lambda k: k.mapping(("w\ud800", k.tensor())), "name"),
    "long name": (lambda k: k.mapping(("w" * 1025, k.tensor())), "name-length"),
    "same name twice": (
        lambda k: k.mapping(("w", k.tensor()), ("w", k.tensor())), "duplicate-key"
    ),
    "same name once as a number": (
        lambda k: k.mapping(("w", k.number(1)), ("w", k.tensor())), "duplicate-key"
    ),
    "two state dicts of one name": (
        lambda k: k.mapping(("state_dict", k.GOOD), ("state_dict", k.GOOD)),
        "duplicate-key",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_hostile_pickle_is_refused(kit, parsed, case):
    value, code = CASES[case]

    with pytest.raises(CheckpointError) as caught:
        parsed(kit.file(value(kit)))

    assert caught.value.code == code
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_container_in_itself_is_called_so(kit, parsed):
    with pytest.raises(CheckpointError, match="contains itself"):
        parsed(kit.file(kit.mapping(("w", b"]q\0h\0a"))))


def test_many_names_of_one_storage_are_together_too_large(kit, parsed):
    stream = kit.mapping(
        ("0", kit.tensor(kit.storage(numel=1000), shape=(1000,)) + b"q\0"),
        *((f"{i}", b"h\0") for i in range(1, 2000)),
    )

    with pytest.raises(CheckpointError) as caught:
        parsed(kit.file(stream, {"0": bytes(4000)}))

    assert caught.value.code == "amplification"


def test_all_names_are_told_with_their_places(kit, opened, marker):
    value = kit.mapping(
        ("a", kit.call("posix.system", kit.text(f"touch {marker}"))),
        ("b", kit.call("pip.main", kit.LIST)),
        ("c", kit.call("posix.system", kit.text("true"))),
        ("d", kit.name("x.evil\x1b[2J\u202ename")),
    )
    content = kit.file(value)

    with pytest.raises(CheckpointError) as caught:
        opened(content)

    message = str(caught.value)
    place = kit.program(value).index(b"cposix\n")
    assert f"asks to call `posix.system` (pickle GLOBAL at byte {place})" in message
    assert message.count("posix.system") == 1
    assert "`pip.main`" in message
    assert "`x.evil\\u001b[2J\\u202ename`" in message
    assert "This file may be an attack. krelease did not run them" in message
    assert "weights_only" not in message + caught.value.hint
    assert "safetensors" in caught.value.hint


def test_thousands_of_names_make_one_short_line(kit, opened):
    names = b"".join(kit.name(f"evil.x{i}") + b"0" for i in range(5000))

    with pytest.raises(CheckpointError) as caught:
        opened(kit.file(names + kit.GOOD))

    assert caught.value.code == "global"
    assert len(str(caught.value)) < 8400
    assert "and 4,950 more" in str(caught.value)


def test_training_tools_are_named_with_the_flag_that_leaves_them_out(kit, opened):
    callback = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
    value = kit.mapping(("state_dict", kit.GOOD), ("callbacks", kit.name(callback)))

    with pytest.raises(CheckpointError) as caught:
        opened(kit.file(value))

    assert caught.value.code == "global"
    assert callback in str(caught.value)
    assert "--stub-globals" in caught.value.hint


def test_flag_is_not_named_when_it_would_not_help(kit, opened, payload):
    value = kit.mapping(
        ("state_dict", kit.GOOD), ("a", kit.name("lightning.a.B")), ("b", payload)
    )

    with pytest.raises(CheckpointError) as caught:
        opened(kit.file(value))

    assert "--stub-globals" not in caught.value.hint
