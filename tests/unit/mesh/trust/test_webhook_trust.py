"""A rotation in any order of arrival, and what a controller does about every damage."""

import base64
import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.mesh.contract import ROTATE_ANNOTATION, ROTATED_ANNOTATION, WEBHOOK_SERVICE, dns_names
from lab.mesh.trust import webhook_identity as identities
from lab.mesh.trust import webhook_plan
from lab.mesh.trust.webhook_identity import Identity
from lab.mesh.trust.webhook_plan import Action, TrustChange, plan
from tests.unit import handshake

NOW = datetime.datetime.now(datetime.UTC)
NAME = dns_names(WEBHOOK_SERVICE)[0]


def later(days: float) -> datetime.datetime:
    return NOW + datetime.timedelta(days=days)


def verifies(bundle: str, serving: Identity, folder: Path) -> bool:
    """Whether a client with this bundle takes that certificate."""
    pair = folder / "pair.pem"
    pair.write_text(serving.chain + serving.key)
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mine.load_cert_chain(pair)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.load_verify_locations(cadata=bundle)
    try:
        return handshake.shown(mine, theirs, NAME) == serving.leaf
    except ssl.SSLCertVerificationError:
        return False


def test_in_a_rotation_every_certificate_fits_every_bundle(tmp_path: Path) -> None:
    before = identities.made(NOW)
    during = identities.rotated(before, later(0.001))
    after = identities.settled(during)
    for bundle in (before.bundle, during.bundle):
        for serving in (before, during):
            assert verifies(bundle, serving, tmp_path)
    assert verifies(after.bundle, after, tmp_path)
    assert not verifies(after.bundle, before, tmp_path)
    assert not verifies(identities.made(NOW).bundle, after, tmp_path)


def test_a_client_that_is_four_rotations_back_still_verifies_and_five_back_does_not(
    tmp_path: Path,
) -> None:
    ages = [identities.made(NOW)]
    for _ in range(identities.CROSS_SIGNED + 1):
        ages.append(identities.settled(identities.rotated(ages[-1], NOW)))
    fits = [verifies(one.bundle, ages[-1], tmp_path) for one in ages]
    assert fits == [False, *[True] * (identities.CROSS_SIGNED + 1)]


def test_what_is_written_is_read_back() -> None:
    identity = identities.rotated(identities.made(NOW), NOW)
    assert identities.read(identities.data(identity)) == identity
    assert "previous.crt" not in identities.data(identities.settled(identity))


def hook(bundle: str | None, service: str = WEBHOOK_SERVICE) -> dict[str, Any]:
    client: dict[str, Any] = {"service": {"namespace": "sidecar-lab", "name": service}}
    if bundle is not None:
        client["caBundle"] = base64.b64encode(bundle.encode()).decode()
    return {"name": f"{service}.x", "clientConfig": client}


def configured(*hooks: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "7"}, "webhooks": list(hooks)}


def secret(identity: Identity, **notes: str) -> dict[str, Any]:
    made = webhook_plan.secret_of(identity, None, None, WEBHOOK_SERVICE)
    made["metadata"] |= {"resourceVersion": "3", "annotations": notes}
    return made


SOUND = identities.made(NOW)
OTHER = identities.made(NOW)
ASKED = {ROTATE_ANNOTATION: "a"}


def test_where_all_is_well_nothing_is_done() -> None:
    todo = plan(secret(SOUND), configured(hook(SOUND.bundle)), None, NOW)
    assert todo == TrustChange(SOUND, Action.NONE, "", ())


@pytest.mark.parametrize("bundle", [None, "", "junk", OTHER.bundle])
def test_a_wiped_or_foreign_bundle_is_written_again_and_only_where_it_is_ours(
    bundle: str | None,
) -> None:
    hooks = (hook(bundle), hook("", "another"), {"name": "u", "clientConfig": {"url": "https://x"}})
    todo = plan(secret(SOUND), configured(*hooks), SOUND, NOW)
    assert (todo.action, todo.wrong_entries) == (Action.NONE, ("sidecar-lab-webhook.x",))


def test_a_lost_secret_is_put_back_as_it_was() -> None:
    todo = plan(None, configured(hook(SOUND.bundle)), SOUND, NOW)
    assert todo == TrustChange(SOUND, Action.PUT_BACK, "there is none", ())


def test_from_nothing_the_old_bundle_is_kept_until_the_new_identity_is_served() -> None:
    todo = plan(None, configured(hook(OTHER.bundle)), None, NOW)
    assert (todo.action, todo.reason) == (Action.MADE, "there is none")
    assert todo.bundle_first
    assert todo.identity.previous == OTHER.bundle
    assert identities.problem(todo.identity, NOW) == ""


@pytest.mark.parametrize(
    ("action", "bundle_first"),
    [
        (Action.NONE, False),
        (Action.MADE, True),
        (Action.PUT_BACK, False),
        (Action.ROTATED, False),
        (Action.SETTLED, False),
    ],
)
def test_only_for_a_new_identity_the_bundle_is_written_before_the_secret(
    action: Action, bundle_first: bool
) -> None:
    for reason in ("", "made", "made: there is none"):
        assert TrustChange(SOUND, action, reason, ()).bundle_first is bundle_first


def spoilt(change: Callable[[dict[str, str]], object]) -> dict[str, Any]:
    item = secret(SOUND)
    change(item["data"])
    return item


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (spoilt(lambda data: data.pop("tls.key")), "there is none"),
        (spoilt(lambda data: data.update({"tls.crt": "%%"})), "there is none"),
        (spoilt(lambda data: data.update({"tls.key": ""})), "tls.crt and tls.key are no pair"),
        (
            spoilt(lambda data: data.update({"ca.key": identities.data(OTHER)["ca.key"]})),
            "ca.crt and ca.key are no pair",
        ),
        (
            spoilt(
                lambda data: data.update(
                    {key: identities.data(OTHER)[key] for key in ("tls.crt", "tls.key")}
                )
            ),
            "tls.crt was not issued by ca.crt for the webhook's names",
        ),
    ],
)
def test_a_damaged_secret_is_named_and_put_back(item: dict[str, Any], reason: str) -> None:
    todo = plan(item, None, SOUND, NOW)
    assert (todo.identity, todo.action, todo.reason) == (SOUND, Action.PUT_BACK, reason)


def test_what_expired_while_nobody_looked_is_made_anew() -> None:
    todo = plan(secret(SOUND), None, SOUND, later(400))
    assert (todo.action, todo.reason) == (Action.MADE, "tls.crt is not valid now")


def test_a_certificate_near_its_end_is_rotated_before_it_ends() -> None:
    assert plan(secret(SOUND), None, SOUND, later(330)).action is Action.NONE
    todo = plan(secret(SOUND), None, SOUND, later(340))
    assert (todo.action, todo.reason) == (Action.ROTATED, "near its end")
    assert identities.due(todo.identity, later(340)) is False


def test_a_rotation_is_answered_once_and_waits_for_the_one_before() -> None:
    item = secret(SOUND, **ASKED)
    todo = plan(item, None, SOUND, NOW)
    assert (todo.action, todo.reason, todo.rotation) == (Action.ROTATED, "asked for", "a")
    written = webhook_plan.secret_of(todo.identity, item, todo.rotation, WEBHOOK_SERVICE)
    assert written["metadata"]["annotations"] == {**ASKED, ROTATED_ANNOTATION: "a"}
    assert written["metadata"]["resourceVersion"] == "3"
    assert plan(written, None, None, NOW).action is Action.NONE
    written["metadata"]["annotations"][ROTATE_ANNOTATION] = "b"
    assert plan(written, None, None, NOW).action is Action.NONE
    settled = secret(identities.settled(todo.identity), **ASKED)
    assert plan(settled, None, None, NOW).rotation == "a"


@settings(max_examples=150, deadline=None)
@given(
    st.none() | st.dictionaries(
        st.sampled_from(["tls.crt", "tls.key", "ca.crt", "ca.key", "previous.crt"]),
        st.text(max_size=8) | st.sampled_from([*identities.data(SOUND).values(), *"=A"]),
    ),
    st.none() | st.lists(st.sampled_from([None, "", "junk", SOUND.bundle, OTHER.bundle])),
)  # fmt: skip
def test_whatever_is_found_one_plan_leads_to_a_sound_state(
    data: dict[str, str] | None, bundles: list[str | None] | None
) -> None:
    item = None if data is None else secret(SOUND) | {"data": data}
    config = None if bundles is None else configured(*map(hook, bundles))
    todo = plan(item, config, None, NOW)
    assert identities.problem(todo.identity, NOW) == ""
    after = webhook_plan.secret_of(todo.identity, item, todo.rotation, WEBHOOK_SERVICE)
    mended = config and configured(*(hook(todo.identity.bundle) for _ in config["webhooks"]))
    again = plan(after, mended, todo.identity, NOW)
    assert (again.action, again.wrong_entries) == (Action.NONE, ())
