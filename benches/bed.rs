//! What the benchmarks share: Portcullis with a catalog of a chosen size, servers to compare it
//! with, the requests that are asked about, clients that fail on a wrong answer, and the document
//! that the figures go to.

#![expect(
    dead_code,
    reason = "each benchmark uses its own part of what is offered here"
)]
#![expect(clippy::panic, reason = "what fails here ends a benchmark")]

#[path = "../tests/support.rs"]
pub(crate) mod support;

#[path = "bed/baseline.rs"]
pub(crate) mod baseline;
#[path = "bed/callgrind.rs"]
pub(crate) mod callgrind;
#[path = "bed/change.rs"]
pub(crate) mod change;
#[path = "bed/client.rs"]
pub(crate) mod client;
#[path = "bed/document.rs"]
pub(crate) mod document;
#[path = "bed/flood.rs"]
pub(crate) mod flood;
#[path = "bed/front.rs"]
pub(crate) mod front;
#[path = "bed/gate.rs"]
pub(crate) mod gate;
#[path = "bed/ghz.rs"]
pub(crate) mod ghz;
#[path = "bed/h2load.rs"]
pub(crate) mod h2load;
#[path = "bed/line.rs"]
pub(crate) mod line;
#[path = "bed/open_loop.rs"]
pub(crate) mod open_loop;
#[path = "bed/pair.rs"]
pub(crate) mod pair;
#[path = "bed/proc.rs"]
pub(crate) mod proc;
#[path = "bed/requests.rs"]
pub(crate) mod requests;
#[path = "bed/statistics.rs"]
pub(crate) mod statistics;
#[path = "bed/target.rs"]
pub(crate) mod target;
#[path = "bed/tree.rs"]
pub(crate) mod tree;
