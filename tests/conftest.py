"""Fixtures that every test file may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long one example takes tells what else the machine does rather than how good the code is; speed is timed apart.
settings.register_profile("anybpf", deadline=None)
settings.load_profile("anybpf")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def shared_path(relative: str) -> Path:
    """The file or folder ``relative`` of the shared data beside the checkout; skips the test when it is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"shared data not present: ../shared/{relative}")
    return path


@pytest.fixture(scope="session", autouse=True)
def own_code_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep machine code in a directory of their own, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYBPF_CODE_CACHE", str(tmp_path_factory.mktemp("code")))
        yield


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Folder with the shared corpus of real BPF objects and its labels.csv."""
    return shared_path("corpus")


@pytest.fixture(scope="session")
def conformance_cases() -> Path:
    """The shared ISA conformance cases (JSON)."""
    return shared_path("conformance/cases.json")
