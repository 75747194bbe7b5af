"""The public interface keeps one grammar: every name in an `__all__` is walked and held to it."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from scribe import engines, guides

NAMESPACES = ("scribe", "scribe.tl", "scribe.pl", "scribe.get", "scribe.datasets")
OPTIONS = (engines.SVI, engines.NUTS, engines.EarlyStopping, engines.Optimizer, *guides.ALL.values())
"""Objects that users pass as options."""
MAX_POSITIONAL = 3
POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def public(namespace: str) -> dict[str, object]:
    module = importlib.import_module(namespace)
    return {f"{namespace}.{name}": getattr(module, name) for name in module.__all__}


def functions(namespace: str) -> dict[str, object]:
    return {name: item for name, item in public(namespace).items() if inspect.isfunction(item)}


def classes(namespace: str) -> dict[str, type]:
    return {name: item for name, item in public(namespace).items() if inspect.isclass(item)}


def constructed(namespace: str) -> dict[str, type]:
    """Classes that users construct; exceptions take what Python's take and have no signature of their own."""
    return {name: cls for name, cls in classes(namespace).items() if not issubclass(cls, BaseException)}


def methods(namespace: str) -> dict[str, object]:
    """Public methods and properties that the package itself defines, by qualified name."""
    found = {}
    for owner, cls in classes(namespace).items():
        for name, raw in inspect.getmembers_static(cls):
            member = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
            member = member.fget if isinstance(member, property) else member
            if not name.startswith("_") and inspect.isfunction(member) and member.__module__.startswith("scribe"):
                found[f"{owner}.{name}"] = member
    return found


def callables(namespace: str) -> dict[str, object]:
    return functions(namespace) | methods(namespace)


def parameters(function: object) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if p.name not in {"self", "cls"}]


def section(function: object, title: str) -> str | None:
    """Body of one section of a numpydoc docstring, `None` where there is none."""
    doc = inspect.getdoc(function) or ""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", doc, flags=re.M | re.S)
    return None if found is None else found.group(1)


def documented(function: object) -> list[str]:
    """Parameter names in the order of the docstring, a type after the name included."""
    lines = (section(function, "Parameters") or "").splitlines()
    return [name.strip() for line in lines if re.match(r"\S", line) for name in line.split(",")]


@pytest.mark.parametrize("option", OPTIONS)
def test_options_are_objects_with_named_fields(option):
    """One positional field at most, never a boolean, and every field documented."""
    fields = parameters(option)
    positional = [p for p in fields if p.kind in POSITIONAL]
    assert len(positional) <= 1
    assert not any(isinstance(p.default, bool) for p in positional)
    assert documented(option) == [p.name for p in fields]


def over_namespaces(test):
    return pytest.mark.parametrize("namespace", NAMESPACES)(test)


@over_namespaces
def test_namespace_is_documented_and_complete(namespace):
    module = importlib.import_module(namespace)
    assert module.__doc__
    assert len(module.__all__) == len(set(module.__all__))
    assert len(public(namespace)) > 0


@over_namespaces
def test_at_most_three_positional_parameters(namespace):
    walked = callables(namespace) | constructed(namespace)
    counts = {name: sum(p.kind in POSITIONAL for p in parameters(item)) for name, item in walked.items()}
    assert {name: count for name, count in counts.items() if count > MAX_POSITIONAL} == {}


@over_namespaces
def test_no_boolean_positionals(namespace):
    found = [
        f"{name}({p.name})"
        for name, item in (callables(namespace) | constructed(namespace)).items()
        for p in parameters(item)
        if p.kind in POSITIONAL and (isinstance(p.default, bool) or re.match(r"bool\b", str(p.annotation)))
    ]
    assert found == []


@over_namespaces
def test_fully_typed(namespace):
    found = []
    for name, item in callables(namespace).items():
        signature = inspect.signature(item)
        found += [f"{name}({p.name})" for p in parameters(item) if p.annotation is inspect.Parameter.empty]
        found += [f"{name} -> ?"] if signature.return_annotation is inspect.Signature.empty else []
    assert found == []


@over_namespaces
def test_docstrings(namespace):
    walked = callables(namespace) | classes(namespace)
    assert [name for name, item in walked.items() if not inspect.getdoc(item)] == []
    returning = {
        name: item
        for name, item in functions(namespace).items()
        if str(inspect.signature(item).return_annotation) != "None"
    }
    assert [name for name, item in returning.items() if not (section(item, "Returns") or section(item, "Yields"))] == []


@over_namespaces
def test_references_are_cited_below_the_summary(namespace):
    """Summaries stand in tables of the documentation, where a citation leads nowhere."""
    for name, item in (callables(namespace) | classes(namespace)).items():
        summary, _, rest = (inspect.getdoc(item) or "").partition("\n\n")
        assert "]_" not in summary.split(". ")[0], name
        assert set(re.findall(r"\.\. \[(\w+)\]", rest)) == set(re.findall(r"\[(\w+)\]_", summary + rest)), name


@over_namespaces
def test_every_parameter_is_documented_by_name_alone(namespace):
    found = {}
    for name, item in functions(namespace).items():
        named = {p.name for p in parameters(item) if p.kind not in VARIADIC}
        open_ended = any(p.kind in VARIADIC for p in parameters(item))
        told = {word.lstrip("*") for word in documented(item)}
        variadic = {p.name for p in parameters(item) if p.kind in VARIADIC}
        missing, unknown = named - told, told - named - variadic
        if missing or (unknown and not open_ended) or any(":" in word for word in told):
            found[name] = (sorted(missing), sorted(unknown))
    assert found == {}


@over_namespaces
def test_verbs_write_like_scanpy(namespace):
    if namespace != "scribe.tl":
        return
    for name, verb in functions(namespace).items():
        named = inspect.signature(verb).parameters
        assert next(iter(named)) in {"adata", "mdata", "data"}, name
        assert named["copy"].default is False, name
        assert {"key_added", "key"} & set(named), name
        assert re.search(r"AnnData.*\| None", str(inspect.signature(verb).return_annotation)), name
        assert "Sets the following fields" in (section(verb, "Returns") or ""), name


@over_namespaces
def test_plots_draw_like_scanpy(namespace):
    if namespace != "scribe.pl":
        return
    for name, plot in functions(namespace).items():
        named = inspect.signature(plot).parameters
        assert next(iter(named)) in {"adata", "mdata", "data"}, name
        missing = {"ax", "show", "save"} - set(named)
        assert not missing, f"{name} lacks {sorted(missing)}"
        assert {named[option].kind for option in ("ax", "show", "save")} == {inspect.Parameter.KEYWORD_ONLY}, name
