#!/usr/bin/env python3
"""Writes the vector files beside it: our messages, encoded by pyiso8583, an independent library.

    python3 -m venv venv && venv/bin/pip install pyiso8583==4.0.1 && venv/bin/python make.py

The field values below are the truth; the bytes are the library's. What it cannot write (a sign
before packed digits, x+n) is tested by hand in ../codec/vectors.rs.
"""

import copy
import json
import pathlib

import iso8583
from iso8583.specs import default_ascii

# The class and size of every field, as ISO 8583:1987 has them, apart from the crate's own table.
NUMERIC = {2, *range(3, 28), 32, 33, 49, 50, 51, 53, *range(66, 91), 99, 100}
SIGNED = {28, 29, 30, 31, 97}
TRACK = {35, 36}
BINARY = {52, 55, 64, 96, 128}


def bcd_spec():
    spec = copy.deepcopy(default_ascii)
    spec["t"] = {"data_enc": "b", "len_enc": "bcd", "len_type": 0, "max_len": 2, "desc": "MTI"}
    for key in ("p", "1"):
        spec[key] = {**spec[key], "data_enc": "b", "max_len": 8}
    for de in range(2, 129):
        field = spec[str(de)]
        if field["len_type"]:
            # Two digits are packed into one byte, three into two.
            field["len_type"] -= 1
            field["len_enc"] = "bcd"
        if de in NUMERIC:
            field.update(data_enc="b", len_count="nibbles", left_pad="0")
        elif de in TRACK:
            field.update(data_enc="b", len_count="nibbles", right_pad="F")
        elif de in BINARY:
            field.update(data_enc="b", max_len=field["max_len"] // 2)
    return spec


CHIP = "9F260811223344556677889F2701809F36020012950500000080009A032511229C01009F02060000000100005F2A020840"
PURCHASE = {
    2: "4000001234567899", 3: "000000", 4: "000000012345", 7: "1122045807", 11: "123456",
    12: "045807", 13: "1122", 14: "2812", 22: "051", 24: "200", 25: "00", 32: "12345678901",
    35: "4000001234567899=28122011234567890123", 37: "532604123456", 41: "TERM0001",
    42: "MERCHANT0000001", 49: "840", 52: "A1B2C3D4E5F60718", 55: CHIP,
}


def only(*des, **more):
    return {de: PURCHASE[de] for de in des} | {int(de[2:]): value for de, value in more.items()}


ORIGINAL = "0200123456112204580700000123456" + "00000000000"
CASES = {
    "purchase": ("0200", PURCHASE),
    "purchase_answer": ("0210", only(3, 4, 7, 11, 12, 13, 37, 41, 42, 49, de38="A1B2C3", de39="00")),
    "repeat": ("0201", only(2, 3, 4, 7, 11, 12, 13, 41, 42, 49)),
    "odd_card_number": ("0100", only(3, 4, 11, 41, 42, 49, de2="378282246310005")),
    "nineteen_digits": ("0100", only(3, 4, 11, 41, 42, 49, de2="6224242300000000069")),
    "even_track": ("0100", only(3, 4, 11, 41, 42, 49, de35="4000001234567899=281220112345")),
    "track_3": ("0100", only(3, 4, 11, 41, 42, 49, de36="014000001234567899==1560000")),
    "blank_reference": ("0110", only(3, 4, 11, 41, 42, 49, de37=" " * 12, de38=" " * 6, de39="05")),
    "padded_terminal": ("0200", only(3, 4, 11, 49, de41="T1      ", de42="SHOP           ")),
    "empty_variable_fields": ("0200", only(3, 4, 11, de2="", de32="", de48="", de55="")),
    "reversal": ("0420", only(2, 3, 4, 7, 11, 37, 41, 42, 49, de39="68", de90=ORIGINAL, de95="0" * 42)),
    "reversal_repeat": ("0421", only(3, 4, 7, 11, 37, 41, 42, 49, de90=ORIGINAL)),
    "reversal_answer": ("0430", only(3, 4, 7, 11, 37, 41, de39="00", de90=ORIGINAL)),
    "sign_on": ("0800", only(7, 11, de70="001")),
    "echo_answer_with_mac": ("0810", only(7, 11, de39="00", de70="301", de128="0123456789ABCDEF")),
    "mac_in_primary": ("0200", only(3, 4, 11, 41, 42, 49, de64="FEDCBA9876543210")),
    "batch_totals": ("0500", only(11, 41, 42, de50="978", de66="1", de74="0000000012",
                                  de76="0000000003", de86="0000000000054321", de88="0000000000000100")),
    "text_of_all_characters": ("0200", only(3, de48="".join(map(chr, range(0x20, 0x7F))))),
    "longest_text": ("0200", only(3, de48="X" * 999)),
    "no_fields": ("0800", {}),
}


def every_field(dialect):
    """All fields at once: fixed ones in full, variable ones of a length that differs by field."""
    fields = {}
    for de in range(2, 129):
        if de == 65 or (de in SIGNED and dialect == "iso87-bcd"):
            continue
        spec = default_ascii[str(de)]
        length = min(spec["max_len"], 1 + de % 23) if spec["len_type"] else spec["max_len"]
        if de in BINARY:
            fields[de] = "".join("0123456789ABCDEF"[(de + i) % 16] for i in range(length // 2 * 2))
        elif de in TRACK:
            fields[de] = "".join("=" if i == 5 else str((de + i) % 10) for i in range(length))
        elif de in SIGNED:
            fields[de] = "C" + "".join(str((de + i) % 10) for i in range(length - 1))
        elif de in NUMERIC:
            fields[de] = "".join(str((de + i) % 10) for i in range(length))
        else:
            fields[de] = "".join(chr(ord("A") + (de + i) % 26) for i in range(length))
    return fields


def encode(mti, fields, spec, packed):
    message = {"t": mti}
    for de, value in fields.items():
        message[str(de)] = value.replace("=", "D") if packed and de in TRACK else value
    encoded, _ = iso8583.encode(message, spec)
    return bytes(encoded).hex().upper()


def main():
    for dialect, spec in (("iso87-ascii", default_ascii), ("iso87-bcd", bcd_spec())):
        cases = {**CASES, "every_field": ("0200", every_field(dialect))}
        vectors = [
            {
                "name": name,
                "hex": encode(mti, fields, spec, packed=dialect == "iso87-bcd"),
                "mti": mti,
                "fields": {str(de): fields[de] for de in sorted(fields)},
            }
            for name, (mti, fields) in cases.items()
        ]
        path = pathlib.Path(__file__).with_name(f"{dialect}.json")
        path.write_text(json.dumps(vectors, indent=1) + "\n")


main()
