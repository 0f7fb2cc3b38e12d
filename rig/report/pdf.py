"""The page on paper: printed by a headless Chromium, which reads the same HTML file as everybody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from rig.errors import ConfigError

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_WAIT_S = 120


def browser() -> str:
    """The program that prints.

    Raises:
        ConfigError: none is installed.
    """
    for name in _BROWSERS:
        if path := shutil.which(name):
            return path
    raise ConfigError(f"a PDF needs a browser, and none of {', '.join(_BROWSERS)} is installed; on Debian: apt install chromium")


def printed(html: bytes) -> bytes:
    """The page as PDF, A4.

    Raises:
        ConfigError: no browser is installed, or it does not do its work within two minutes.
    """
    program = browser()
    with tempfile.TemporaryDirectory(prefix="rig-pdf-") as name:
        folder = Path(name)
        (folder / "report.html").write_bytes(html)
        target = folder / "report.pdf"
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run as root with it; the page holds no script
        command = [program, "--headless", *sandbox, "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--no-pdf-header-footer"]
        try:
            done = subprocess.run(  # noqa: S603 - constant arguments
                [*command, f"--print-to-pdf={target}", (folder / "report.html").as_uri()],
                capture_output=True, timeout=_WAIT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"{program} did not print the report: {error}") from error
        if not target.exists():
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise ConfigError(f"{program} did not print the report: {lines[-1] if lines else f'exit code {done.returncode}'}")
        return target.read_bytes()
