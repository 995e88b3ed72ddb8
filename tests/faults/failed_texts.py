"""Descriptions of corpora and profiles that once ended in a traceback, or took all memory."""

from __future__ import annotations

#: Each list holds the one before it nine times: 2 kB that would be 9^30 words.
ALIASES = "l0: &l0 [x]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 31))
MERGES = "m0: &m0 {a: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 31))
#: What is wrong -> the content of a ``corpus.yaml``.
FAILED_YAML = {
    "aliases": ALIASES,
    "merges": MERGES,
    "deep": "[" * 5000,
    "brackets in brackets": "name: " + "[" * 3000 + "]" * 3000,
    "no such day": "name: 2001-99-99\n",
    "NUL": "name: a\0b\n",
    "a tag of Python": "name: !!python/object/apply:os.system [ls]\n",
    "too many digits": "photographs: " + "9" * 5000 + "\n",
}
#: What is wrong -> the content of a profile.
FAILED_PROFILES = {
    **{name: FAILED_YAML[name].encode() for name in ("aliases", "merges", "deep", "brackets in brackets")},
    "not UTF-8": b"profile: \xff",
    "empty": b"",
    "a list": b"- seed: 1",
    "two colons": b"profile: mini: mini",
    "a byte order mark, and no such day": b"\xef\xbb\xbfseed: 2001-99-99",
}
