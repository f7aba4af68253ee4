"""Starts bqemulator. Most of its time goes to translating statements: what was translated once is remembered."""

import sys

from bqemulator.cli import main
from bqemulator.sql.translator import SQLTranslator

translated = {}
translate = SQLTranslator.translate


def remembered(self, bq_sql, *, schema=None, caller=None, **more):
    key = (bq_sql, repr(schema), repr(caller), repr(more))
    if key not in translated:
        if len(translated) > 2000:
            translated.clear()
        translated[key] = translate(self, bq_sql, schema=schema, caller=caller, **more)
    return translated[key]


SQLTranslator.translate = remembered

main(["start", "--rest-port", sys.argv[1], "--grpc-port", sys.argv[2], "--ephemeral", "--log-level", "error"])
