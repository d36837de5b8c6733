"""Free text of a hostile site, and where it comes out again: terminals, logs, pages, tables, databases."""

import asyncio
import json
import secrets
import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from ops.tls.principal import Role
from pipeline.apps.demo import commands
from pipeline.apps.local.settings_file import write_settings
from pipeline.core.packet import PacketDraft, packet_id, seal_packet
from pipeline.core.record import Extending, KpiValue, QualityCode, UnifiedRecord, encode_record
from tests.security.attack import Attack, Run
from tests.security.ground import Ground
from tests.security.test_packets import changed
from tests.support.world import packet_value

pytestmark = [pytest.mark.stack, pytest.mark.security]
# Printable ASCII without space, at most 64 characters: what the formats let through.
TEXTS: Final = {
    "markup of terminals": "[/red][bold][link=file:///etc/passwd]x[/]",
    "a page's script": "<script>alert(1)</script><img/src=x/onerror=a()>",
    "a page's link": "[x](javascript:alert(1))![y](//127.0.0.1/z)",
    "a spreadsheet's formula": '=HYPERLINK("http://127.0.0.1/"&A1,"x")',
    "SQL": "');DROP/**/TABLE/**/observations;--",
    "templates": "%s%n${jndi:ldap://127.0.0.1/x}{{7*7}}{0.__class__}",
}
# What no field may hold at all.
CONTROLS: Final = {
    "a terminal's colours": "\x1b[2J\x1b]0;owned\x07",
    "a second log line": 'x\n{"event":"admin_login"}',
    "text from right to left": "\u202egnp.exe",
    "the end of a string": "a\x00b",
}
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "tail packets": ("tail", "packets", "-n", "1000"),
    "tail observations": ("tail", "observations", "-n", "1000"),
    "tail rejected": ("tail", "rejected", "-n", "1000"),
    "tail blocks": ("tail", "blocks", "-n", "50"),
    "tail as JSON": ("tail", "observations", "-n", "1000", "--json"),
    "assess": ("assess",),
}


def spoken(ground: Ground, text: str, *, module: str | None = None) -> bytes:
    """Return a packet whose every free text is ``text``, in clear and sealed."""
    site, now = ground.hostile, ground.now_ms()
    value = KpiValue("LOCAL:TRAFFIC_SPEED", text, 1, 0, "HM")
    record = UnifiedRecord(site.name, now, (value,), Extending(text, QualityCode.NOT_TRACEABLE, text))
    place = (module or text, site.sequence + 1, site.previous, now, now, site.suite)
    raw = seal_packet(
        PacketDraft(site.chain, site.name, *place),
        [encode_record(record)],
        [site.platform_key.public],
        site.signer,
        seed=secrets.token_bytes(32),
        content_key=secrets.token_bytes(32),
    )
    site.sequence, site.previous = site.sequence + 1, packet_id(raw)
    return packet_value(raw)


def said_by_the_module(text: str) -> Run:
    """A control character in a clear field."""

    async def run(ground: Ground) -> str:
        value = changed(ground, module_id=text)
        await ground.as_site(value)
        return await ground.fates.of(value)

    return run


def sealed_in_a_record(text: str, *, module: str | None = None) -> Run:
    async def run(ground: Ground) -> str:
        value = spoken(ground, text, module=module)
        await ground.as_site(value)
        return await ground.stored(value[5:])

    return run


def harmless(text: str) -> str:
    """Return what could disturb a terminal or begin a line of its own, by name."""
    found = {unicodedata.category(letter) for letter in text if letter != "\n"} & {"Cc", "Cf", "Zl", "Zp"}
    return f"shows {', '.join(sorted(found))}" if found else "shown as text"


def settings_for(ground: Ground, name: str) -> Path:
    """Return settings of somebody who may see what the command shows."""
    if name == "assess":
        return ground.deployment.settings_file
    role = Role.VALIDATOR if "packets" in name else Role.AUDITOR
    role = Role.ANALYST if "observations" in COMMANDS[name] else role
    table = {"data_dir": ground.deployment.data_dir, "genesis": ground.deployment.chain.genesis_file}
    return write_settings(
        ground.deployment.data_dir / "settings" / f"see-{role}.toml",
        {**table, "kafka": ground.deployment.kafka_table(role, "attacks")},
    )


def printed(name: str) -> Run:
    """After all these texts were stored: what the command prints, to a pipe."""

    async def run(ground: Ground) -> str:
        settings = settings_for(ground, name)
        answer = await asyncio.to_thread(commands.bkdms, settings, *COMMANDS[name])
        if answer.code != 0 or "Traceback" in answer.talk:
            return f"exit {answer.code}: {answer.talk[-200:]}"
        return harmless(answer.text + answer.talk)

    return run


async def traced(ground: Ground) -> str:
    """The tracing code of each packet that says something."""
    for text in TEXTS.values():
        ((code,),) = ground.query("SELECT tracing_code FROM observations WHERE sensor = :text", text=text)[:1]
        answer = await asyncio.to_thread(commands.bkdms, ground.deployment.settings_file, "trace", code)
        if answer.code != 0 or text not in answer.text or harmless(answer.text) != "shown as text":
            return f"exit {answer.code}: {answer.talk[-200:]}"
    return "shown as text"


async def stored_as_it_is(ground: Ground) -> str:
    rows = ground.query("SELECT DISTINCT sensor, source, data_point FROM observations")
    wrong = [text for text in TEXTS.values() if (text, text, text) not in rows]
    return f"differs: {wrong}" if wrong else "stored as text"


async def logs(ground: Ground) -> str:
    """Each line of our programs is one event of theirs, and none of these texts is in it."""
    programs = {program.name for program in ground.deployment.programs()}
    for file in ground.deployment.stack.log_dir.glob("*.log"):
        text = file.read_text("utf-8", "replace")
        if "\x1b" in text or any(word in text for word in (*TEXTS.values(), "admin_login")):
            return f"{file.name} has it"
        lines = text.splitlines() if file.stem in programs else []
        if any("event" not in json.loads(line) for line in lines if line.startswith("{")):
            return f"{file.name} has a line of its own"
    return "nothing"


ATTACKS: Final = [
    *(
        Attack(f"{name} in a clear field", "DST-1", "out_of_range", said_by_the_module(text))
        for name, text in CONTROLS.items()
    ),
    *(
        Attack(
            f"{name} sealed in a record",
            "DST-1",
            "mismatch: bad_record",
            sealed_in_a_record(text, module="m"),
        )
        for name, text in CONTROLS.items()
    ),
    *(
        Attack(f"{name} in every text", "DST-1", "ok", sealed_in_a_record(text))
        for name, text in TEXTS.items()
    ),
    Attack("all these texts in the store", "DST-1", "stored as text", stored_as_it_is),
    *(Attack(f"all these texts in `{name}`", "DST-1", "shown as text", printed(name)) for name in COMMANDS),
    Attack("all these texts in `trace`", "DST-1", "shown as text", traced),
    Attack("all these texts in log files", "DST-1", "nothing", logs),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_text_that_must_stay_text(attack: Attack, see: Callable[[Attack], Awaitable[str]]) -> None:
    assert await see(attack) == attack.expected
