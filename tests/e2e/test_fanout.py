"""`examples/csv-fanout` as its README runs it: every row ends once in the results or, poisoned, in the dead-letter queue."""

import json
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[2] / "examples" / "csv-fanout" / "run.py"
ROWS, FAILS_EVERY = 3_000, 250


def test_l1_l15_a_file_fans_out_and_each_row_is_accounted_for(server):
    command = [sys.executable, RUN, "--rows", str(ROWS), "--fails-every", str(FAILS_EVERY), "--visibility-s", "10"]
    ran = subprocess.run(command, env=server.client_env(), capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, (ran.stdout, ran.stderr)
    report = json.loads(ran.stdout)
    poisoned = ROWS // FAILS_EVERY
    assert (report["exact"], report["results"], report["dead_letters"]) == (True, ROWS - poisoned, poisoned)
    # One trace from the upload to the last worker, and a price for all of it.
    assert report["spans"] > report["invocations"] > 2 and report["cost_usd"] > 0
