"""The plan says, to the byte, what the pass then does."""

import json

import safetensors
import torch

from release.engine.plan import SHA256_PLACEHOLDER, ingredients_text
from release.numeric.dtype import Dtype


def test_planned_sizes_and_places_are_those_on_disk(workshop):
    tensors = {
        "wide": torch.randn(7, 11),
        "scalar": torch.tensor(1.0),
        "none": torch.zeros(3, 0),
        "ids": torch.arange(5),
    }
    plan = workshop.plan(
        {"x": tensors}, {"x": 1.0}, Dtype.F32, Dtype.F16, Dtype.F8_E4M3, copied={"ids"}
    )

    workshop.run(plan)

    for output in plan.outputs:
        data = (workshop.out / output.name).read_bytes()
        header = json.loads(data[8 : output.header_nbytes])
        del header["__metadata__"]
        assert output.nbytes == len(data)
        assert output.header_nbytes == 8 + int.from_bytes(data[:8], "little")
        assert [
            (entry.name, entry.dtype.code, list(entry.shape), [entry.begin, entry.end])
            for entry in output.entries
        ] == [
            (name, entry["dtype"], entry["shape"], entry["data_offsets"])
            for name, entry in header.items()
        ]
    assert plan.write_nbytes == sum(
        path.stat().st_size for path in workshop.out.iterdir()
    )
    assert plan.read_nbytes == 7 * 11 * 4 + 4 + 5 * 8


def test_every_tensor_has_one_target_in_every_output(workshop):
    tensors = {f"w{n}": torch.randn(3) for n in range(9)}

    plan = workshop.plan({"x": tensors}, {"x": 1.0}, Dtype.F16, Dtype.BF16)

    assert sorted(job.name for job in plan.jobs) == sorted(tensors)
    for job in plan.jobs:
        assert [target.output for target in job.targets] == [0, 1]
        assert job.n_elements == 3


def test_jobs_follow_the_data_of_the_output_with_the_most_dtypes(workshop):
    tensors = {"b": torch.randn(3), "a": torch.randn(3), "ids": torch.arange(3)}

    plan = workshop.plan({"x": tensors}, {"x": 1.0}, Dtype.F16, copied={"ids"})

    assert [job.name for job in plan.jobs] == ["ids", "a", "b"]


def test_placeholders_are_as_long_as_what_takes_their_place(workshop):
    plan = workshop.plan({"x": {"w": torch.ones(3)}}, {"x": 1.0}, Dtype.F16)
    planned = dict(plan.outputs[0].metadata)

    workshop.run(plan)

    with safetensors.safe_open(workshop.out / "F16.safetensors", "pt") as file:
        written = file.metadata()
    assert planned["modelspec.hash_sha256"] == SHA256_PLACEHOLDER
    assert planned.keys() == written.keys()
    assert {key: len(text) for key, text in planned.items()} == {
        key: len(text) for key, text in written.items()
    }
    assert all(set(written[key]) != {"0"} for key in written)


def test_ingredients_are_listed_sorted_and_compact():
    assert ingredients_text({"b": "1", "a": "2"}) == '{"a":"2","b":"1"}'
