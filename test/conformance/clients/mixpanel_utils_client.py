"""PyPI mixpanel-utils, with its defaults: every method that it has."""
import json
import logging
import os
import sys

from covered import Covered
from mixpanel_utils import MixpanelUtils

with open(sys.argv[1], encoding="utf-8") as file:
    given = json.load(file)


class Log(logging.Handler):
    """Keeps what the client says: it raises little."""

    lines = []

    def emit(self, record):
        Log.lines.append(record.getMessage())


MixpanelUtils.LOGGER.addHandler(Log())
by_account = {"token": "tok", "service_account_username": "account", "project_id": 7}
utils = Covered(MixpanelUtils("secret", **by_account))
events, rest = given["events"][:100], given["events"][100:]
utils.import_events(events, 0)
with open("rest.json", "w", encoding="utf-8") as file:
    json.dump(rest, file)
MixpanelUtils("sec", token="tok").import_events("rest.json", 0)
utils.import_people(given["profiles"], ignore_alias=True)
utils.people_set({"all": True})
utils.people_unset(["gone"], query_params={"where": 'properties["n"] > 2'})
utils.people_delete(query_params={"distinct_id": given["deleted"]})
days = {"from_date": "2026-01-01", "to_date": "2026-01-03"}
read = {
    "events": utils.query_export(dict(days), add_gzip_header=True),
    "profiles": utils.query_engage(),
}

one = [{"$distinct_id": "one"}]
utils.people_operation("$set", {"n": 1}, profiles=one)
utils.people_set_once({"n": 2, "once": True}, profiles=one)
utils.people_add({"n": 10}, profiles=one)
for _ in range(2):
    utils.people_append({"list": "a", "$transactions": {"$amount": 5}}, profiles=one)
utils.people_union({"list": ["a", "b"]}, query_params={"distinct_id": "one"})
utils.people_remove({"list": "b"}, query_params={"distinct_id": "one"})
utils.people_change_property_name("gone", "renamed")
utils.people_revenue_property_from_transactions()
read["revenue"] = utils.sum_transactions({"$properties": {"$transactions": [{"$amount": 5}]}})
twin = {"$token": "tok", "$ignore_time": True}
utils.import_people(
    [
        {**twin, "$distinct_id": "twin 1", "$set": {"$email": "A@x", "a": 1}},
        {**twin, "$distinct_id": "twin 2", "$set": {"$email": "a@x", "b": 2}},
    ],
    raw_record_import=True,
)
utils.deduplicate_people(merge_props=True)

utils.export_events("events.json", dict(days))
utils.export_events("events.csv", dict(days), format="csv", timezone_offset=0)
utils.export_events("raw.json", dict(days), raw_stream=True, add_gzip_header=True)
utils.export_events("day.json", {"from_date": "2026-01-02", "to_date": "2026-01-03"}, request_per_day=True)
utils.export_people("people.csv", {"distinct_id": "one"}, format="csv")
utils.export_data([1], "data.json", compress=True)
read["files"] = {name: os.path.getsize(name) > 0 for name in sorted(os.listdir(".")) if not name.startswith("backup")}
with open("people.csv", encoding="utf-8") as file:
    read["csv"] = file.read().splitlines()
with open("day_2026-01-02.json", encoding="utf-8") as file:
    read["day"] = len(json.load(file))

# What Amplitude answers is not asked for: the half of the client that sends to Mixpanel has it from a folder.
os.mkdir("amplitude")
with open("amplitude/1.json", "w", encoding="utf-8") as file:
    json.dump(given["amplitude"], file)
MixpanelUtils._extract_amplitude_data = lambda *_: "amplitude"
other = Covered(MixpanelUtils("secret", **{**by_account, "project_id": 8, "token": given["other"]}))
Log.lines.clear()
other.import_from_amplitude("key", "secret", "20260101T00", "20260102T00")
other.import_from_amplitude_id_mgmt_v3("key", "secret", "20260101T00", "20260102T00")
read["amplitude"] = [line for line in Log.lines if line.startswith("Response")]


def refused(call, *args, **more):
    """What the client raises, and what it says of the answer."""
    Log.lines.clear()
    try:
        raised = call(*args, **more)
    except TypeError as error:
        raised = str(error)
    return [raised, *(line for line in Log.lines if line.startswith(("HTTP Error", "Response")))]


script = "function main() { return [] }"
read["jql"] = [
    refused(utils.query_jql, script),
    refused(utils.jql_operation, script, "$set"),
    refused(utils.event_counts_to_people, "2026-01-01", ["Event"]),
    refused(utils.query_jql_events, *days.values()),
    refused(utils.query_jql_people),
    refused(utils.export_jql_events, "jql.json", *days.values()),
    refused(utils.export_jql_people, "jql.json"),
]
read["absent"] = {
    "/".join(path): refused(utils.request, utils.raw_api if path[0] == "nessie" else utils.formatted_api, path, {}, how)
    for path, how in [
        (["cohorts", "list"], "POST"),
        (["funnels", "list"], "GET"),
        (["annotations"], "GET"),
        (["engage", "properties"], "GET"),
        (["events", "properties", "top"], "GET"),
        (["retention"], "GET"),
        (["nessie", "pipeline", "jobs"], "GET"),
    ]
}
read["left"] = Covered.left()
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump(read, file)
