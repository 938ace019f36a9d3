"""The command `handover settings`."""

from interfaces.cli.terminal.output import AsJson, print_json, print_rows

COLUMNS = {"Variable": 35, "Source": 26, "Value": 0}


def settings(as_json: AsJson = False) -> None:
    """Show the value and the source of every setting.

    Secrets are masked. The source is the environment, the file .env, the default, the variable from which the value
    follows, or a generated file: a development server keeps its secret key beside its SQLite file. With another engine,
    it generates one at each start.
    """
    from infrastructure.container import load_settings

    loaded = load_settings()
    values, sources = loaded.masked_values(), loaded.sources()
    if as_json:
        print_json({name: {"value": value, "source": sources[name]} for name, value in values.items()})
    else:
        print_rows(COLUMNS, [(name, sources[name], _shown(value)) for name, value in values.items()])


def _shown(value: object) -> str:
    """Return the value as it would be written in a variable; the empty text for None."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ",".join(map(str, value))
        case _:
            return str(value)
