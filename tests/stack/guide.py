"""docs/DEPLOY.md as a script: from an empty account to rows, and back.

The test of the local stack runs it, and so does the workflow aws.yml, on a real account: there the blocks for
AWS only are typed too, and those for inside the network on an instance that only its private subnet reaches.
"""

import re
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "DEPLOY.md"
BACK = "### 8. The way back"
NETWORK = "patiently() {"
SAMPLES = 100
BAD_SAMPLES = 3
INSIDE = (Path(__file__).parent / "inside.sh").read_text()
ENTER, LEAVE = "enter\n", "leave\n"
"""Its functions that begin and end an instance in the private subnet of AWS."""
MESSAGES = f"""
sqs-to-postgres send --queue-url "$QUEUE_URL" logins.jsonl
export MASK_KEY=$(head -c 64 /dev/urandom | base64 | tr -d '\\n')
explain="sqs-to-postgres explain --json --show-values --pipeline pipeline.toml"
explained=$(MASK_SECRET_ID= $explain logins.jsonl || true)
expected=$(echo "$explained" | grep -o '"column":"user_id"[^}}]*' | sed 's/.*"value":"//; s/"$//' | sort)
stored=$(inside <<'INSIDE' | sort
stored() {{ PGCONNECT_TIMEOUT=5 psql --dbname logins --no-align --tuples-only --command "$1"; }}
for _ in $(seq 300); do
    rows=$(stored "SELECT count(*) FROM user_logins WHERE user_id <> 'u-1'")
    [ "$rows" = {SAMPLES - BAD_SAMPLES} ] && break
    sleep 1
done
stored "SELECT user_id FROM user_logins WHERE user_id <> 'u-1'"
INSIDE
)
test "$stored" = "$expected"
echo "the rows match the samples: $(echo "$stored" | wc -l)"
"""
"""The samples of `make run`, sent and compared: what is not masked is the same."""


@dataclass(frozen=True)
class Block:
    """A block of the page, the words after its `sh`, and the paragraph before it."""

    words: frozenset[str]
    before: str
    text: str

    @property
    def is_inside(self) -> bool:
        return "inside" in self.words

    @property
    def only_on_aws(self) -> bool:
        return "aws-only" in self.words

    @property
    def typed(self) -> str:
        return f"inside <<'INSIDE'\n{self.text}INSIDE\n" if self.is_inside else self.text


def blocks(page: str) -> list[Block]:
    found = re.findall(r"^([^\n]*)\n\n```sh( [a-z -]+)?\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [Block(frozenset(words.split()), before, text) for before, words, text in found]


def script(*, aws: bool) -> str:
    """All blocks in their order. Whatever fails, the way back is gone."""
    page = GUIDE.read_text()
    here = [block for block in blocks(page) if "dual-stack" not in block.words]
    here = [block for block in here if aws or not block.only_on_aws]
    back = {block.text for block in blocks(page.partition(BACK)[2])}
    forward = [block for block in here if block.text not in back]
    first_inside = next(number for number, block in enumerate(forward) if block.is_inside)
    # On the local stack nothing is stored after the blocks on IAM: AWS alone would let the function in.
    iam = [block.typed for block in forward if "iam" in block.words]
    typed = [block.typed for block in forward if "iam" not in block.words]
    typed.insert(first_inside, ENTER if aws else "")
    typed += [*iam, MESSAGES] if aws else [MESSAGES, *iam]
    home = "\n".join(block.typed for block in here if block.text in back)
    if aws:
        home = home.replace(NETWORK, LEAVE + NETWORK)
    return f"""set -euo pipefail
{INSIDE}
go_back() {{
{home}
}}
trap 'status=$?; trap - EXIT; set +eu; go_back; exit $status' EXIT
{"".join(typed)}
trap - EXIT
go_back
"""


if __name__ == "__main__":
    print(script(aws=True))
