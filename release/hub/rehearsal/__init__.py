"""An embedded Hub on loopback that the unmodified huggingface_hub client talks to.

It makes a rehearsal possible: the whole publish, without an account and without the
network, and tests of what happens when the Hub misbehaves.

Imitated, as huggingface_hub 2.4.0 uses it:
    accounts (whoami, auth-check; write, read-only, expired and scoped tokens),
    repositories (create, delete, info, visibility, gating), branches, tags, history,
    super-squash, trees and paths-info with paging, preupload with `.gitignore`, LFS
    uploads in one piece and in parts, commits with `parentCommit`, opening a pull
    request by a commit, card validation, downloads with ranges. Models only.

Not imitated:
    Xet (put the client into LFS mode: `constants.HF_HUB_DISABLE_XET = True`), datasets
    and Spaces, discussions and merging of pull requests, renaming, deleting single LFS
    objects, copying between repositories, redirects to a storage host, rate limits,
    limits on commits and repositories. The real Hub's rules for cards and for what is a
    large file are not published: here a card must be YAML, and a file is large by name,
    above 10 MiB, or with a NUL byte in its first 512.

Storage is plain: a bare git repository per repository (`git log`, `git clone` work on
it), its large files beside it under their SHA-256. Starlette, uvicorn and dulwich come
with the extra `rehearse` and are imported when a Hub starts.
"""

from release.hub.rehearsal.accounts import Account, default_accounts
from release.hub.rehearsal.faults import Fault, Faults
from release.hub.rehearsal.limits import Limits
from release.hub.rehearsal.log import Exchange
from release.hub.rehearsal.server import RehearsalHub

__all__ = [
    "Account",
    "Exchange",
    "Fault",
    "Faults",
    "Limits",
    "RehearsalHub",
    "default_accounts",
]
