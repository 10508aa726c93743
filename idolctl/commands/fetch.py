"""`idolctl fetch NAME...`."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from idol_core.errors import IdolError, InvalidInput
from idol_core.system.cache import cache_folder
from idol_core.system.files import sha256_of
from idol_core.system.hub import PREFIX, HubPlace
from idol_core.system.hub_cache import cached_hub_weights, hub_weights
from idolctl.commands import complete, options
from idolctl.errors import raise_all
from idolctl.terminal.progress import say, transfer
from idolctl.zoo.entries import Zoo, ZooEntry, ZooFolder, load_zoo
from idolctl.zoo.fetch import Fetched, fetch, original, verify
from idolctl.zoo.fetch_folder import fetch_folder, verify_folder
from idolctl.zoo.sources import in_order, sources_of
from idolctl.zoo.sources import mirrors as all_mirrors

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(name="fetch", epilog=options.examples("idolctl fetch ovis-r50", "idolctl fetch ovis-r50 --dry-run"))
def fetch_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Zoo names (idolctl ls zoo), or hf:USER/NAME.", autocompletion=complete.zoo),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Download everything in the zoo.")] = False,
    mirror: Annotated[list[str] | None, typer.Option(help="URL or folder that contains NAME.pth; tried first.")] = None,
    source: options.SOURCE = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use the cache and mirror folders only.")] = False,
    check: Annotated[bool, typer.Option("--verify", help="Check the hashes of cached files; do not download.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be downloaded, and from where.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without data before a retry.")] = 30.0,
    as_json: options.JSON = False,
) -> None:
    """Download weights to the cache ($IDOLCTL_CACHE); check each, pin its hash and also store it as safetensors."""
    hub_names = [name for name in names or [] if name.startswith(PREFIX)]
    if hub_names:
        if names != hub_names or check or mirror:
            what = "hf: names go neither with zoo names, nor with --mirror or --verify"
            raise InvalidInput(what, where="command line", fix=f"idolctl fetch {' '.join(hub_names)}")
        _fetch_from_hub(hub_names, as_json, timeout=timeout, offline=offline, dry_run=dry_run)
        return
    entries = _chosen(load_zoo(), names or [], everything, check)
    mirrors = all_mirrors(mirror or [])
    first = source.value if source else None
    how: dict[str, Any] = {"offline": offline, "timeout": timeout, "first": first}
    if dry_run:
        _foretell(entries, mirrors, offline, first)
        return
    done: list[Fetched] = []
    failed: list[IdolError] = []
    for entry in entries:
        with transfer(entry.name) as line:
            try:
                if check:
                    fetched = verify(entry) if isinstance(entry, ZooEntry) else verify_folder(entry)
                elif isinstance(entry, ZooEntry):
                    fetched = fetch(entry, mirrors, progress=line.update, **how)
                else:
                    fetched = fetch_folder(entry, mirrors, progress=line.update, **how)
            except IdolError as error:
                failed.append(error)
                continue
        done.append(fetched)
        if not as_json:
            print(f"{fetched.name}  {fetched.path}  ({'as pinned' if check else fetched.source})")
    if as_json:
        print(json.dumps([{"name": f.name, "path": str(f.path), "source": f.source, "sha256": f.sha256} for f in done]))
    raise_all(failed)
    if len(entries) == 1 and not check and not as_json:
        print(f"Next: {_next(entries[0])}")


def _fetch_from_hub(names: list[str], as_json: bool, *, timeout: float, offline: bool, dry_run: bool) -> None:
    if dry_run:
        for name in names:
            print(f"{name}  from {HubPlace.parse(name).url}")
        return
    done = []
    for name in names:
        with transfer(name) as line:
            if offline:
                path = cached_hub_weights(name)
            else:
                path = hub_weights(name, timeout=timeout, progress=line.update, say=say)
        done.append({"name": name, "path": str(path), "source": name, "sha256": sha256_of(path)})
        if not as_json:
            print(f"{name}  {path}")
    if as_json:
        print(json.dumps(done))
    else:
        print(f"Next: idolctl predict VIDEO --weights {names[0]}")


def _next(entry: ZooEntry | ZooFolder) -> str:
    if isinstance(entry, ZooFolder):
        return f"idolctl split fetch {'ytvis19@oracle' if entry.name.endswith('ytvis19') else 'ovis@oracle'}"
    if entry.dataset:
        return f"idolctl predict VIDEO --weights {entry.name}, or idolctl eval {entry.name} --data {entry.dataset}"
    steps = "1,2,3" if entry.kind == "imagenet" else "3" if entry.steps == "1,2" else "2,3"
    init = f" --init {entry.name}" if entry.steps == "1" else ""  # recipes start steps 2 and 3 from other weights
    return f"idolctl run ytvis19 --backbone {entry.backbone} --steps {steps}{init} (or ytvis21, ovis)"


def _chosen(zoo: Zoo, names: list[str], everything: bool, check: bool) -> list[ZooEntry | ZooFolder]:
    if everything == bool(names):
        raise InvalidInput("nothing to fetch: give names, or --all", where="command line", fix="idolctl ls zoo")
    if names:
        return [zoo.find(name) for name in names]
    chosen: list[ZooEntry | ZooFolder] = [e for e in zoo.weights if e.sources and not (check and not original(e.name))]
    return chosen + [f for f in zoo.folders if not check or (cache_folder() / f.name).is_dir()]


def _foretell(entries: list[ZooEntry | ZooFolder], mirrors: list[str], offline: bool, first: str | None) -> None:
    for entry in entries:
        if isinstance(entry, ZooFolder):
            there = (cache_folder() / entry.name).is_dir()
            places = [*mirrors, *([] if offline else in_order(entry.sources, first))]
        else:
            there = original(entry.name) is not None
            places = [str(source) for source in sources_of(entry, mirrors, offline=offline, first=first)]
        print(f"{entry.name}  {'there already' if there else 'from ' + (', else '.join(places) or 'nowhere')}")
    print(f"into {cache_folder()}", file=sys.stderr)
