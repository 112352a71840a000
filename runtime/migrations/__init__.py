"""The store's migrations: env.py runs them, versions/ holds one file per step.

A new step is a file whose name begins with the next four digits, which are its `revision`; that is all. The tables that
it is about are also declared where they are used, and tests/runtime/test_store_schema.py holds the two against each
other: a new module with tables goes into its METADATAS.
"""
