//! Amounts of memory: how much this process has used, and how to say one.

/// Bytes of resident memory at most since the process started, mapped files included; `None` where the system does not say.
pub(crate) fn peak() -> Option<u64> {
    // `getrusage` on Linux counts the process that started this one.
    #[cfg(target_os = "linux")]
    {
        peak_of(&std::fs::read_to_string("/proc/self/status").ok()?)
    }
    #[cfg(target_vendor = "apple")]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        // In bytes (man 2 getrusage of macOS), in kilobytes elsewhere.
        getrusage(UsageWho::RUSAGE_SELF).ok().and_then(|u| u64::try_from(u.max_rss()).ok())
    }
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    {
        None
    }
}

/// `12.3 MiB`.
pub(crate) fn amount(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / f64::from(0x10_0000)),
    }
}

/// The line `VmHWM:   1234 kB` (man 5 proc_pid_status).
#[cfg(target_os = "linux")]
fn peak_of(status: &str) -> Option<u64> {
    let rest = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_once_counts() {
        let before = peak().unwrap();
        let big = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(big.iter().step_by(4096).all(|b| *b == 1));
        drop(big);
        let after = peak().unwrap();
        assert!(before > 1 << 19 && after >= 64 << 20 && after >= before, "{before}, {after}");
    }

    #[test]
    fn the_line_is_found() {
        let status = "Name:\tmil\nVmPeak:\t 9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 7 kB\n";
        assert_eq!(peak_of(status), Some(2048 * 1024));
        assert_eq!(peak_of("VmPeak:\t 9 kB\n"), None);
    }
}
