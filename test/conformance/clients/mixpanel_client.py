"""PyPI mixpanel, with its defaults: everything it can send."""
import json
import sys

from mixpanel import BufferedConsumer, Consumer, Mixpanel, ServiceAccountCredentials

with open(sys.argv[1], encoding="utf-8") as file:
    events = json.load(file)["events"]

account = ServiceAccountCredentials("account", "secret", "7")
mp = Mixpanel("tok", consumer=Consumer(credentials=account))
first, rest = events[0], events[1:]


def send(client, event):
    properties = dict(event["properties"])
    time = properties.pop("time")
    user = properties.pop("distinct_id")
    client.import_data(None, user, event["event"], time, properties)


send(mp, first)
buffered = BufferedConsumer(credentials=account)
for event in rest:
    send(Mixpanel("tok", consumer=buffered), event)
buffered.flush()

mp.track("u1", "Tracked", {"text": ">>>???é"})
for n in (1, 2, 3):
    mp.track("u1", "Batch", {"n": n})

mp.people_set("u1", {"name": "Ann", "gone": 1, "list": ["a"]})
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

mp.group_set("company", "acme", {"plan": "pro", "gone": 1})
mp.group_set_once("company", "acme", {"plan": "free", "since": 2020})
mp.group_union("company", "acme", {"tags": ["a", "b"]})
mp.group_remove("company", "acme", {"tags": "b"})
mp.group_unset("company", "acme", ["gone"])
mp.group_set("company", "old", {"a": 1})
mp.group_delete("company", "old")
