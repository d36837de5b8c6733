"""What a comparison with anchors means for an audit: its finding."""

from pipeline.core.anchor_check import AnchorReport
from pipeline.services.audit_report import Finding


def first_finding(found: Finding | None, anchors: AnchorReport, height: int) -> Finding | None:
    """Return what is wrong first: what the audit found, or what the anchors tell of its ``height`` good blocks.

    A history that was rewritten is told from one that ends before an anchor, and anchors of two histories from both.
    """
    divergence = anchors.divergence
    if divergence is not None:
        names = ", ".join(divergence.anchors)
        reason = "anchors_contradict" if divergence.is_contradiction else "rewritten"
        # What was rewritten comes before the block that the audit stopped at, which does not follow the good ones.
        return Finding(names, divergence.first.height, reason, str(divergence))
    if found is None and anchors.beyond:
        last = max(anchors.beyond, key=lambda anchor: anchor.size)
        detail = (
            f"the chain ends at a tree of {anchors.size} leaves, before the {last.size} leaves that were certified;"
            f" of these the trusted files confirm the first {anchors.agreed}"
        )
        return Finding(last.name, height + 1, "cut", detail)
    return found
