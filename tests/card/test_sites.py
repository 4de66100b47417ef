"""Four pages of one release: the same facts, each in the form its site reads."""

import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from release.card import sites
from release.card.environment import template_root
from release.card.presentation import presentation_of
from release.card.sites import Site, render_pages
from release.definition import Definition
from release.errors import visible
from release.manifest import Manifest

HERE = Path(__file__).parent
KEPT = {"div", "strong", "p", "em", "u", "s", "a", "br", "ul", "ol", "li", "code"} | {
    "pre"
}
"""What Civitai keeps of the notes of a version."""
EMPTY = {"br"}
PAYLOADS = [
    "<script>alert(1)</script>",
    "</code></pre><h1>x</h1>",
    '"><a href="javascript:alert(1)">x</a>',
    "&lt;b&gt;",
    "{{ 7*7 }}",
    "\x1b[31m\u202e\x07",
]


class Page(HTMLParser):
    """The elements, links and text of a page; fails where it is not balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def pages(definition: Definition, manifest: Manifest, site: Site) -> dict[str, str]:
    shown = presentation_of(definition, HERE)
    return render_pages(definition, manifest, site, presentation=shown)


def read(site: Site, page: dict[str, str]) -> str:
    """Return what a reader of a site sees, and the addresses that links lead to."""
    if site is Site.CIVITAI:
        both = [Page(text) for name, text in page.items() if name.endswith(".html")]
        links = [value or "" for each in both for _, value in each.attributes]
        return "\n".join([*(each.text for each in both), *links])
    if site is Site.SEAART:
        return page["seaart.txt"]
    text = next(iter(page.values()))
    body = text.split("\n---\n", 1)[1] if site is Site.HUB else text
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    leaves = [leaf for token in tokens for leaf in (token.children or [token])]
    links = [str(leaf.attrs.get("href", "")) for leaf in leaves]
    shown = re.sub("<.*?>", "", "\n".join(leaf.content for leaf in leaves))
    return html.unescape("\n".join([shown, *links]))


def facts(definition: Definition, manifest: Manifest) -> list[str]:
    """What every page must say, as a reader sees it."""
    release, usage = definition.release, definition.usage
    found = [release.title, release.summary, release.author, release.tag]
    found += ["4 to 7", "786,432", "1,310,720", usage.sampler, usage.prompt_format]
    found += [usage.example_prompt, usage.example_negative_prompt]
    found += ["faipl-1.0-sd", "https://freedevproject.org/faipl-1.0-sd/"]
    found += [f"https://huggingface.co/{release.repo}/tree/{release.tag}"]
    for record in (*manifest.checkpoints, *manifest.files):
        found += [record.name, record.sha256, record.sha256[:10].upper()]
    found += ["6.94 GB", "4.27 GB", "7.2 GB", "4.6 GB", "74.1 dB", "32.1 dB"]
    found += ["fp16", "fp8 e4m3fn (U-Net Linear and Conv2d; rest fp16)"]
    for row in (row for table in definition.tag_tables for row in table.rows):
        found += [row.tag, row.other or ""]
    found += definition.recipe.steps.values()
    found += ["└─ 0 to 0.1 \N{MULTIPLICATION SIGN} anxl3 (Animagine XL 3.0)"]
    found += [manifest.recipe.sha256]
    found += [manifest.recipe.convention]
    for source in definition.ingredients.values():
        found += [source.title, source.hub or "", source.licence or ""]
    found += [known.issue for known in definition.known_issues]
    found += [bad.file for bad in definition.known_bad]
    return found


@pytest.mark.parametrize("site", Site)
def test_shared_facts_are_on_the_page_of_every_site(
    definition: Definition, manifest: Manifest, site: Site
) -> None:
    seen = read(site, pages(definition, manifest, site))

    assert len(facts(definition, manifest)) > 80
    missing = [fact for fact in facts(definition, manifest) if fact not in seen]
    assert missing == []


@pytest.mark.parametrize("site", [Site.CIVITAI, Site.SEAART, Site.GITHUB])
def test_pages_of_gamma_rev2_for_other_sites_are_the_golden_ones(
    definition: Definition,
    manifest: Manifest,
    golden: Callable[[str, str], None],
    site: Site,
) -> None:
    for name, text in pages(definition, manifest, site).items():
        golden(f"gamma-rev2-{name}", text)


@pytest.mark.parametrize("site", Site)
def test_no_other_digest_or_size_is_on_the_page_of_a_site(
    definition: Definition, manifest: Manifest, site: Site
) -> None:
    seen = read(site, pages(definition, manifest, site))

    records = [*manifest.checkpoints, *manifest.files]
    known = {record.sha256 for record in records} | {manifest.recipe.sha256}
    known |= {record.sha256 or "" for record in manifest.ingredients}
    previous = "1cb8e89a8c08e00cc81bf7caa975d3cd848f2e1388269afc2342adebadcf7dc6"
    assert set(re.findall(r"\b[0-9a-f]{64}\b", seen)) <= known | {previous}
    sizes = set(re.findall(r"[\d.]+ [GM]B\b", seen))
    assert sizes <= {"6.94 GB", "4.27 GB", "7.2 GB", "4.6 GB", "2 GB"}


@pytest.mark.parametrize("site", Site)
def test_audit_s_sentence_is_on_the_page_of_every_site(
    definition: Definition, document: dict[str, Any], site: Site
) -> None:
    counts = "n_tensors n_compared n_equal_tensors n_near_tensors n_values"
    counts += " n_sampled_values n_compared_values n_equal_values n_near_values"
    sentence = "Every compared value is what the recipe gives."
    document["audit"] = {
        "checkpoint": "kohaku-xl-gamma-rev2.fp16.safetensors",
        "sentence": sentence,
        "is_whole": False,
        **dict.fromkeys(counts.split(), 12_345),
    }

    seen = read(site, pages(definition, Manifest.model_validate(document), site))

    assert sentence in seen
    assert (site is Site.HUB) == ("A sample was compared: 12,345 of 12,345" in seen)


def test_manifest_without_an_audit_has_no_key_for_it(manifest: Manifest) -> None:
    assert "audit" not in json.loads(manifest.to_json())


def test_civitai_s_html_has_only_what_the_site_keeps(
    definition: Definition, manifest: Manifest
) -> None:
    found = pages(definition, manifest, Site.CIVITAI)

    for name in ("civitai-model.html", "civitai-version.html"):
        page = Page(found[name])
        assert set(page.elements) <= KEPT
        assert {key for key, _ in page.attributes} == {"href"}
        assert all((value or "").startswith("https://") for _, value in page.attributes)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_foreign_text_is_text_on_civitai(
    gamma: dict[str, Any], document: dict[str, Any], payload: str
) -> None:
    harmless = pages(
        Definition.model_validate(gamma),
        Manifest.model_validate(document),
        Site.CIVITAI,
    )
    gamma["release"] |= {"title": payload, "summary": payload, "author": payload}
    gamma["licence"] |= {"link": payload, "notices": [payload]}
    gamma["usage"] |= {
        "example_prompt": payload,
        "sampler": payload,
        "notes": [payload],
    }
    gamma["known_bad"] = [{"file": payload, "reason": payload}]
    for source in gamma["ingredients"].values():
        source |= {"title": payload, "facts": [payload]}
    for record in document["checkpoints"]:
        record["name"] = payload

    found = pages(
        Definition.model_validate(gamma),
        Manifest.model_validate(document),
        Site.CIVITAI,
    )

    for name in ("civitai-model.html", "civitai-version.html"):
        page = Page(found[name])
        assert set(page.elements) <= KEPT
        assert visible(payload) in page.text
        hrefs = {value for _, value in page.attributes}
        assert hrefs <= {value for _, value in Page(harmless[name]).attributes}
    json.loads(found["civitai.json"])


@pytest.mark.parametrize("site", Site)
def test_rehearsal_is_said_first_on_every_site(
    definition: Definition, document: dict[str, Any], site: Site
) -> None:
    document["rehearsal"] = True

    seen = read(site, pages(definition, Manifest.model_validate(document), site))

    assert "this is a rehearsal" in seen[:120].lower()
    assert "must not be published" in seen


@pytest.mark.parametrize("site", Site)
def test_pages_are_the_same_from_a_manifest_that_was_read_back(
    definition: Definition, manifest: Manifest, site: Site
) -> None:
    read_back = Manifest.model_validate_json(manifest.to_json())

    assert pages(definition, read_back, site) == pages(definition, manifest, site)


@pytest.mark.parametrize("site", Site)
def test_every_page_ends_with_one_newline(
    definition: Definition, manifest: Manifest, site: Site
) -> None:
    for text in pages(definition, manifest, site).values():
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
        assert "\n\n\n" not in text
        assert not re.findall(r"[ \t]+$", text, re.MULTILINE)


def test_scaled_fp8_is_said_to_be_for_those_who_read_scales(
    definition: Definition, document: dict[str, Any]
) -> None:
    fp8 = document["checkpoints"][0]
    scale = dict(fp8["tensors"][0]) | {
        "name": "model.diffusion_model.time_embed.0.weight_scale",
        "dtype": "F32",
        "shape": [],
        "nbytes": 4,
    }
    fp8["tensors"].append(scale)
    manifest = Manifest.model_validate(document)

    hub = read(Site.HUB, pages(definition, manifest, Site.HUB))
    assert "you use ComfyUI, which reads its scales" in hub
    assert "holds scales: load it in a ComfyUI that knows scaled fp8" in hub


def test_tags_of_one_vocabulary_have_no_second_column(
    gamma: dict[str, Any], manifest: Manifest
) -> None:
    row = {"meaning": "best", "tag": "good"}
    gamma["tag_tables"] = [{"name": "Quality", "order": "one", "rows": [row]}]

    found = pages(Definition.model_validate(gamma), manifest, Site.HUB)["README.md"]

    assert "| Meaning | Tag |\n|---|---|\n| best | `good` |\n" in found


def test_every_template_for_another_site_has_a_use() -> None:
    root = template_root()
    used = {name for pages in sites._TEMPLATES.values() for name in pages.values()}

    found = {path.relative_to(root).as_posix() for path in root.glob("*/*.j2")}

    assert {name for name in found if not name.startswith("card/")} == used
