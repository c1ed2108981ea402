"""The part of a file of rules that decides what a job computes.

Of the rules of a stage these are inputs, outputs, parameters and the command, and what `common.smk`
defines for them. Log files, environments, threads and resources decide how a job runs, not what it makes.
"""

from functools import cache
from pathlib import Path

from rankwise.workflow.source_tokens import LogicalLine, hash_lines, read_logical_lines

COMMON = "common.smk"
HOW_IT_RUNS = frozenset(("log", "conda", "threads", "resources"))
"""Keywords of a rule that have no influence on what it makes."""
Block = list[LogicalLine]


def hash_rule(rules: Path, file: str, stage: str) -> str:
    """Return the hash of what a stage's rules in ``<file>.smk`` say, and of the definitions they use."""
    blocks = [block for block in _read_blocks(rules / f"{file}.smk") if _serves(block, stage)]
    used = [_without_resources(block) for block in blocks]
    definitions, pending = (
        dict[str, Block](),
        {w for block in used for line in block for w in line.words},
    )
    common = {_defines(block): block for block in _read_blocks(rules / COMMON)}
    while pending:
        name = pending.pop()
        if name in common and name not in definitions:
            definitions[name] = common[name]
            pending |= {word for line in common[name] for word in line.words}
    parts = [*used, *(definitions[name] for name in sorted(definitions))]
    return hash_lines(line for block in parts for line in block)


def hash_all_rules(rules: Path) -> str:
    """Return the hash of every rule: what the job graph, and so dvc.yaml, is printed from."""
    blocks = (block for path in sorted(rules.glob("*.smk")) for block in _read_blocks(path))
    return hash_lines(line for block in blocks for line in block)


@cache
def _read_blocks(path: Path) -> list[Block]:
    """Return the top-level statements of a file of rules, each with its body, docstrings left out."""
    blocks: list[Block] = []
    header = ""
    for line in read_logical_lines(path.read_text(encoding="utf-8")):
        if line.is_string and header in ("", "rule", "def"):
            continue
        header = line.words[0]
        if line.depth == 0:
            blocks.append([])
        blocks[-1].append(line)
    return blocks


def _serves(block: Block, stage: str) -> bool:
    """Tell whether a block is of this stage: its rule, one of its parts, or no rule at all."""
    words = block[0].words
    return words[0] != "rule" or _stage_of(words[1]) == stage


def _stage_of(rule: str) -> str:
    return rule.removesuffix("_shard")


def _without_resources(block: Block) -> Block:
    """Return a block without the parts of a rule that say how it runs."""
    if block[0].words[0] != "rule":
        return block
    kept, skipping = [], False
    for line in block:
        if line.depth <= 1:
            skipping = line.depth == 1 and line.words[0] in HOW_IT_RUNS
        if not skipping:
            kept.append(line)
    return kept


def _defines(block: Block) -> str:
    """Return the name that a block of `common.smk` defines, empty where it defines none."""
    words = block[0].words
    if words[0] == "def":
        return words[1]
    return words[0] if len(words) > 1 and words[1] == "=" else ""
