"""The import rule that import-linter lacks: a list of what is allowed, which no new dependency can slip past."""

import sys
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class StandardLibraryAlone(Contract):
    """`package` imports itself, the standard library and the packages named in `besides`, and nothing else."""

    type_name = "standard_library_alone"

    package = fields.StringField()
    besides = fields.ListField(subfield=fields.StringField(), required=False, default=[])

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        package, besides = cast(str, self.package), cast(list[str], self.besides)
        allowed = {package, *besides, *sys.stdlib_module_names}
        illegal = sorted(
            f"{importer} -> {imported}"
            for importer in {package} | graph.find_descendants(package)
            for imported in graph.find_modules_directly_imported_by(importer)
            if not any(f"{imported}.".startswith(f"{name}.") for name in allowed)
        )
        return ContractCheck(kept=not illegal, metadata={"illegal": illegal})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for link in check.metadata["illegal"]:
            output.print_error(link)
