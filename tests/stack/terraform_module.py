"""The module in terraform/, read without its provider, which is in no package registry.

`Module` parses it. `Provider` is what the AWS provider accepts, as CDK for Terraform has it. `Terraform` is
Terraform itself: each resource becomes one of its own `terraform_data`, which keeps what it is given, so that
every expression is evaluated by the real program.
"""

import json
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from stack.settings import Settings

Json = dict[str, Any]
META = ("count", "for_each", "depends_on", "lifecycle", "provider")
STAND_INS = {
    "data.aws_caller_identity.current.account_id": '"000000000000"',
    "data.aws_partition.current.partition": '"aws"',
    "data.aws_partition.current.dns_suffix": '"amazonaws.com"',
    "data.aws_region.current.region": '"eu-central-1"',
    "filebase64sha256(var.package)": '"a sum"',
}


class Module:
    """What the files say, by python-hcl2."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.root / "terraform"
        self._python = settings.tools / "python"
        self.files = {file.name: self._parse(file) for file in sorted(self.folder.glob("*.tf"))}

    def _parse(self, file: Path) -> Json:
        program = "import hcl2, json, sys; print(json.dumps(hcl2.load(sys.stdin)))"
        command = [self._python, "-c", program]
        done = subprocess.run(command, input=file.read_text(), capture_output=True, text=True)
        assert done.returncode == 0, f"{file}\n{done.stderr}"
        return plain(json.loads(done.stdout))

    def blocks(self, kind: str) -> Iterator[tuple[list[str], Json]]:
        """The labels and the body of each."""
        for file in self.files.values():
            for block in file.get(kind, []):
                labels = []
                while len(block) == 1 and isinstance(inner := next(iter(block.values())), dict):
                    labels += block
                    block = inner
                yield labels, block

    @property
    def variables(self) -> dict[str, Json]:
        return {name: body for (name,), body in self.blocks("variable")}


def plain(value: Any) -> Any:  # noqa: ANN401 (any value of HCL)
    """Without the marks of the parser: the quotes of literals, and what says that it was a block."""
    if isinstance(value, dict):
        return {plain(name): plain(part) for name, part in value.items() if not name.startswith("__")}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, str) and value.startswith('"') and not value.startswith('"<<'):
        return json.loads(value, strict=False)
    return value


class Provider:
    """Attributes and blocks of resources of the AWS provider."""

    def __init__(self, settings: Settings) -> None:
        self._types = types(settings.state / "venv" / "terraform")

    def accepts(self, resource: str) -> Json:
        """By the name of each attribute or block, whether it is needed, and what is in the block."""
        namespace = camel(resource.removeprefix("aws_"))
        name = f"{namespace[0].upper()}{namespace[1:]}Config"
        (found,) = [type for type in self._types if type.endswith(f".{namespace}.{name}")]
        return self._members(found)

    def exports(self, resource: str) -> set[str]:
        """What other resources may refer to."""
        namespace = camel(resource.removeprefix("aws_"))
        name = f"{namespace[0].upper()}{namespace[1:]}"
        (found,) = [type for type in self._types if type.endswith(f".{namespace}.{name}")]
        return {snake(member["name"]) for member in self._types[found].get("properties", [])}

    def _members(self, of: str) -> Json:
        found = {}
        for member in self._types[of]["properties"]:
            text = json.dumps(member.get("docs", {}))
            named = re.search(r"/docs/[\w/-]+#(\w+) ", text)
            if not named:
                continue  # for CDK itself
            inner = self._block(member["type"])
            found[named[1]] = {
                "needed": not member.get("optional", False),
                "block": self._members(inner) if inner else None,
            }
        return found

    def _block(self, kind: Json) -> str | None:
        if "collection" in kind:
            return self._block(kind["collection"]["elementtype"])
        if "union" in kind:
            found = [self._block(part) for part in kind["union"]["types"]]
            return next(filter(None, found), None)
        fqn = str(kind.get("fqn", ""))
        return fqn if fqn.startswith("@cdktf/provider-aws.") else None


@cache
def types(venv: Path) -> Json:
    """The classes that CDK for Terraform has generated from the provider."""
    (package,) = venv.rglob("provider-aws@*.jsii.tgz")
    with tarfile.open(package) as archive:
        assembly = archive.extractfile("package/.jsii")
        assert assembly
        return json.load(assembly)["types"]


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def problems(body: Json, accepted: Json, place: str) -> list[str]:
    """What the provider would refuse in a resource or block."""
    found = [
        f"{place}: {name} is missing" for name, of in accepted.items() if of["needed"] and name not in body
    ]
    for name, value in body.items():
        if name == "dynamic":
            for dynamic in value:
                ((block, parts),) = dynamic.items()
                found += problems({block: parts["content"]}, {block: accepted[block]}, place)
        elif name not in accepted:
            found += [] if name in META else [f"{place}: unknown {name}"]
        elif accepted[name]["block"] and isinstance(value, list):
            for part in value:
                found += problems(part, accepted[name]["block"], f"{place}.{name}")
    return found


def can_plan() -> bool:
    return shutil.which("terraform") is not None


class Terraform:
    """The module with its resources replaced, in a folder where Terraform plans it."""

    def __init__(self, module: Path, folder: Path) -> None:
        self.folder = folder
        self._plans: dict[str, tuple[Json, str]] = {}
        for file in module.iterdir():
            if file.suffix == ".tftpl":
                shutil.copy(file, folder)
            elif file.suffix == ".tf" and file.name != "versions.tf":
                (folder / file.name).write_text(replaced(file.read_text()))
        with zipfile.ZipFile(folder / "function.zip", "w") as package:
            package.writestr("bootstrap", "")
        self._run("init")

    def _run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [
            "terraform",
            f"-chdir={self.folder}",
            *words,
            *(["-no-color"] if words[0] != "show" else []),
        ]
        return subprocess.run(command, capture_output=True, text=True)

    def plan(self, given: Json) -> "tuple[Json, str]":
        """The resources by name, or the reasons why there is no plan."""
        variables = json.dumps({"name": "orders", "package": f"{self.folder}/function.zip"} | given)
        if variables not in self._plans:
            self._plans[variables] = self._plan(variables)
        return self._plans[variables]

    def _plan(self, variables: str) -> "tuple[Json, str]":
        (self.folder / "given.tfvars.json").write_text(variables)
        planned = self._run("plan", "-input=false", "-var-file=given.tfvars.json", "-out=plan")
        if planned.returncode:
            return {}, " ".join(planned.stderr.replace("│", " ").split())
        shown = json.loads(self._run("show", "-json", "plan").stdout)
        resources = shown["planned_values"]["root_module"].get("resources", [])
        made = {f"{made['name']}[{made.get('index', '')}]": made["values"]["input"] for made in resources}
        outputs = shown["planned_values"]["outputs"]
        return made | {"outputs": {name: of.get("value") for name, of in outputs.items()}}, ""


def replaced(text: str) -> str:
    """The resources of a formatted file as `terraform_data`, and their references."""
    # A stand-in has no attributes to ignore changes of.
    lines = [line for line in text.splitlines() if not line.startswith(("data ", "    ignore_changes"))]
    written: list[str] = []
    inside: list[str] | None = None
    for line in lines:
        if opened := re.match(r'resource "(\w+)" "(\w+)" \{$', line):
            written.append(f'resource "terraform_data" "{opened[1]}_{opened[2]}" {{')
            name = f"{opened[1]}.{opened[2]}"
            inside = [f'    arn = "arn:{name}"', f'    id = "{name}"', f'    url = "https://{name}"']
            inside += ['    version = "1"'] if opened[1] == "aws_lambda_function" else []
            outside = False
        elif inside is not None and line == "}":
            written += ["  input = {", *inside, "  }", "}"]
            inside = None
        elif inside is not None:
            if re.match(r"  \w", line):
                outside = line.split()[0] in META
            (written if outside else inside).append(as_attribute(line))
        else:
            written.append(line)
    text = "\n".join(written)
    for term, stand_in in STAND_INS.items():
        text = text.replace(term, stand_in)
    text = re.sub(r"values\(aws_(\w+)\.(\w+)\)\[\*\]\.", r"values(terraform_data.aws_\1_\2)[*].input.", text)
    return re.sub(
        r"\baws_(\w+)\.(\w+)((?:\[[^\]]*\])?)(\.?)",
        lambda of: f"terraform_data.aws_{of[1]}_{of[2]}{of[3]}{'.input.' if of[4] else ''}",
        text,
    )


def as_attribute(line: str) -> str:
    """A block, such as `environment {`, as the attribute of an object, unless it is of Terraform."""
    block = re.match(r'( +)(?:dynamic )?"?(\w+)"? \{$', line)
    return f"{block[1]}{block[2]} = {{" if block and block[2] not in META else line
