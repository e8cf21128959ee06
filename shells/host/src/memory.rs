//! What a process keeps in memory and does not need.
//!
//! Of its own executable: the kernel maps an executable's pages in as they are used, each with fifteen beside it (`fault_around_bytes`), and takes
//! none out again while memory is free. So a process that runs for months keeps what only its start has used.
//!
//! Of what was allocated and freed: the C library's heap ends where the last piece in use lies, and what is free below stays.
//! And each thread that finds a heap in use takes another one, with free room of its own.
//!
//! What it does not do: of the executable it gives nothing back that was written to. Pages that are used again come back by themselves, from
//! the page cache, which other processes of the same executable share.
#![allow(unsafe_code)]

use std::fs;
use std::path::Path;

use rustix::mm::{Advice, madvise};

/// Unmaps the pages of this process' executable that are as they are in the file; answers how many bytes were mapped.
pub fn forget_executable() -> u64 {
    let Ok(executable) = fs::read_link("/proc/self/exe") else { return 0 };
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else { return 0 };
    let unchanged = mappings(&maps, &executable);
    let forgotten = unchanged.iter().map(|mapping| {
        let length = mapping.end - mapping.start;
        // SAFETY: the range is a whole mapping of this process that cannot be written to, and none of its pages differs
        // from the file: the next access to any of them finds the same bytes.
        let done =
            unsafe { madvise(std::ptr::with_exposed_provenance_mut(mapping.start), length, Advice::LinuxDontNeed) };
        done.map_or(0, |()| mapping.resident)
    });
    forgotten.sum()
}

/// Lets all threads allocate from one heap. For a process in which one thread allocates much and others little; to be called
/// before any other is started.
pub fn share_one_heap() {
    // SAFETY: it sets a number of the C library (`mallopt(3)`), which nobody reads yet beside this thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives the pages of the heap back that hold nothing in use.
pub fn forget_freed() {
    // SAFETY: it touches only what is free, under the heap's own lock (`malloc_trim(3)`).
    unsafe { libc::malloc_trim(0) };
}

/// A mapping: its addresses, and how many of its bytes are in memory.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
    resident: u64,
}

/// The mappings of a file that nobody may write to and of which no page is the process' own (`proc_pid_smaps(5)`).
fn mappings(smaps: &str, file: &Path) -> Vec<Mapping> {
    let mut found: Vec<(Mapping, bool)> = Vec::new();
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [range, mode, _, _, _, path @ ..] if range.contains('-') => {
                let numbers = range
                    .split_once('-')
                    .map(|(start, end)| (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)));
                let Some((Ok(start), Ok(end))) = numbers else { continue };
                let is_files = Path::new(&path.join(" ")) == file && !mode.contains('w');
                found.push((Mapping { start, end, resident: 0 }, is_files));
            }
            [key, kilobytes, "kB"] => {
                let Some((mapping, is_unchanged)) = found.last_mut() else { continue };
                let bytes = kilobytes.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1024);
                match *key {
                    "Rss:" => mapping.resident = bytes,
                    "Anonymous:" | "Swap:" => *is_unchanged &= bytes == 0,
                    _ => (),
                }
            }
            _ => (),
        }
    }
    found.into_iter().filter(|(_, is_unchanged)| *is_unchanged).map(|(mapping, _)| mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_wrote_to_is_given_back() {
        let smaps = "\
00200000-0060c000 r--p 00000000 fe:00 1 /a b
Rss:                2928 kB
Anonymous:             0 kB
0060d000-0136b000 r-xp 0040c000 fe:00 1 /a b
Rss:                   8 kB
Anonymous:             4 kB
0136b000-01373000 r--p 01169000 fe:00 1 /a b
Anonymous:            32 kB
01373000-0137a000 rw-p 01170000 fe:00 1 /a b
Anonymous:             0 kB
01400000-01500000 r-xp 00000000 fe:00 1 /other
7ffee000-7fff0000 rw-p 00000000 00:00 0 [stack]
";
        let mapping = Mapping { start: 0x20_0000, end: 0x60_c000, resident: 2928 * 1024 };
        assert_eq!(mappings(smaps, Path::new("/a b")), [mapping]);
    }

    #[test]
    fn a_process_goes_on_without_the_pages_of_its_executable() {
        assert!(forget_executable() > 0);
        let words: Vec<String> = ["a", "b"].map(str::to_uppercase).into();
        assert_eq!(words.concat(), "AB");
    }
}
