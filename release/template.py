"""Prints template.yaml for the plain AWS command line: the code is in a bucket, which two parameters name."""

import re
import sys
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[1] / "template.yaml"
CHANGES = {
    r"    Metadata:\n      BuildMethod: makefile.*\n": "",
    r"      CodeUri: \.\n": "      CodeUri: { Bucket: !Ref CodeBucket, Key: !Ref CodeKey }\n",
    r"    ParameterGroups:\n": """\
    ParameterGroups:
      - Label: { default: Code }
        Parameters: [CodeBucket, CodeKey]
""",
    r"    ParameterLabels:\n": """\
    ParameterLabels:
      CodeBucket: { default: Bucket }
      CodeKey: { default: Key }
""",
    r"^Parameters:\n": """\
Parameters:
  CodeBucket:
    Type: String
    MinLength: 3
    Description: Name of an S3 bucket of this Region that holds the released zip, with your mapping in it.
  CodeKey:
    Type: String
    MinLength: 1
    Description: Key of the zip there. A zip with another content needs another key, or nothing is updated.
""",
}


def released(template: str) -> str:
    """The text of template.yaml, changed."""
    for old, new in CHANGES.items():
        template, places = re.subn(old, lambda _, new=new: new, template, flags=re.MULTILINE)
        if places != 1:
            sys.exit(f"template.yaml has {places} places like {old!r}: adapt {Path(__file__).name}")
    return template


if __name__ == "__main__":
    print(released(TEMPLATE.read_text()), end="")
