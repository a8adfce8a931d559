//! How much memory the process has, as Linux tells it.

use std::fs;

use super::BenchError;

/// Where it is told (proc(5)).
pub(super) const PATH: &str = "/proc/self/status";

/// The memory of a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resident {
    /// What it has now, in units of 1024 bytes.
    pub(super) now_kib: u64,
    /// The most that it ever had.
    pub(super) peak_kib: u64,
}

/// The memory that this process has now.
pub(super) fn read() -> Result<Resident, BenchError> {
    let refuse = |message| BenchError::Memory { message };
    let status = fs::read_to_string(PATH).map_err(|error| refuse(error.to_string()))?;
    parse(&status).ok_or_else(|| refuse("it has no VmRSS and VmHWM".to_owned()))
}

fn parse(status: &str) -> Option<Resident> {
    let value = |key: &str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Resident {
        now_kib: value("VmRSS")?,
        peak_kib: value("VmHWM")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_process_is_read() {
        let status = "Name:\tringtrue\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nThreads:\t1\n";
        let expected = Resident {
            now_kib: 10_240,
            peak_kib: 20_480,
        };
        assert_eq!(parse(status), Some(expected));
        assert_eq!(parse("VmRSS:\t10240 kB\n"), None);
        assert_eq!(parse("VmHWM: 1 kB\nVmRSS: many kB\n"), None);
    }

    #[test]
    fn this_process_has_memory() {
        let resident = read().expect("Linux tells it");
        assert!(resident.now_kib > 0 && resident.peak_kib >= resident.now_kib);
    }
}
