//! What the tests share that fuzz: seeds, which stand in `tests/data/fuzz`, and edits of them.
//!
//! The edits come from `bolero`, so that coverage can guide them where it is run by
//! `cargo bolero`; in `cargo test` they are random and few, in `make fuzz` many.

use std::fs;
use std::path::Path;

/// Which seed, and its edits: where, which, and with what byte.
pub(crate) type Edits = (u8, Vec<(u16, u8, u8)>);

/// The seeds in the folder `name`, in order of their names.
pub(crate) fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/fuzz")
        .join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seed in {}", folder.display());
    paths
        .iter()
        .map(|path| fs::read(path).expect("a seed can be read"))
        .collect()
}

/// A seed with its edits.
pub(crate) fn edited(seeds: &[Vec<u8>], (seed, edits): &Edits) -> Vec<u8> {
    let mut bytes = seeds[usize::from(*seed) % seeds.len()].clone();
    for (at, edit, byte) in edits {
        let at = usize::from(*at) % (bytes.len() + 1);
        match edit % 6 {
            0 => bytes.insert(at, *byte),
            1 => bytes.truncate(at),
            2 => {
                let end = bytes.len().min(at + usize::from(*byte));
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            3 if at < bytes.len() => {
                let end = bytes.len().min(at + usize::from(*byte % 8) + 1);
                bytes.drain(at..end);
            }
            4 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(*byte),
            _ if at < bytes.len() => bytes[at] = *byte,
            _ => bytes.push(*byte),
        }
    }
    bytes
}
