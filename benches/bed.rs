//! What the benchmarks share: Portcullis with a catalog of a chosen size, servers to compare it
//! with, the requests that are asked about, and clients that fail on a wrong answer.

#![expect(dead_code, reason = "each benchmark uses its own part")]

#[path = "../tests/support.rs"]
pub(crate) mod support;

#[path = "bed/baseline.rs"]
pub(crate) mod baseline;
#[path = "bed/callgrind.rs"]
pub(crate) mod callgrind;
#[path = "bed/client.rs"]
pub(crate) mod client;
#[path = "bed/gate.rs"]
pub(crate) mod gate;
#[path = "bed/open_loop.rs"]
pub(crate) mod open_loop;
#[path = "bed/requests.rs"]
pub(crate) mod requests;
