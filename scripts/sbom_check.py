"""Holds a CycloneDX document against CycloneDX's own schema: sbom_check.py FILE. It needs the package
cyclonedx-python-lib[json-validation]. First it shows that it refuses a document that is wrong."""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

validator = JsonStrictValidator(SchemaVersion.V1_5)
with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()

wrong = json.loads(text)
next(one for one in wrong["components"] if "hashes" in one)["hashes"][0]["content"] = "no digest"
if validator.validate_str(json.dumps(wrong)) is None:
    sys.exit("sbom: a document with a digest that is none passes; the check shows nothing")
if error := validator.validate_str(text):
    sys.exit(f"sbom: {error}")
print(f"sbom: {len(json.loads(text)['components'])} crates, valid CycloneDX 1.5")
