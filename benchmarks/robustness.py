"""What becomes of damaged files and of work that is cut off: readers × damage, and operations × faults.

    python benchmarks/robustness.py [--quick] [--json FILE]

Readers: at least 300 damaged files each, in a worker process; see robustness_readers.py for the classes. Operations:
kills of the whole and of a worker, a full disk, a read-only folder, two processes on one target, no writable home; see
robustness_operations.py. Exits 1 where anything was bare, hung, died, was taken for good or lost.
"""

import argparse
import json
import sys
from pathlib import Path

from verdict import machine, print_machine, verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the damaged files, one fault an operation")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print_machine(machine())
    import robustness_readers

    readers = robustness_readers.rows(arguments.quick)
    import robustness_operations

    operations = robustness_operations.rows(arguments.quick)
    totals = {c: sum(row[c] for row in readers) for c in robustness_readers.FAULTS}
    lines = [
        (f"readers: {c}, of {sum(row['inputs'] for row in readers)}", float(n), "≤", 0.0) for c, n in totals.items()
    ]
    tried = sum(row["tried"] for row in operations)
    lines.append((f"operations: lost, of {tried}", float(sum(row["lost"] for row in operations)), "≤", 0.0))
    if arguments.json:
        text = {"machine": machine(), "readers": readers, "operations": operations}
        arguments.json.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if verdict(lines) else 1


if __name__ == "__main__":
    sys.exit(main())
