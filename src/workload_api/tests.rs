//! Tests of the Workload API's client without an agent; `tests/it/workload_api.rs` has one.
