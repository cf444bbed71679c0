"""Every code that a file's problem can carry, and what it means in one line.

The three letters name the kind of file: DOC for any YAML file, TSK task, FED federation, POL
policy, CAS policy cases, CFG configuration. The numbers below 20 mean the same in all of them.
"""

from __future__ import annotations

from typing import Final

YAML: Final = {
    "DOC001": "the file cannot be used",
    "DOC002": "there is no such file",
    "DOC003": "the path is a folder",
    "DOC004": "the file cannot be read",
    "DOC005": "the file is larger than 256 KiB",
    "DOC006": "the file is not UTF-8 text",
    "DOC007": "the text is not YAML",
    "DOC008": "values are nested more than 32 deep",
    "DOC009": "the file has more than 10,000 values",
    "DOC010": "anchors and aliases are not allowed",
    "DOC011": "tags are not allowed",
    "DOC012": "a key stands twice in one mapping",
    "DOC013": "a key is not plain text",
    "DOC014": "the file holds more than one document",
    "DOC015": "the file is empty",
    "DOC016": "a number that cannot be used",
}
SHARED: Final = {
    "002": "a field that does not exist",
    "003": "a field is missing",
    "004": "a value of the wrong type",
    "005": "a value that cannot be used",
    "006": "a field that is known elsewhere and not supported here yet",
    "010": "an accelerator that no catalog knows",
    "011": "not a duration",
    "012": "not an amount of money",
    "013": "not an accelerator with a count",
    "014": "not an amount",
    "015": "not a cloud, region and zone",
    "016": "not a place where data may lie",
}
OWN: Final = {
    "FED020": "the app's folder does not exist",
    "FED021": "fewer sites are wanted than are the minimum",
    "POL020": "two rules have one id",
    "POL021": "a rule has not exactly one verb",
    "POL022": "a class of data descends from one that no file defines",
    "POL023": "classes of data descend from each other in a circle",
    "POL024": "an expression that cannot be used",
    "POL025": "not days and hours",
    "POL026": "not a time zone",
    "POL027": "formatting would change what the policy says or lose a remark",
    "CAS020": "a case asks nothing, or two things at once",
    "CAS021": "a case expects nothing, or what its question cannot answer",
    "CAS022": "a rule id that the policies do not have",
    "CAS023": "two cases have one name",
    "CFG020": "a cloud's name does not start with a known catalog",
    "CFG021": "a policy pattern matches no file",
    "CFG022": "the region of a reservation is not known",
    "CFG023": "a reservation stands twice",
}
AREAS: Final = ("TSK", "FED", "POL", "CAS", "CFG")
CODES: Final = {
    **YAML,
    **{area + number: words for area in AREAS for number, words in SHARED.items()},
    **OWN,
}
