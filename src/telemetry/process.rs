//! What the operating system knows of this process, read when metrics are asked for.
//!
//! Where it cannot be read (it is Linux's `/proc`), the value is absent.

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessReading {
    /// The memory that is in use, in bytes.
    pub resident_bytes: Option<i64>,
    /// The processor time that was used, in seconds.
    pub cpu_seconds: Option<f64>,
    /// The number of open file descriptors.
    pub open_files: Option<i64>,
}

/// The unit of times in `/proc` (`USER_HZ`), which is the same on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

impl ProcessReading {
    /// Reads them now.
    #[must_use]
    pub fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let open_files = std::fs::read_dir("/proc/self/fd")
            .ok()
            .and_then(|entries| i64::try_from(entries.count()).ok());
        Self {
            resident_bytes: read("/proc/self/status").and_then(|text| resident(&text)),
            cpu_seconds: read("/proc/self/stat").and_then(|text| cpu(&text)),
            open_files,
        }
    }
}

/// Reads `VmRSS:    1234 kB`.
fn resident(status: &str) -> Option<i64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Adds user and system time: the 14th and 15th field, counted behind the name, which may hold spaces.
fn cpu(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let mut fields = behind_name.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_linux_are_read() {
        assert_eq!(
            resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads: 1"),
            Some(2_097_152)
        );
        let stat = "7 (a b) c) S 1 1 1 0 -1 4 5 6 7 8 150 50 0 0 20 0 3 0 99 1 1";
        assert_eq!(cpu(stat), Some(2.0));
        assert_eq!((resident(""), cpu("7 (a) S")), (None, None));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(ProcessReading::now().resident_bytes.unwrap() > 0);
    }
}
