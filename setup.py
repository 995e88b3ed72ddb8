"""Puts the notebooks and the profiles into the wheel, below ``fico_utils/_project``; all else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithProject(build_py):
    """Copies the notebooks, exercises, solutions and profiles beside the modules of a package that is built."""

    def run(self) -> None:
        """Build; an editable installation reads the checkout itself and needs no copy."""
        super().run()
        if self.editable_mode:
            return
        notebooks = dict.fromkeys(("notebooks", "notebooks/exercises", "notebooks/solutions"), "*.ipynb")
        for folder, pattern in {**notebooks, "configs": "*.yaml"}.items():
            target = Path(self.build_lib, "fico_utils", "_project", folder)
            self.mkpath(str(target))
            for path in sorted(Path(folder).glob(pattern)):
                self.copy_file(str(path), str(target / path.name))


setup(cmdclass={"build_py": BuildWithProject})
