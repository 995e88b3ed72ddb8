"""Puts the notebooks and the profiles into the wheel, below ``fico_utils/_project``; all else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithProject(build_py):
    """Copies the notebooks, exercises, solutions, profiles and constraints beside the modules of a built package."""

    def run(self) -> None:
        """Build; an editable installation reads the checkout itself and needs no copy."""
        super().run()
        if self.editable_mode:
            return
        exercises = dict.fromkeys(("notebooks/exercises", "notebooks/solutions"), "*.ipynb")
        folders = {"notebooks": "[!.]*.*", **exercises, "configs": "*.yaml", ".": "constraints.txt"}
        for folder, pattern in folders.items():
            target = Path(self.build_lib, "fico_utils", "_project", folder)
            self.mkpath(str(target))
            for path in sorted(Path(folder).glob(pattern)):
                self.copy_file(str(path), str(target / path.name))


setup(cmdclass={"build_py": BuildWithProject})
