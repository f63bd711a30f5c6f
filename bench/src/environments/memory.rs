//! What processes hold, from `/proc/PID/smaps_rollup`.

/// Memory in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Pages of its own, and of pages that several processes map the share that falls to it.
    pub(crate) pss_kib: u64,
    /// Pages that nobody else maps.
    pub(crate) private_kib: u64,
}

impl Memory {
    /// The share of what others map as well.
    pub(crate) fn shared_kib(self) -> u64 {
        self.pss_kib.saturating_sub(self.private_kib)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { pss_kib: self.pss_kib + other.pss_kib, private_kib: self.private_kib + other.private_kib }
    }
}

/// Of one process; nothing if it has ended.
pub(crate) fn of_process(pid: u32) -> Memory {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default())
}

fn parse(text: &str) -> Memory {
    let of = |key: &str| {
        let amount = |line: &str| line.strip_prefix(key)?.trim().strip_suffix(" kB")?.parse::<u64>().ok();
        text.lines().find_map(amount).unwrap_or(0)
    };
    Memory { pss_kib: of("Pss:"), private_kib: of("Private_Clean:") + of("Private_Dirty:") + of("Private_Hugetlb:") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_private_pages_are_read() {
        let text = "5-7 ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss:     4000 kB\nPss_Dirty: 9 kB\nPss_Anon:  5 kB\n\
                    Private_Clean:   300 kB\nPrivate_Dirty:  2700 kB\n";
        let memory = parse(text);
        assert_eq!(memory, Memory { pss_kib: 4_000, private_kib: 3_000 });
        assert_eq!((memory.shared_kib(), parse("")), (1_000, Memory::default()));
    }
}
