"""A file and the claim that it does not fulfil: what all answers about it have."""

from dataclasses import dataclass

from release.claims.claim import Claim
from release.verify.compare import compare
from release.verify.damage import Damage, Whole
from release.verify.examine import Examination
from release.verify.report import FileVerdict, Verdict
from release.verify.trust import Compared, Reached


@dataclass(frozen=True, slots=True)
class Unfulfilled:
    """A file and the claim that it does not fulfil.

    Attributes:
        name: What the report calls the file.
        examined: What was read of it; still open, and read further where that helps.
        claim: What it should be.
        own: What its own header says.
    """

    name: str
    examined: Examination
    claim: Claim
    own: Claim | None

    def verdict(
        self,
        verdict: Verdict,
        detail: str,
        *,
        tensors: tuple[str, ...] = (),
        damage: Damage | None = None,
        whole: Whole | None = None,
        compared: Compared | None = None,
    ) -> FileVerdict:
        """Return an answer; the arguments are those of `FileVerdict`.

        `compared` is what was; if not given, what a comparison of the two says.
        """
        how = compared or compare(self.examined, self.claim).compared
        return FileVerdict(
            self.name,
            verdict,
            detail,
            self.examined.nbytes,
            self.examined.path,
            variant=self.claim.variant,
            release=self.claim.release,
            tensors=tensors,
            reached=Reached(self.claim.source, how),
            damage=damage,
            whole=whole,
        )
