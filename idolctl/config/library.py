"""Find and load recipes and backbones: shipped ones by name, a user's own by path."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from idol_core.errors import InvalidInput
from idolctl.config.load_yaml import Entry, read_yaml, shown_path
from idolctl.config.recipe_file import RecipeFile, parse_document
from idolctl.errors import suggestion

MAX_EXTENDS = 20
_LISTS = ("zoo", "servers", "classes")


@dataclass(frozen=True)
class Recipe:
    """A recipe and those it extends: `documents` go from the base to the recipe's own file."""

    name: str
    path: Path
    documents: tuple[RecipeFile, ...]
    based_on: str = ""  # for a recipe that was made for a data set: where its other settings come from

    @property
    def about(self) -> str:
        """The recipe's description; without its own, that of the nearest recipe it extends."""
        return next((d.about for d in reversed(self.documents) if d.about), "")

    @property
    def backbone(self) -> str:
        """The default backbone."""
        named = next((d.backbone for d in reversed(self.documents) if d.backbone), None)
        return str(named.value) if named else "r50"

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps the recipe has settings for; all three if it names none."""
        return tuple(sorted({s for d in self.documents for s in d.scope.steps})) or (1, 2, 3)


def recipes_folder() -> Path:
    """The folder of shipped recipes: in an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the shipped recipes (other YAML files of the folder are left out)."""
    return sorted(p.stem for p in recipes_folder().glob("*.yaml") if p.stem not in _LISTS)


def backbone_names() -> list[str]:
    """Names of the shipped backbones."""
    return sorted(p.stem for p in (recipes_folder() / "backbones").glob("*.yaml"))


def load_recipe(name: str, *, others: Sequence[str] = ()) -> Recipe:
    """Load a shipped recipe by name, or any YAML file by path, with the recipes it extends.

    Raises InvalidInput if there is no such recipe or it is not valid YAML. Unknown keys are kept in the documents'
    `mistakes` until the recipe is resolved, so that all mistakes are reported together. `others` are further names that
    an unknown one may be a misspelling of.
    """
    path = find_recipe(name, others=others)
    return Recipe(path.stem, path, tuple(_documents(path, seen=())))


def load_backbone(name: str) -> RecipeFile:
    """Load a shipped backbone by name, or a YAML file by path."""
    path = Path(name) if is_path(name) else recipes_folder() / "backbones" / f"{name}.yaml"
    if not path.is_file():
        fix = suggestion(name, backbone_names())
        raise InvalidInput(f"no backbone '{name}'", where=shown_path(path), fix=fix)
    return parse_document(read_yaml(path))


def find_recipe(name: str, *, others: Sequence[str] = ()) -> Path:
    """Find a recipe's file. Raises InvalidInput, with the nearest name, if there is none."""
    path = Path(name).expanduser() if is_path(name) else recipes_folder() / f"{name}.yaml"
    if not is_path(name) and name not in recipe_names():
        fix = suggestion(name, [*recipe_names(), *others])
        raise InvalidInput(f"no recipe '{name}'", where=shown_path(recipes_folder()), fix=fix)
    if not path.is_file():
        raise InvalidInput(f"recipe file {name} not found", where=str(path), fix="idolctl ls recipes")
    return path


def _documents(path: Path, seen: tuple[Path, ...]) -> list[RecipeFile]:
    document = parse_document(read_yaml(path))
    if document.extends is None:
        return [document]
    base = _extended(document.extends, path)
    if base is None or len(seen) > MAX_EXTENDS or base.resolve() in (p.resolve() for p in (*seen, path)):
        problem = "does not exist" if base is None else "extends this one (a cycle), or the chain is too long"
        what = f"'extends: {document.extends.value}': that recipe {problem}"
        where = document.extends.origin.key("extends")
        fix = suggestion(str(document.extends.value), recipe_names())
        document.mistakes.append(InvalidInput(what, where=where, fix=fix))
        return [document]
    return [*_documents(base, (*seen, path)), document]


def _extended(entry: Entry, path: Path) -> Path | None:
    """Find the extended recipe: a file beside this one, or a shipped recipe by name or file."""
    value = str(entry.value)
    candidates = [path.parent / value, recipes_folder() / value, recipes_folder() / f"{value}.yaml"]
    with suppress(OSError):  # a name that is too long
        return next((c for c in candidates if c.is_file()), None)
    return None


def is_path(name: str) -> bool:
    """Whether a recipe or backbone is named by its file."""
    return name.endswith((".yaml", ".yml")) or "/" in name
