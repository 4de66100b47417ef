"""`stub_globals`: training tools beside the weights are left out, inside refused."""

import pytest

from release.errors import CheckpointError

CALLBACK = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"


def scalar(kit, numpy="numpy.core.multiarray"):
    """What NumPy makes of a float64 scalar in protocol 2."""
    dtype = kit.call("numpy.dtype", kit.text("f8"), kit.FALSE, kit.TRUE)
    state = kit.sequence(kit.number(3), kit.text("<"), kit.NONE)
    raw = kit.call("_codecs.encode", kit.text("\0" * 8), kit.text("latin1"))
    return kit.call(f"{numpy}.scalar", dtype + state + kit.BUILD, raw)


def training_file(kit):
    """A checkpoint of Stable Diffusion 1.x, as Lightning wrote it."""
    inner = kit.mapping(("best", kit.NONE), ("score", scalar(kit)))
    return kit.file(
        kit.mapping(
            ("epoch", kit.number(3)),
            ("state_dict", kit.GOOD),
            ("callbacks", kit.mapping((kit.name(CALLBACK), inner))),
            ("lr", scalar(kit, "numpy._core.multiarray")),
            ("extra", kit.call("lightning.fabric.Box", kit.NONE) + b"}bNa(NNu(Ne"),
        )
    )


def test_training_tools_are_left_out_when_asked(kit, opened, data_of):
    content = training_file(kit)

    checkpoint = opened(content, stub_globals=True)

    assert data_of(checkpoint, "w") == bytes(range(16))
    warning, dropped = checkpoint.warnings
    assert warning.startswith("global: not read, replaced by inert stand-ins: ")
    for name in (CALLBACK, "numpy.dtype", "_codecs.encode", "lightning.fabric.Box"):
        assert f"`{name}`" in warning
    assert dropped.startswith("dropped: ")
    with pytest.raises(CheckpointError, match="asks to call"):
        opened(content)


STILL_REFUSED = {
    "as a tensor": lambda k: k.mapping(("w", k.tensor()), ("x", k.name("lightning.X"))),
    "a scalar as a tensor": lambda k: k.mapping(("w", k.tensor()), ("x", scalar(k))),
    "as a storage": lambda k: k.mapping(("w", k.tensor(k.name("lightning.X")))),
    "as a storage type": lambda k: k.mapping(
        ("w", k.tensor(k.storage(k.name("lightning.X"))))
    ),
    "as a parameter": lambda k: k.mapping(
        (
            "w",
            k.call(
                "torch._utils._rebuild_parameter",
                k.name("lightning.X"),
                k.TRUE,
                k.NONE,
            ),
        )
    ),
    "another name": lambda k: k.mapping(
        ("state_dict", k.GOOD), ("x", k.name("pytorch_lightning_evil.X"))
    ),
    "the package itself": lambda k: k.mapping(
        ("state_dict", k.GOOD), ("x", k.name("os.lightning.X"))
    ),
    "other parts of NumPy": lambda k: k.mapping(
        ("state_dict", k.GOOD), ("x", k.name("numpy.core.multiarray._reconstruct"))
    ),
}


@pytest.mark.parametrize("case", STILL_REFUSED)
def test_stub_within_the_weights_is_refused(kit, parsed, case):
    with pytest.raises(CheckpointError) as caught:
        parsed(kit.file(STILL_REFUSED[case](kit)), stub_globals=True)

    assert caught.value.code == "global"


def test_payload_is_refused_beside_stubs(kit, opened, payload):
    value = kit.mapping(
        ("state_dict", kit.GOOD), ("a", kit.name(CALLBACK)), ("b", payload)
    )

    with pytest.raises(CheckpointError) as caught:
        opened(kit.file(value), stub_globals=True)

    assert caught.value.code == "global"
    assert "posix.system" in str(caught.value)
    assert CALLBACK not in str(caught.value)
