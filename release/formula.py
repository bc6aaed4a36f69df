"""Prints the Homebrew formula of a release: formula.py SHA256SUMS VERSION OWNER/REPOSITORY."""

import re
import sys
from pathlib import Path

FORMULA = """\
class SqsToPostgres < Formula
  desc "Loads an SQS queue of JSON messages into Postgres tables"
  homepage "https://github.com/{repository}"
  version "{version}"
  license "Apache-2.0"

{systems}
  def install
    bin.install "sqs-to-postgres"
    generate_completions_from_executable(bin/"sqs-to-postgres", "completions", shells: [:bash, :zsh, :fish])
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/sqs-to-postgres --version")
  end
end
"""
PROCESSOR = """\
    on_{processor} do
      url "https://github.com/{repository}/releases/download/v{version}/{file}"
      sha256 "{digest}"
    end
"""
PROCESSORS = {"arm64": "arm", "x86_64": "intel"}


def formula(sums: str, version: str, repository: str) -> str:
    systems = ""
    for system in ("macos", "linux"):
        blocks = ""
        for processor, name in PROCESSORS.items():
            found = re.search(rf"^(\w+)  (\S+-tool-{system}-{processor}\.tar\.gz)$", sums, re.MULTILINE)
            if not found:
                sys.exit(f"the release has no tool for {system} on {processor}")
            digest, file = found.groups()
            blocks += PROCESSOR.format(
                processor=name, repository=repository, version=version, file=file, digest=digest
            )
        systems += f"  on_{system} do\n{blocks}  end\n\n"
    return FORMULA.format(repository=repository, version=version, systems=systems)


if __name__ == "__main__":
    print(formula(Path(sys.argv[1]).read_text(), *sys.argv[2:]), end="")
