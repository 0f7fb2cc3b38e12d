"""A headless Chromium for tests: what a script finds in a page, without any driver between."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AXE = Path(sys.prefix) / "axe-core" / "axe.min.js"
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_BROWSERS = ("chromium", "google-chrome", "google-chrome-stable")


def browser() -> str:
    """The browser's path.  Without one, or without axe-core, the test is skipped; not where RIG_BROWSER says that both must be there."""
    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found and AXE.exists():
        return found
    missing = "axe-core" if found else "a browser"
    if os.environ.get("RIG_BROWSER"):
        pytest.fail(f"{missing} is not installed; run scripts/test-tools")
    pytest.skip(f"{missing} is not installed; scripts/test-tools installs it")


def evaluate(page: str, script: str, folder: Path, *, width: int = 1280) -> Any:
    """What the promise `script` gives in `page`, a report as text; its content policy is lifted, since it forbids scripts."""
    runner = f"({script}).then(v=>{{const p=document.createElement('pre');p.id='found';p.textContent=JSON.stringify(v);document.body.append(p)}})"
    prepared = _POLICY.sub("", page).replace("</body>", f"<script>{runner}</script></body>")
    file = folder / "page.html"
    file.write_text(prepared, "utf-8")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [browser(), "--headless", *sandbox, "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*command, f"--window-size={width},1200", "--virtual-time-budget=30000", "--dump-dom", file.as_uri()],
        capture_output=True,
        timeout=120,
        check=False,
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout.decode("utf-8", "replace"), re.DOTALL)
    assert found, done.stderr.decode("utf-8", "replace")[-2000:]
    return json.loads(html.unescape(found[1]))
