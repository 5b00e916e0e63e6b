#!/usr/bin/env python3
"""Checks exports of timingle by docs/log-format.md: verify_export.py FILE..."""
import hashlib
import json
import struct
import sys
import uuid

MAX_LINE = 1024 * 1024
HEADER = {"format": str, "version": int, "event": int, "room": uuid.UUID}
ENTRY = {"seq": int, "at": int, "author": int, "kind": int, "key": uuid.UUID, "msg_no": int,
         "fact_no": int, "reply_to": int, "target": int, "digest": 32, "hash": 32, "salt": 16, "body": str}
END = {"entries": int, "hash": 32, "sha256": 32}


class Bad(Exception):
    pass


def need(condition, reason):
    if not condition:
        raise Bad(reason)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def read_line(file):
    line = file.readline(MAX_LINE)
    need(line.endswith(b"\n"), "the file ends too early, or a line is too long")
    return line


def parse(line, members):
    """The values of a line that has exactly these members, in the one form of the format."""
    values = json.loads(line[:-1].decode())
    need(type(values) is dict and list(values) == list(members), "wrong members")
    again = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    need(again + b"\n" == line, "not in the one form of the format")
    for name, kind in members.items():
        value = values[name]
        if kind in (int, str):
            need(type(value) is kind or (name == "body" and value is None), f"{name}: wrong type")
        elif value is not None or name != "salt":
            need(type(value) is str, f"{name}: wrong type")
            values[name] = uuid.UUID(value).bytes if kind is uuid.UUID else bytes.fromhex(value)
            plain = str(uuid.UUID(value)) if kind is uuid.UUID else values[name].hex()
            need(plain == value and len(values[name]) == (16 if kind is uuid.UUID else kind), f"{name}: wrong form")
    need("salt" not in values or (values["salt"] is None) == (values["body"] is None), "half a content")
    return values


def check(file, where):
    """Raises at the first fault; where[0] is the seq it belongs to."""
    total = hashlib.sha256()
    line = read_line(file)
    header = parse(line, HEADER)
    need((header["format"], header["version"]) == ("timingle.export", 1), "not an export of version 1")
    seq, at, msg_no, fact_no, erased = 0, 0, 0, 0, 0
    head = sha256(b"timingle.room.v1", header["room"])
    while True:
        total.update(line)
        line = read_line_at(file, where, seq + 1)
        if line.startswith(b'{"entries":'):
            break
        e = parse(line, ENTRY)
        need(e["seq"] == seq + 1, f"seq {e['seq']} stands here")
        need(1 <= e["kind"] <= 6, "unknown kind")
        need(e["at"] >= at, "dated before the entry before")
        msg_no, fact_no = msg_no + (e["kind"] == 1), fact_no + (e["kind"] == 2)
        need((e["msg_no"], e["fact_no"]) == (msg_no, fact_no), "wrong count")
        if e["body"] is None:
            erased += 1
        else:
            need(sha256(e["salt"], e["body"].encode()) == e["digest"], "body and digest differ")
        head = sha256(b"timingle.entry.v1", head, b"\x01", struct.pack(">QqqB", *(e[n] for n in ("seq", "at", "author", "kind"))),
                      e["key"], struct.pack(">QQQQ", *(e[n] for n in ("msg_no", "fact_no", "reply_to", "target"))), e["digest"])
        need(head == e["hash"], "the hash differs")
        if seq == 0:
            fact = json.loads(e["body"] or "{}")
            said = (e["kind"], fact.get("no"), fact.get("type"), fact.get("event"))
            need(said == (2, 1, "event_created", header["event"]), "not the creation of this event")
        seq, at = e["seq"], e["at"]
    end = parse(line, END)
    need((end["entries"], end["hash"]) == (seq, head), "another end")
    need(seq > 0, "no entries")
    need(end["sha256"] == total.digest(), "the digest of the file differs")
    need(file.read(1) == b"", "something follows the last line")
    return f"ok, {seq} entries, {erased} without content, head {head.hex()}"


def read_line_at(file, where, seq):
    where[0] = seq
    return read_line(file)


def main(paths):
    bad = False
    for path in paths:
        where = [0]
        try:
            with open(path, "rb") as file:
                print(f"{path}: {check(file, where)}")
        except (Bad, ValueError, RecursionError, AttributeError, struct.error) as error:
            print(f"{path}: bad at seq {where[0]}: {error}")
            bad = True
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
