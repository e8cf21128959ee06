//! Standard output and standard error, and columns that line up: the only place of this product that prints.
//!
//! A reader that goes away (`outrigger devices list | head -1`) is no fault: what is left is dropped.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes to standard output and flushes.
pub fn print(text: &str) -> io::Result<()> {
    whole(&mut io::stdout().lock(), text)
}

/// Writes one line to standard error. That it may fail is all the same: there is nobody left to tell.
pub fn note(line: &str) {
    let _ = whole(&mut io::stderr().lock(), &format!("{line}\n"));
}

fn whole(out: &mut impl Write, text: &str) -> io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Lines with aligned columns, two spaces between them and none at the end.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_spaces() {
        let rows = [vec!["x/disk".to_owned(), "/dev/sda".to_owned(), String::new()]];
        assert_eq!(table(&["RESOURCE", "NODE", "WHY"], &rows), "RESOURCE  NODE      WHY\nx/disk    /dev/sda\n");
    }
}
