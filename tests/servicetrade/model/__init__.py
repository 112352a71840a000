"""An exhaustive check of the login protocol: the real code, driven through every interleaving of three workers.

    worker 1      worker 2      worker 3        three coroutines, each running `handed.program`:
   SharedLogin   SharedLogin   SharedLogin      get a session, send a request, after a 401 another session
       │ ▲           │ ▲           │ ▲
       │ │ Operation, Reply: one atomic step    no event loop: awaiting hands an operation to the driver
       ▼ │           ▼ │           ▼ │
    ┌─ World ─────────────────────────────┐
    │ row      the store's, by `RowStore` │ ◀── time: a pause ends, a lease runs out
    │ alive    sessions on ServiceTrade   │ ◀── the adversary: kills sessions and workers, cancels workers,
    │ events   what the adversary has done│     ends leases early, loses answers, makes the store fail
    └─────────────────────────────────────┘

Each way that this can go is a path of steps. A transaction is one step; a request to ServiceTrade is two: it acts, and
its answer arrives, with all that others do in between. The adversary may act at any moment, but only so many times.

Read it in this order:

- `handed`: the worker's program, and the store, calls and sleep that hand over what they are asked.
- `automaton`: what the real code does next after each reply, found out by running it; `frames`: when two coroutines
  are in the same state.
- `store`: the session store over one row; test_model_store.py holds it to the real one.
- `world`: the values; `steps`: which steps there are.
- `properties`: what must hold.
- `explorer` (and `graph`): visits every state, breadth-first; a flaw is told with a shortest way there.
- `walks`: random ways, on which fresh coroutines must do what the automaton says.
- `scenarios`: how worlds begin; `mutants`: broken protocols, which must be caught.

`python -m tests.servicetrade.model 2` explores all scenarios with two events, which takes minutes.

What it leaves out: tasks of one process that share a session (`servicetrade.session`), how long things take, and an
operator who drops the session. That a worker's transaction takes effect only after the worker was cancelled and went on
is not explored either.
"""
