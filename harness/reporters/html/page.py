"""The page: its head, the first screen, and the sections of each profile."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Sequence

from harness.analysis.comparing.report import Compared
from harness.records import Profile
from harness.reporters.html import (
    callers,
    facts,
    findings,
    latency,
    operators,
    over_time,
    roofline,
    stacks,
    timeline,
)
from harness.reporters.html.answers import answers
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, foreign, join, moment
from harness.reporters.html.side_by_side import side_by_side
from harness.reporters.wording import place
from harness.version import __version__


def page(profiles: Sequence[Profile], comparisons: Sequence[Compared] = ()) -> str:
    """The whole file.

    Args:
        profiles: one or more; of several the first is the base.
        comparisons: of each except the first against the first; empty if none was made.
    """
    if comparisons and len(comparisons) != len(profiles) - 1:
        msg = f"{len(profiles)} profiles need {len(profiles) - 1} comparisons"
        raise ValueError(msg)
    several = len(profiles) > 1
    digests = [
        Digest.of(profile, f"p{number}-" if several else "")
        for number, profile in enumerate(profiles, 1)
    ]
    names = " · ".join(dict.fromkeys(profile.model.name for profile in profiles))
    body: list[Content] = [element("a", "Skip to the figures", href="#main", class_="skip")]
    if several:
        body.append(element("header", element("h1", f"{len(profiles)} profiles side by side")))
        main: list[Content] = [side_by_side(digests, comparisons)]
        main += [
            element("article", _title(one, number), _profile(one), id=f"{one.anchor}top")
            for number, one in enumerate(digests, 1)
        ]
    else:
        body.append(element("header", _title(digests[0])))
        main = [answers(digests[0]), _profile(digests[0])]
    return document(names, [*body, element("main", main, id="main")])


def document(title: str, body: Sequence[Content]) -> str:
    """A whole file: head, styles, script, and the footer below the body.

    Args:
        title: of the window.
        body: what stands above the footer.
    """
    script, style = _resource("page.js"), _resource("page.css")
    footer = element(
        "footer",
        f"Made by harness {__version__}. This page loads nothing from elsewhere. "
        "What could not be measured is absent, with the reason.",
    )
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        # Without it a browser would ask the server for an icon.
        element("link", rel="icon", href="data:,"),
        element("title", f"{title[:200]} – harness"),
        element("style", Markup(style)),
    ]
    return "<!doctype html>\n" + element(
        "html",
        element("head", head),
        element("body", body, footer, element("script", Markup(script))),
        lang="en",
    )


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _title(digest: Digest, number: int | None = None) -> Markup:
    profile = digest.profile
    told: list[Content] = [f"on {place(profile)}"]
    told.append(f", {digest.threads}" if digest.threads else "")
    told.append([" · ", moment(profile.created)])
    if profile.path is not None:
        told.append([" · ", foreign(profile.path.name, 60)])
    name = foreign(profile.model.name, 80)
    first = f"{number}. " if number is not None else None
    return join(
        [
            element("h2" if number is not None else "h1", first, name),
            element("p", told, class_="sub"),
        ]
    )


def _profile(digest: Digest) -> Markup:
    """The sections of one profile, and links to them."""
    sections: list[tuple[str, str, str, list[Content]]] = [
        ("findings", "Findings", "What an expert would point out, and what to try next.",
         [findings.findings(digest)]),
        ("callers", "Side by side", "What each did in the window that all share.",
         [callers.side_by_side(digest)]),
        ("latency", "Latency", "Every sample of the timed passes.",
         [latency.distribution(digest), latency.processes(digest)]),
        ("time", "Over time", "Latency and what the machine did at the same time, on one axis.",
         [over_time.over_time(digest)]),
        ("cold", "Cold start", "What happens once.", [latency.cold_start(digest)]),
        ("operators", "Operators", "Where an inference spends its time.",
         [operators.accounts(digest), operators.tables(digest)]),
        ("map", "Map of the time", "", [operators.treemap(digest)]),
        ("roofline", "Roofline", "How close each node comes to the limits of this machine.",
         [roofline.roofline(digest)]),
        ("timeline", "One inference", "A typical one, node by node.",
         [timeline.timeline(digest)]),
        ("memory", "Memory", "What ORT held during one inference.", [timeline.memory(digest)]),
        ("stacks", "Stacks", "Where a worker was seen in its timing loop.",
         [stacks.stacks(digest)]),
        ("facts", "Facts", "Everything else that was recorded, and how it was obtained.",
         [facts.model(digest), facts.inputs(digest), facts.recorded(digest)]),
        ("absent", "Absent", "What could not be measured, and why.", [facts.absent(digest)]),
    ]  # fmt: skip
    kept = [(name, title, lead, content) for name, title, lead, content in sections if any(content)]
    links = [element("a", title, href=f"#{digest.anchor}{name}") for name, title, _, _ in kept]
    return join(
        [
            element("nav", links, aria_label="sections"),
            [
                element(
                    "section",
                    element("h2", title),
                    element("p", lead, class_="lead") if lead else None,
                    content,
                    id=f"{digest.anchor}{name}",
                )
                for name, title, lead, content in kept
            ],
        ]
    )
