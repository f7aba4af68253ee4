"""PyPI mixpanel, with its defaults: every method that it has."""
import asyncio
import json
import logging
import sys

from covered import Covered
from mixpanel import (
    BufferedConsumer,
    Consumer,
    Mixpanel,
    MixpanelException,
    ServiceAccountCredentials,
)
from mixpanel.flags.types import LocalFlagsConfig, RemoteFlagsConfig, SelectedVariant

with open(sys.argv[1], encoding="utf-8") as file:
    events = json.load(file)["events"]

account = ServiceAccountCredentials("account", "secret", "7")
flags_too = {
    "credentials": account,
    "local_flags_config": LocalFlagsConfig(enable_polling=False),
    "remote_flags_config": RemoteFlagsConfig(),
}
mp = Covered(Mixpanel("tok", **flags_too))
first, second, rest = events[0], events[1], events[2:]


def send(client, event, **more):
    properties = dict(event["properties"])
    time = properties.pop("time")
    user = properties.pop("distinct_id")
    client.import_data(more.pop("api_key", None), user, event["event"], time, properties, **more)


send(mp, first)
logging.disable(logging.WARNING)
send(Mixpanel("tok"), second, api_key="sec", api_secret="sec")
buffered = Covered(BufferedConsumer(credentials=account))
for event in rest:
    send(Mixpanel("tok", consumer=buffered), event)
through = Mixpanel("tok", consumer=buffered)
through.track("u1", "Batch", {"n": 2})
through.people_set("another u1", {"own": True})
through.group_set("company", "acme", {"generic": 1})
buffered.flush()

mp.track("u1", "Tracked", {"text": ">>>???é"})
mp.track("u1", "Batch", {"n": 1})
consumer = Covered(Consumer())
consumer.send("events", json.dumps({"event": "Batch", "properties": {"token": "tok", "distinct_id": "u1", "n": 3}}))
mp.alias("another u1", "u1")
try:
    mp.merge(None, "u1", "u2")
    merged = "no error"
except MixpanelException as error:
    merged = str(error)
try:
    mp.people_set("u1", {"not JSON": float("nan")})
    unread = "no error"
except MixpanelException as error:
    unread = str(error)

mp.people_set("u1", {"name": "Ann", "gone": 1, "list": ["a"]})
mp.people_update({"$distinct_id": "u1", "$set": {"generic": 1}})
mp.people_set_once("u1", {"name": "Bob", "first": "kept"})
mp.people_increment("u1", {"n": 2})
mp.people_increment("u1", {"n": 3})
mp.people_append("u1", {"list": "a"})
mp.people_union("u1", {"list": ["a", "b"]})
mp.people_remove("u1", {"list": "b"})
mp.people_unset("u1", ["gone"])
mp.people_track_charge("u1", 9.5, {"$time": "2026-01-02T00:00:00"})
mp.people_set("u2", {"name": "Gone"})
mp.people_delete("u2")
quiet = {"$ignore_time": True, "$ip": "0"}
mp.people_set("u3", {"kept": 1}, meta=quiet)
mp.people_track_charge("u3", 1, meta=quiet)
mp.people_clear_charges("u3", meta=quiet)

mp.group_update({"$group_key": "company", "$group_id": "acme", "$set": {"plan": "pro", "gone": 1}})
mp.group_set_once("company", "acme", {"plan": "free", "since": 2020})
mp.group_union("company", "acme", {"tags": ["a", "b"]})
mp.group_remove("company", "acme", {"tags": "b"})
mp.group_unset("company", "acme", ["gone"])
mp.group_set("company", "old", {"a": 1})
mp.group_delete("company", "old")

logging.disable(logging.CRITICAL)
context = {"distinct_id": "u1"}
mine = SelectedVariant(variant_value="mine")
local, remote = Covered(mp.local_flags), Covered(mp.remote_flags)
local.start_polling_for_definitions()
local.stop_polling_for_definitions()
local.track_exposure_event("flag", SelectedVariant(variant_value=1, variant_key="on"), context)
remote.track_exposure_event("flag", SelectedVariant(variant_value=1, variant_key="on"), context)


def reason(variant):
    return [variant.variant_value, variant.fallback_reason.kind, variant.fallback_reason.message]


async def ask():
    async with Mixpanel("tok", **flags_too) as client:
        local, remote = Covered(client.local_flags), Covered(client.remote_flags)
        await local.astart_polling_for_definitions()
        await local.astop_polling_for_definitions()
        await remote.atrack_exposure_event("flag", SelectedVariant(variant_value=1, variant_key="on"), context)
        return [
            await remote.aget_all_variants(context),
            reason(await remote.aget_variant("flag", mine, context)),
            await remote.aget_variant_value("flag", "mine", context),
            await remote.ais_enabled("flag", context),
        ]


flags = {
    "local": [
        local.are_flags_ready(),
        local.get_all_variants(context),
        reason(local.get_variant("flag", mine, context)),
        local.get_variant_value("flag", "mine", context),
        local.is_enabled("flag", context),
    ],
    "remote": [
        remote.get_all_variants(context),
        reason(remote.get_variant("flag", mine, context)),
        remote.get_variant_value("flag", "mine", context),
        remote.is_enabled("flag", context),
    ],
    "awaited": asyncio.run(ask()),
}
local.shutdown()
remote.shutdown()

with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump({"left": Covered.left(), "merged": merged, "unread": unread, "flags": flags}, file)
