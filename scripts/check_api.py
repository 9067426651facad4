"""Holds the package to tests/typing/api.pyi, the public API as it was decided.

Compares names, parameters, defaults, properties, fields, enum members and bases of that file with what
the imported package shows, and with the stub of its extension. Prints each difference; an intended one
has a record in docs/adr/.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

API = Path("tests/typing/api.pyi")
STUB = Path("python/jobq/_jobq.pyi")

TESTING = {"ManualClock"}  # of jobq.testing; everything else is of jobq itself
NOT_IN_ALL = {"open", "__version__"}
SPECIAL = {"__enter__", "__exit__", "__eq__", "__hash__"}  # the double-underscored names that are public

# Each intended difference, by the name it concerns, and the record that says why.
INTENDED: dict[str, str] = {}

Shapes = dict[str, str]
"""What is known of each public name: `JobService.enqueue` -> `(topic, payload, weight=0, ...)`."""


# -- the decided API, and stubs: read, never run -----------------------------------------------------------


def shapes_of_file(path: Path) -> Shapes:
    shapes: Shapes = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            shapes |= shapes_of_class_node(node)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            shapes[node.name] = signature_of_node(node, bound=False)
        elif isinstance(node, ast.AnnAssign) and is_public(name := ast.unparse(node.target)):
            shapes[name] = "value"
    return shapes


def shapes_of_class_node(node: ast.ClassDef) -> Shapes:
    bases = [ast.unparse(base) for base in node.bases]
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    fields = [ast.unparse(item.target) for item in node.body if isinstance(item, ast.AnnAssign)]
    made_by = next((text for text in decorators if text.startswith("dataclass")), "")
    frozen, kw_only = "frozen=True" in made_by, "kw_only=True" in made_by
    shapes = {node.name: describe_class(bases, fields if made_by else None, frozen=frozen, kw_only=kw_only)}
    if not made_by:
        shapes |= {f"{node.name}.{field}": "attribute" for field in fields if not field.startswith("_")}
    for item in node.body:
        if isinstance(item, ast.Assign):
            shapes[f"{node.name}.{ast.unparse(item.targets[0])}"] = ast.unparse(item.value)
        elif isinstance(item, ast.FunctionDef) and is_public(item.name):
            key = f"{node.name}()" if item.name in {"__init__", "__new__"} else f"{node.name}.{item.name}"
            shape = shape_of_method_node(item)
            # The overloads of a method make one signature: the first that gives a parameter its default wins.
            shapes[key] = max(shape, shapes.get(key, ""), key=lambda text: text.count("="))
    return shapes


def shape_of_method_node(node: ast.FunctionDef) -> str:
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    if node.name in {"__eq__", "__hash__"}:
        return "defined"
    if "property" in decorators:
        return "property"
    return ("classmethod " if "classmethod" in decorators else "") + signature_of_node(node, bound=True)


def signature_of_node(node: ast.FunctionDef, *, bound: bool) -> str:
    args = node.args
    positional = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
    values = [value_of(node) for node in [*defaults, *args.defaults]]
    make = inspect.Parameter
    parameters = [
        make(
            arg.arg,
            make.POSITIONAL_ONLY if arg in args.posonlyargs else make.POSITIONAL_OR_KEYWORD,
            default=value,
        )
        for arg, value in zip(positional, values, strict=True)
    ]
    if args.vararg:
        parameters.append(make(args.vararg.arg, make.VAR_POSITIONAL))
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        parameters.append(make(arg.arg, make.KEYWORD_ONLY, default=value_of(default)))
    return str(inspect.Signature(parameters[1:] if bound else parameters))


def value_of(default: ast.expr | None) -> object:
    return inspect.Parameter.empty if default is None else ast.literal_eval(default)


# -- the package as it runs --------------------------------------------------------------------------------


def shapes_of_module(module: ModuleType, names: set[str]) -> Shapes:
    shapes: Shapes = {}
    for name in sorted(names):
        value = getattr(module, name, None)
        if inspect.isclass(value) and value.__name__ == name:
            shapes |= shapes_of_class(value)
        elif callable(value) and not inspect.isclass(value):
            shapes[name] = signature_of(value, bound=False)
        elif value is not None:
            shapes[name] = "value"
    return shapes


def shapes_of_class(cls: type[object]) -> Shapes:
    name = cls.__name__
    bases = [base.__name__ for base in cls.__bases__ if base is not object and is_public(base.__name__)]
    own = list(inspect.get_annotations(cls))
    fields: dict[str, dataclasses.Field[object]] | None = getattr(cls, "__dataclass_fields__", None)
    frozen = fields is not None and bool(getattr(cls, "__dataclass_params__").frozen)  # noqa: B009
    kw_only = fields is not None and all(fields[field].kw_only for field in own)
    text = describe_class(bases, own if fields is not None else None, frozen=frozen, kw_only=kw_only)
    shapes = {name: text}
    if issubclass(cls, enum.Enum):
        return shapes | {f"{name}.{member.name}": repr(member.value) for member in cls}
    if fields is None:
        shapes |= {f"{name}.{attribute}": "attribute" for attribute in own if not attribute.startswith("_")}
    makers = {"__init__", "__new__"}
    for member, value in members_of(cls):
        if is_public(member) and member not in {*makers, *(fields or {})} and value is not None:
            shapes[f"{name}.{member}"] = shape_of_member(cls, member, value)
    if fields is None and any(makers & vars(base).keys() for base in own_classes(cls)):
        shapes[f"{name}()"] = signature_of(cls, bound=False)
    return shapes


def own_classes(cls: type[object]) -> list[type[object]]:
    """The class and its private bases, which are its own affair."""
    return [
        cls,
        *(base for base in cls.__mro__[1:] if base.__name__.startswith("_") and "jobq" in base.__module__),
    ]


def members_of(cls: type[object]) -> Iterator[tuple[str, object]]:
    for base in reversed(own_classes(cls)):
        yield from vars(base).items()


def shape_of_member(cls: type[object], name: str, value: object) -> str:
    if name in {"__eq__", "__hash__"}:
        return "defined"
    if inspect.isdatadescriptor(value):  # a property, one of C, or a slot
        return "property"
    if isinstance(value, classmethod) or inspect.isbuiltin(getattr(cls, name)):
        return "classmethod " + signature_of(getattr(cls, name), bound=False)
    return signature_of(value, bound=True) if callable(value) else "attribute"


def signature_of(value: object, *, bound: bool) -> str:
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "without signature"
    empty = inspect.Parameter.empty
    parameters = [parameter.replace(annotation=empty) for parameter in signature.parameters.values()]
    return str(inspect.Signature(parameters[1:] if bound else parameters))


# -- both --------------------------------------------------------------------------------------------------


def describe_class(bases: list[str], fields: list[str] | None, *, frozen: bool, kw_only: bool) -> str:
    text = f"class({', '.join(bases)})"
    if fields is not None:
        text += f" {'frozen ' if frozen else ''}dataclass({'*, ' if kw_only else ''}{', '.join(fields)})"
    return text


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in SPECIAL or name in {"__init__", "__new__", "__version__"}


def differences(wanted: Shapes, found: Shapes, where: str) -> dict[str, str]:
    """One line for each name on which the two do not agree; for a missing class no more than one."""
    lines: dict[str, str] = {}
    for name in sorted(wanted.keys() | found.keys()):
        owner = name.split(".")[0].removesuffix("()")
        if wanted.get(name) == found.get(name) or (owner != name and owner in lines and owner not in found):
            continue
        lines[name] = (
            f"{where}: {name}: decided {wanted.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        )
    return lines


def without_open_ends(shapes: Shapes, wanted: Shapes) -> Shapes:
    """Without what the decided API leaves open: some constructors, and where equality is defined."""
    open_ends = ("()", ".__eq__", ".__hash__")
    return {name: shape for name, shape in shapes.items() if not name.endswith(open_ends) or name in wanted}


def check(api: Path, stub: Path, package: ModuleType, testing: ModuleType) -> dict[str, str]:
    """Every difference of the package, its __all__ and the stub of its extension from the decided API."""
    wanted = shapes_of_file(api)
    names = {name for name in wanted if "." not in name and not name.endswith("()")}
    exported: set[str] = set(package.__all__)
    found = shapes_of_module(package, (names | exported) - TESTING)
    found |= shapes_of_module(testing, set(testing.__all__))
    lines = differences(wanted, without_open_ends(found, wanted), "package")
    for name in sorted(exported ^ (names - TESTING - NOT_IN_ALL)):
        lines.setdefault(name, f"package: {name}: must {'not ' if name in exported else ''}be in __all__")
    in_stub = shapes_of_file(stub)
    classes = {name.split(".")[0].removesuffix("()") for name in in_stub}
    of_stub = {
        name: shape for name, shape in wanted.items() if name.split(".")[0].removesuffix("()") in classes
    }
    for name, line in differences(of_stub, without_open_ends(in_stub, wanted), "stub").items():
        lines[name] = f"{lines[name]}\n{line}" if name in lines else line
    return lines


def report(lines: dict[str, str], intended: dict[str, str]) -> int:
    """Print the differences; 1 for one without its record, and for a record without its difference."""
    failed = False
    for name, line in lines.items():
        record = intended.get(name)
        is_recorded = record is not None and Path(record).is_file()
        failed = failed or not is_recorded
        print(
            line, f"(intended: {record}{'' if is_recorded else ', which does not exist'})" if record else ""
        )
    for name in intended.keys() - lines.keys():
        failed = True
        print(f"{name}: no difference any more, take it off INTENDED")
    return int(failed)


def main() -> int:
    lines = check(API, STUB, importlib.import_module("jobq"), importlib.import_module("jobq.testing"))
    status = report(lines, INTENDED)
    print(f"api: {len(shapes_of_file(API))} names decided, {len(lines)} differ, {len(INTENDED)} intended")
    return status


if __name__ == "__main__":
    sys.exit(main())
