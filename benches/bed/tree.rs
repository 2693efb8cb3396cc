//! The tree that divan prints, read back: it offers its figures in no other way.

/// One benchmark with one argument.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// The name of the function.
    pub(crate) name: String,
    /// The argument.
    pub(crate) argument: String,
    /// The fastest time, in microseconds: what else runs on the machine only adds to it.
    pub(crate) micros: f64,
    /// The median number of allocations, those that only grow one included; zero where there was none.
    pub(crate) allocations: f64,
}

/// The column of the median, after the one with the name and the fastest time.
const MEDIAN: usize = 2;

/// Reads the tree.
pub(crate) fn read(tree: &str) -> Vec<Measured> {
    let mut all: Vec<Measured> = Vec::new();
    let mut function = String::new();
    let mut counts_follow = false;
    for line in tree.lines() {
        // the branches that lead to a line look like the rules between columns
        let line = line.trim_start_matches(['│', ' ']);
        let columns: Vec<&str> = line.split(" │ ").collect();
        let label = columns[0];
        let branch = label.strip_prefix("├─ ").or(label.strip_prefix("╰─ "));
        let words = branch.unwrap_or(label).split_whitespace();
        let words: Vec<&str> = words.collect();
        let median = columns.get(MEDIAN).map(|column| column.trim());
        match (branch, words.as_slice()) {
            (Some(_), [argument, number, unit]) => all.push(Measured {
                name: function.clone(),
                argument: (*argument).to_owned(),
                micros: micros(number, unit).expect("a time"),
                allocations: 0.0,
            }),
            (Some(_), [name]) => (*name).clone_into(&mut function),
            (None, ["alloc:" | "grow:"]) => counts_follow = true,
            (None, [_count]) if counts_follow => {
                let count: Option<f64> = median.and_then(|count| count.parse().ok());
                let last = all.last_mut().expect("a benchmark ahead of its counts");
                last.allocations += count.unwrap_or_else(|| panic!("a count: {line}"));
                counts_follow = false;
            }
            _ => {}
        }
    }
    assert!(!all.is_empty(), "no benchmark was measured");
    all
}

/// Reads `5.417` and `µs`.
fn micros(number: &str, unit: &str) -> Option<f64> {
    let factor = match unit {
        "ns" => 1e-3,
        "µs" => 1.0,
        "ms" => 1e3,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}
