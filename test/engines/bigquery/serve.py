"""Starts bqemulator. Most of its time goes to translating statements: what was translated once is remembered."""

import os
import sys
import threading
import time

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

parent = os.getppid()


def end_with_parent():
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


threading.Thread(target=end_with_parent, daemon=True).start()

main(["start", "--rest-port", sys.argv[1], "--grpc-port", sys.argv[2], "--ephemeral", "--log-level", "error"])
