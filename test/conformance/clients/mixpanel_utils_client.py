"""PyPI mixpanel-utils, with its defaults: import, profiles, and what it reads back."""
import json
import sys

from mixpanel_utils import MixpanelUtils

with open(sys.argv[1], encoding="utf-8") as file:
    given = json.load(file)

utils = MixpanelUtils("secret", token="tok", service_account_username="account", project_id=7)
utils.import_events(given["events"], 0)
utils.import_people(given["profiles"], ignore_alias=True)
utils.people_set({"all": True})
utils.people_unset(["gone"], query_params={"where": 'properties["n"] > 2'})
utils.people_delete(query_params={"distinct_id": given["deleted"]})

days = {"from_date": "2026-01-01", "to_date": "2026-01-03"}
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump(
        {
            "events": utils.query_export(days, add_gzip_header=True),
            "profiles": utils.query_engage(),
        },
        file,
    )
