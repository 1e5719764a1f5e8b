"""Takes the built page for phones along into a wheel and a source distribution, if there is one.

A hook of hatchling, which pyproject.toml names: git ignores what `make web` builds, and so does hatchling.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACES = {"wheel": "hedgerow/coordinator/phone", "sdist": "web/dist"}


class PhoneFiles(BuildHookInterface):
    """Adds `web/dist`, if it is there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a distribution is built; an editable install finds the page where it was built."""
        page = Path(self.root) / "web" / "dist"
        if version != "standard" or not (page / "build.json").is_file():
            return
        for file in page.rglob("*"):
            # Every device that installs the wheel stores this: of a large file, its smaller form is enough.
            spared = self.target_name == "wheel" and (
                file.suffix == ".br" or file.with_name(f"{file.name}.gz").exists()
            )
            if file.is_file() and not (spared and file.name != "build.json"):
                place = f"{PLACES[self.target_name]}/{file.relative_to(page).as_posix()}"
                build_data["force_include"][str(file)] = place
