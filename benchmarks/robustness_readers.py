"""Readers × damage: what becomes of damaged files; part of robustness.py, which prints it.

    python benchmarks/robustness_readers.py [--quick] [--only NAME,NAME] [--show CLASS] [--json FILE]

Each damaged file is read in a worker process. What comes back is one of CLASSES:

    same     the undamaged value, for example where only a comment was hit
    refused  a sentence of ours: what was got, with the file's name, and what to do; for a table, a row with its reason
    bare     another library's error
    hang     more than 20 s of CPU
    died     the process ended
    taken    another value, where the format lets one see the damage: a checksum, a count, a number that is not finite
    unseen   another value that nothing in the file contradicts, such as another digit in a text
"""

import argparse
import json
import os
import random
import re
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

CLASSES = ("same", "refused", "bare", "hang", "died", "taken", "unseen")
FAULTS = ("bare", "hang", "died", "taken")
LIMIT = 20.0
"""Seconds of CPU."""

WALL = 90.0
"""Seconds, for what waits without working; workers share the machine with others."""

COUNTS = {
    "bytes": 60, "bits": 60, "truncated": 40, "deleted": 30, "doubled": 30, "nan": 15, "inf": 15, "1e400": 15,
    "swapped": 15, "zeroed": 20, "kind": 10, "crlf": 1, "bom": 1, "gz": 1, "xz": 1, "empty": 2,
}  # fmt: skip
"""Inputs a reader: 316."""

KINDS = (
    b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
    b'{"a": [1, 2, {"b": null}]}',
    b"a: &x [1, 2]\nb: *x\n",
    b"PK\x05\x06" + bytes(18),
    b"SQLite format 3\x00" + bytes(500),
    b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n",
    b"\x7fELF\x02\x01\x01" + bytes(60),
    random.Random(0).randbytes(2000),
    "Übergröße: 3,5 Å\n".encode("latin-1") * 20,
)


def damaged(data: bytes, damage: str, seed: int, text: bool) -> bytes:
    """Damage bytes in one way; the same seed gives the same damage."""
    import gzip
    import lzma

    draw = random.Random(f"{damage} {seed}")
    place = draw.randrange(len(data))
    whole = {
        "kind": KINDS[seed % len(KINDS)], "empty": (b"", b"\n")[seed % 2], "bom": b"\xef\xbb\xbf" + data,
        "crlf": data.replace(b"\n", b"\r\n"), "truncated": data[:place],
    }  # fmt: skip
    if damage in whole:
        return whole[damage]
    if damage in ("gz", "xz"):
        return (gzip.compress if damage == "gz" else lzma.compress)(data)
    out = bytearray(data)
    if damage == "bytes":
        for _ in range(draw.choice((1, 1, 3, 20))):
            out[draw.randrange(len(out))] = draw.randrange(256)
    elif damage == "bits":
        for _ in range(draw.choice((1, 1, 2))):
            out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    elif damage == "zeroed":
        size = draw.choice((4, 64, 512, 4096))
        out[place : place + size] = bytes(len(out[place : place + size]))
    elif text:
        return _text(bytes(data), damage, draw)
    else:
        _binary(out, damage, draw)
    return bytes(out)


def _text(data: bytes, damage: str, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    k = draw.randrange(max(1, len(lines) - 1))
    if damage == "deleted":
        del lines[k]
    elif damage == "doubled":
        lines.insert(k, lines[k])
    elif damage == "swapped":
        many = [n for n, line in enumerate(lines) if len(line.split()) > 1] or [0]
        k = draw.choice(many)
        fields = re.split(rb"(\s+)", lines[k])
        places = [n for n, field in enumerate(fields) if field.strip()]
        if len(places) > 1:
            a, b = draw.sample(places, 2)
            fields[a], fields[b] = fields[b], fields[a]
        lines[k] = b"".join(fields)
    else:
        numbers = [m.span() for m in re.finditer(rb"(?<![\w.])-?\d+\.?\d*(?:[eE][-+]?\d+)?(?![\w.])", data)]
        a, b = draw.choice(numbers or [(0, 0)])
        return data[:a] + damage.encode() + data[b:]
    return b"\n".join(lines)


def _binary(out: bytearray, damage: str, draw: random.Random) -> None:
    import struct

    place = 8 * draw.randrange(max(1, len(out) // 8 - 2))
    block = bytes(out[place : place + 16])
    if damage == "deleted":
        del out[place : place + 16]
    elif damage == "doubled":
        out[place:place] = block
    elif damage == "swapped":
        out[place : place + 16] = block[8:] + block[:8]
    else:
        value = float(damage)
        form = draw.choice("fd")
        packed = struct.pack(f"<{form}", value)
        out[place : place + len(packed)] = packed


class Worker:
    """One process that reads; started anew when it hangs or dies."""

    def __init__(self, script: Path):
        self.script, self.process = script, None

    def ask(self, question: dict, cpu: float = LIMIT, wall: float = WALL) -> dict:
        if self.process is None:
            command = [sys.executable, str(self.script), "--worker"]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        begun, spent = time.monotonic(), self._cpu()
        while True:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                line = self.process.stdout.readline()
                if line:
                    return json.loads(line)
                code = self.process.wait()
                self.process = None
                return {"class": "died", "message": f"exit code {code}"}
            if self._cpu() - spent > cpu or time.monotonic() - begun > wall:
                self.close()
                return {"class": "hang", "message": f"more than {cpu:.0f} s of CPU or {wall:.0f} s"}

    def _cpu(self) -> float:
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def plan(quick: bool) -> list[tuple[str, int]]:
    """The damages and their seeds."""
    return [(name, k) for name, n in COUNTS.items() for k in range(max(1, n // 10) if quick else n)]


def rows(quick: bool = False, only: tuple[str, ...] = (), show: str = "") -> list[dict]:
    """A row a reader: how many inputs of each class, and the first example of each fault."""
    from robustness_files import READERS

    worker, found = Worker(Path(__file__).resolve()), []
    for name in only or READERS:
        started = time.monotonic()
        ready = worker.ask({"reader": name, "damage": None}, 300.0, 600.0)
        if ready["class"] != "same":
            raise RuntimeError(f"{name}: the undamaged file is not read: {ready}")
        counts, examples = Counter(), {}
        for damage, seed in plan(quick):
            answer = worker.ask({"reader": name, "damage": damage, "seed": seed})
            counts[answer["class"]] += 1
            if answer["class"] in FAULTS:
                examples.setdefault(f"{damage} {seed}", f"{answer['class']}: {answer['message']}")
            if answer["class"] == show:
                print(f"    {name} {damage} {seed}: {answer['message']}", flush=True)
        row = {"reader": name, "inputs": counts.total(), **{c: counts[c] for c in CLASSES}}
        found.append({**row, "seconds": round(time.monotonic() - started, 1), "faults": examples})
        print_row(found[-1], header=len(found) == 1)
    worker.close()
    return found


def print_row(row: dict, header: bool) -> None:
    """One line of the table, with up to three examples of what should not be."""
    if header:
        print(f"{'reader':20}{'inputs':>8}" + "".join(f"{c:>9}" for c in CLASSES) + f"{'s':>8}")
    print(f"{row['reader']:20}{row['inputs']:8}" + "".join(f"{row[c]:9}" for c in CLASSES) + f"{row['seconds']:8.0f}",
          flush=True)  # fmt: skip
    for place, message in list(row["faults"].items())[:3]:
        print(f"    {place}: {message[:160]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the inputs")
    parser.add_argument("--only", default="", help="names of readers, with commas")
    parser.add_argument("--show", default="", help="print every input of this class")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        from robustness_files import serve

        return serve()
    table = rows(arguments.quick, tuple(filter(None, arguments.only.split(","))), arguments.show)
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if any(row[c] for row in table for c in FAULTS) else 0


if __name__ == "__main__":
    sys.exit(main())
