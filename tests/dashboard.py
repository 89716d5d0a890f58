"""Loads a dashboard as Grafana's library does, and tells what of the file Grafana would not know or not take.

Called by tests/dashboard with the file's name. Ends with 1 where something is wrong, each named by its place.
"""

import enum
import json
import sys
import types
import typing

from grafana_foundation_sdk.cog import encoder, plugins, runtime
from grafana_foundation_sdk.models import dashboard, prometheus

# Keys of the Prometheus plugin's own, which the library's types of annotations and variables leave out.
PLUGINS_OWN = {"textFormat", "titleFormat", "definition"}


def lost(file, loaded, place=""):
    """Whatever is in the file and not, or otherwise, in what was loaded of it."""
    if isinstance(file, dict) and isinstance(loaded, dict):
        for key, value in file.items():
            if key in loaded:
                yield from lost(value, loaded[key], f"{place}/{key}")
            elif key not in PLUGINS_OWN:
                yield f"{place}/{key}: unknown to Grafana"
    elif isinstance(file, list) and isinstance(loaded, list) and len(file) == len(loaded):
        for number, (value, other) in enumerate(zip(file, loaded)):
            yield from lost(value, other, f"{place}/{number}")
    elif file != loaded:
        yield f"{place}: {file!r} was read as {loaded!r}"


def mistyped(value, wanted, place=""):
    """Whatever isn't of the type that the library wants of it; it reads values as they come."""
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    value = value.value if isinstance(value, enum.Enum) else value
    if origin in (typing.Union, types.UnionType):
        if value is not None or type(None) not in inner:
            tried = [list(mistyped(value, one, place)) for one in inner if one is not type(None)]
            yield from min(tried, key=len)
    elif origin is list:
        if not isinstance(value, list):
            yield f"{place}: {value!r} is no list"
            return
        for number, one in enumerate(value):
            yield from mistyped(one, inner[0], f"{place}/{number}")
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{place}: {value!r} is no object"
            return
        for key, one in value.items():
            yield from mistyped(one, inner[1], f"{place}/{key}")
    elif origin is typing.Literal:
        if value not in inner:
            yield f"{place}: {value!r} is none of {list(inner)}"
    elif isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        if value not in [one.value for one in wanted]:
            yield f"{place}: {value!r} is none of {[one.value for one in wanted]}"
    elif wanted is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield f"{place}: {value!r} is no number"
    elif wanted in (str, int, bool):
        if type(value) is not wanted:
            yield f"{place}: {value!r} is no {wanted.__name__}"
    elif hasattr(value, "to_json"):
        # Options, queries and what one field's type leaves open know their own.
        for name, kind in typing.get_type_hints(type(value)).items():
            yield from mistyped(getattr(value, name), kind, f"{place}/{name}")


def unknown(panels):
    """Panels whose kind or queries the library has no type for; rows have neither."""
    for panel in panels:
        if isinstance(panel, dashboard.RowPanel):
            yield from unknown(panel.panels)
            continue
        what = f"panel {panel.id_val} ({panel.title})"
        if runtime.panelcfg_config(panel.type_val) is None:
            yield f"{what}: no panel is of type {panel.type_val!r}"
        if not panel.targets:
            yield f"{what}: no query"
        for target in panel.targets or []:
            if not isinstance(target, prometheus.Dataquery) or not target.expr:
                yield f"{what}: no query of Prometheus: {target!r}"


def main():
    with open(sys.argv[1], encoding="utf-8") as text:
        file = json.load(text)
    plugins.register_default_plugins()
    loaded = dashboard.Dashboard.from_json(file)
    written = json.loads(encoder.JSONEncoder().encode(loaded))
    wrong = [*lost(file, written), *mistyped(loaded, dashboard.Dashboard), *unknown(loaded.panels)]
    print("\n".join(wrong) or f"{loaded.title}: {len(loaded.panels)} panels, loaded whole")
    sys.exit(bool(wrong))


main()
