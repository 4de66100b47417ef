"""A good card and the files it speaks of; tests break one thing each."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from release.definition import Definition
from release.licences.known import licence_text
from release.lint.card import parse_card
from release.lint.run import Finding, lint
from release.lint.subject import FileFacts, Subject, Weights

FP16, FP8 = "one-fp16.safetensors", "one-fp8.safetensors"
U_NET, ALL = 2_567_463_684, 3_468_837_945
SHA = {FP16: "a1" * 32, FP8: "b2" * 32}
DATA_SHA = {FP16: "c3" * 32, FP8: "d4" * 32}

GOOD = f"""---
license: other
license_name: faipl-1.0-sd
license_link: LICENSE
language:
- en
library_name: diffusion-single-file
pipeline_tag: text-to-image
base_model:
- maker/base
- maker/style
base_model_relation: merge
datasets:
- maker/pictures
tags:
- text-to-image
- merge
widget:
- text: 1girl, solo, masterpiece, best quality, newest, safe
  parameters:
    negative_prompt: low quality, worst quality
    guidance_scale: 5
    num_inference_steps: 28
  output:
    url: images/0.png
---

# Model One

Merged from two models, with 3.5B parameters, 2.6B parameters of them in the U-Net.
Released under `faipl-1.0-sd`, like its ingredients. It derives from SDXL, whose
licence is CreativeML Open RAIL++-M.

## Files

| File | Dtype | Size | Bytes | SHA-256 | AutoV2 | AutoV3 |
|---|---|---:|---:|---|---|---|
| `{FP16}` | fp16 | 6.94 GB | 6,938,040,682 | `{SHA[FP16]}` | `A1A1A1A1A1` | `C3C3C3C3C3C3` |
| `{FP8}` | fp8 e4m3fn (U-Net; rest fp16) | 3.98 GiB | 4,271,998,123 | `{SHA[FP8]}` | `B2B2B2B2B2` | none |

- `{FP8}`, about 4.3 GB, for little memory.

## Settings

CFG scale: 4 to 7. Steps: 20-30. Pixels: 786,432 to 1,310,720, such as 1024x1024, 832x1216.

```text
1girl, solo, masterpiece, best quality, safe
```

## Tags

| Meaning | Tag |
|---|---|
| general | `safe` |
| best | `masterpiece` |
| second | `best quality` |
| low | `low quality` |
| worst | `worst quality` |
| new | `newest` |
| old | `old` |

## Licence

faipl-1.0-sd, without added restrictions: commercial use is allowed.
"""  # noqa: E501


@dataclass
class Draft:
    """What a test may change before it is linted."""

    text: str = GOOD
    files: dict[str, FileFacts] = field(default_factory=dict)
    licence: bytes | None = None
    definition: Definition | None = None

    def put(self, old: str, new: str) -> None:
        """Replace a text that is there."""
        assert old in self.text
        self.text = self.text.replace(old, new, 1)

    def change(self, name: str, **facts: object) -> None:
        self.files[name] = replace(self.files[name], **facts)

    def weigh(self, name: str, **facts: object) -> None:
        weights = self.files[name].weights
        assert weights
        self.change(name, weights=replace(weights, **facts))

    def subject(self) -> Subject:
        licence = ("LICENSE", self.licence) if self.licence is not None else None
        return Subject(
            parse_card(self.text.encode()),
            files=self.files,
            licence_file=licence,
            definition=self.definition,
        )

    def findings(self) -> tuple[Finding, ...]:
        return lint(self.subject())

    def rules(self) -> set[str]:
        return {finding.rule.id for finding in self.findings()}


def weights(dtypes: dict[str, int], **metadata: str) -> Weights:
    return Weights(
        dtypes=dtypes,
        n_parameters={"all": ALL, "unet": U_NET},
        metadata=metadata,
        markers=frozenset(),
        architecture="sdxl",
    )


@pytest.fixture
def draft() -> Draft:
    """The good card, its two checkpoints, its picture and its licence."""
    known = {
        FP16: (6_938_040_682, weights({"F16": 6_937_675_890, "I64": 616})),
        FP8: (4_271_998_123, weights({"F16": 1_804_000_000, "F8_E4M3": 2_467_000_000})),
    }
    files = {
        name: FileFacts(name, nbytes, SHA[name], DATA_SHA[name], held)
        for name, (nbytes, held) in known.items()
    }
    for name in ("README.md", "LICENSE", "images/0.png"):
        files[name] = FileFacts(name, 1000)
    return Draft(files=files, licence=licence_text("faipl-1.0-sd"))


Change = Callable[[Draft], object]
