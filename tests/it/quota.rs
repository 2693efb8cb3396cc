//! Counters that replicas share: every store counts alike, and none admits more than it says when
//! Redis fails.

mod conformance;
mod faults;
mod lease;
mod process;
mod stores;
