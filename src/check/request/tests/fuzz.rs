//! Arbitrary bytes in the place of a check: beside envoy-types, which must read alike what we read.

use std::collections::BTreeSet;

use super::*;
use crate::fuzz::{Edits, edited, seeds};

/// Reads `frame` in both ways.
fn assert_read_alike(frame: &[u8]) {
    match (decode(Bytes::copy_from_slice(frame)), reference(frame)) {
        (Ok(Decoded::Http(request)), Some(reference)) => {
            // a map keeps the last of two entries with one name, where we keep both and tell them
            // apart; and it tells upper case from lower
            let names: Vec<&str> = request.headers().names().collect();
            let unique: BTreeSet<&str> = names.iter().copied().collect();
            let lower = names.iter().all(|name| *name == name.to_ascii_lowercase());
            if unique.len() == names.len() && lower {
                assert_eq!(ours(frame), Some(reference));
            }
        }
        (Err(unreadable), _) => {
            assert_eq!(unreadable.denial.reason(), Reason::RequestMalformed);
        }
        // what nobody needs we do not look at: prost refuses, say, text there that is no UTF-8
        (Ok(Decoded::Http(_)), None) => {}
        (Ok(Decoded::NoHttp), reference) => assert_eq!(reference, None),
    }
}

#[test]
fn fuzz_bytes_are_read_as_envoy_types_reads_them_or_refused() {
    bolero::check!()
        .with_iterations(2000)
        .for_each(assert_read_alike);
}

#[test]
fn fuzz_edited_checks_are_read_as_envoy_types_reads_them_or_refused() {
    let seeds = seeds("checks");
    for seed in &seeds {
        assert!(ours(seed).is_some(), "a seed is a good check");
        assert_read_alike(seed);
    }
    bolero::check!()
        .with_type::<Edits>()
        .with_iterations(5000)
        .for_each(|edits| assert_read_alike(&edited(&seeds, edits)));
}
