"""Starts fakesnow's server on a free port, says where it listens, and ends with its standard input.

What it lacks and no session of ours can do without is added: two functions that say where a
session is; and it takes MERGE apart as text, which it reads again as SQL of no dialect, where
FLATTEN and :1 are lost, so that text is made and read in Snowflake's own. Comments on tables
are forgotten: they are written into another database, which no transaction of DuckDB's may do.
And what it cannot do is answered as an error.
"""

import contextvars
import importlib
import sys

import fakesnow
import fakesnow.transforms.merge
import sqlglot
from fakesnow import info_schema, macros

from sqlglot import Expr

info_schema.insert_table_comment_sql = lambda *_: "SELECT 1"
serve = fakesnow.server
importlib.import_module("fakesnow.server")  # under the same name
creation_sql = macros.creation_sql


def with_functions(catalog):
    return creation_sql(catalog) + f"""
        CREATE OR REPLACE MACRO {catalog}.current_warehouse() AS 'COMPUTE';
        CREATE OR REPLACE MACRO {catalog}.current_transaction() AS '1';
    """


macros.creation_sql = with_functions

dialect = contextvars.ContextVar("dialect", default=None)
write, read = Expr.sql, sqlglot.parse_one


def in_snowflakes(function):
    def inner(expression):
        token = dialect.set("snowflake")
        try:
            return function(expression)
        finally:
            dialect.reset(token)

    return inner


Expr.sql = lambda self, to=None, **options: write(self, **({"dialect": to or dialect.get()} | options))
Expr.__str__ = lambda self: self.sql()
sqlglot.parse_one = lambda sql, **options: read(sql, **({"read": dialect.get()} | options))
merge = sys.modules["fakesnow.transforms.merge"]  # the package has a function of the same name
for name in ("_create_merge_candidates", "_mutations", "_counts"):
    setattr(merge, name, in_snowflakes(getattr(merge, name)))

server = sys.modules["fakesnow.server"]


class Answer(server.JSONResponse):
    """What it cannot do is an error of the statement, and no reason to send it again."""

    def __init__(self, content, status_code=200):
        super().__init__(content, status_code=200 if status_code == 500 else status_code)


server.JSONResponse = Answer

with serve() as listening:
    print(f"http://127.0.0.1:{listening['port']}", flush=True)
    sys.stdin.read()
