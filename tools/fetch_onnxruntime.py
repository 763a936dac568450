"""Unpacks the ONNX Runtime library into .deps/onnxruntime/<flavour>/.

    python3 tools/fetch_onnxruntime.py [cpu] [gpu] [openvino] [openvino-plugin] [webgpu]

Needs Python 3.10 and its pip, which checks the hashes of tools/onnxruntime.txt. A folder that is complete and of the pinned
version is left alone; any other is replaced as a whole, so that an interrupted or damaged one is never used.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "onnxruntime.txt"
FOLDER = ROOT / ".deps" / "onnxruntime"

PACKAGES = {
    "cpu": "onnxruntime",
    "gpu": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "openvino-plugin": "onnxruntime-ep-openvino",
    "webgpu": "onnxruntime-ep-webgpu",
}
PLATFORMS = {
    ("Linux", "x86_64"): ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
    ("Linux", "aarch64"): ["manylinux_2_28_aarch64", "manylinux_2_27_aarch64"],
    ("Darwin", "arm64"): ["macosx_14_0_arm64", "macosx_14_0_universal2"],
    ("Windows", "AMD64"): ["win_amd64"],
}
LIBRARY = re.compile(r"\.(so(\.\d+)*|dylib|dll|json)$")
LICENCE = re.compile(r"(LICENSE|ThirdPartyNotices)[^/]*$", re.IGNORECASE)
# Python's own binding, and a provider that is not used.
UNWANTED = re.compile(r"pybind11_state|providers_tensorrt")
# The library itself gets a name without its version; `libonnxruntime_providers_…` keep theirs.
VERSIONED = re.compile(r"^(libonnxruntime)(\.so)\.[\d.]+$|^(libonnxruntime)\.[\d.]+(\.dylib)$")
STAMP = "fetched.json"


def pin(package):
    """The package's lines of the pins, which pip reads."""
    text = "\n".join(line for line in PINS.read_text().splitlines() if not line.startswith("#"))
    found = re.search(rf"^{re.escape(package)}==.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        sys.exit(f"{PINS.name} does not pin {package}")
    return found.group().strip() + "\n"


def is_complete(folder, requirement):
    """Is every file there, with the size that it had when it was unpacked from what is pinned now?"""
    try:
        stamp = json.loads((folder / STAMP).read_text())
        sizes = {name: (folder / name).stat().st_size for name in stamp["files"]}
        return stamp["requirement"] == requirement and sizes == stamp["files"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def python_with_pip(scratch):
    """This Python if it has pip, else one in a virtual environment that is made for the purpose."""
    probe = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if probe.returncode == 0:
        return sys.executable
    environment = scratch / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    return str(environment / ("Scripts" if os.name == "nt" else "bin") / "python")


def download(requirement, scratch):
    """The wheel, its hash checked by pip."""
    machine = (platform.system(), platform.machine())
    if machine not in PLATFORMS:
        sys.exit(f"there is no ONNX Runtime wheel for {' '.join(machine)}: build the library and name it in the configuration")
    pins = scratch / "pins.txt"
    pins.write_text(requirement)
    command = [python_with_pip(scratch), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.13"]
    for tag in PLATFORMS[machine]:
        command += ["--platform", tag]
    command += ["--dest", str(scratch / "wheels"), "--requirement", str(pins)]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(f"cannot download {requirement.split()[0]} for {' '.join(machine)}")
    (wheel,) = (scratch / "wheels").glob("*.whl")
    return wheel


def unpack(wheel, folder):
    """Libraries and licences of a wheel, all in one folder; gives their sizes. A damaged archive raises."""
    sizes, same = {}, {}
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            name = entry.filename.rsplit("/", 1)[-1]
            if not (LIBRARY.search(name) or LICENCE.search(name)) or UNWANTED.search(name):
                continue
            name = VERSIONED.sub(lambda found: "".join(part or "" for part in found.groups()), name)
            content = archive.read(entry)
            target, digest = folder / name, hashlib.sha256(content).hexdigest()
            # Wheels hold no links: what was one in the original is a second copy.
            if digest in same and os.name != "nt":
                target.symlink_to(same[digest])
            else:
                target.write_bytes(content)
            same.setdefault(digest, name)
            sizes[name] = len(content)
    return sizes


def fetch(flavour):
    """Brings one flavour up to date."""
    requirement, folder = pin(PACKAGES[flavour]), FOLDER / flavour
    if is_complete(folder, requirement):
        return
    print(f"fetching {requirement.split()[0]} into {folder.relative_to(ROOT)}", flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=FOLDER) as scratch:
        scratch = Path(scratch)
        fresh = scratch / flavour
        fresh.mkdir()
        sizes = unpack(download(requirement, scratch), fresh)
        (fresh / STAMP).write_text(json.dumps({"requirement": requirement, "files": sizes}, indent=1))
        if folder.exists():
            shutil.move(folder, scratch / "old")
        fresh.rename(folder)


def main():
    flavours = sys.argv[1:] or ["cpu"]
    unknown = [flavour for flavour in flavours if flavour not in PACKAGES]
    if unknown:
        sys.exit(f"unknown flavour {', '.join(unknown)}; there are {', '.join(PACKAGES)}")
    for flavour in flavours:
        fetch(flavour)


if __name__ == "__main__":
    main()
