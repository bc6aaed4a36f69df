"""jq itself: runs in the environment `references`, which has its library, apart from the tests.

Reads `{"programs": […], "inputs": […]}`, and prints for each program what it gives for each input, as texts.
"""

import json
import sys

import jq


def main() -> None:
    asked = json.load(sys.stdin)
    given = []
    for text in asked["programs"]:
        # Python would read numbers as floats, so that jq writes the text.
        program = jq.compile(f"{text} | tojson")
        given.append([program.input_text(message).first() for message in asked["inputs"]])
    json.dump(given, sys.stdout)


if __name__ == "__main__":
    main()
