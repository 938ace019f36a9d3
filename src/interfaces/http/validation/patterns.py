"""Regular expressions for JSON Schema that say exactly which texts the service accepts.

They have the same meaning in JavaScript, Python and Rust, so they avoid `\\s` and `\\S`, which differ.
"""

BLANK = r"\t-\r\u001c- \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""The characters that str.strip() removes, for use inside a character class."""
TEXT = {"pattern": r"^[^\u0000]*$"}
"""For `json_schema_extra` of a field: any text without NUL characters."""
NAME = {"pattern": rf"^[^\u0000]*[^\u0000{BLANK}][^\u0000]*$"}
"""For `json_schema_extra` of a field: any text without NUL characters that is not blank."""
