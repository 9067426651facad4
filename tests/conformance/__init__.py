"""The contract, rule by rule, on every kind of service.

A test is named after its rule (`test_O1_...`); `test_rules.py` holds that no rule is without one. These tests
see the public API alone, so another repository or another engine joins with one line of `factory.py`.

Rules, or parts of rules, that cannot be seen from here and are tested elsewhere:

* C2: who was reserved at a crash is read from the sled store's `inflight` file. Here a crash leaves a copy of
  what a Python repository holds, and a call acknowledged after the reservation vouches for its being there.
* C4, the clean mark on disk; C5, the read-only command line; R7, that a block of ids is synced before its
  first number is used: they need a store on disk.
* R8, that a `Sled` object is only a description until a service opens it.
* T4, that no lock is held longer than 1 ms, and V5, that statistics are O(1): figures, for the benches.
* W3, the look at the clock once a second while a Delayed job exists: a test cannot set the system's clock.
* W6, one waiter in the lists of several topics: the structure is there, the public call is not.
"""
