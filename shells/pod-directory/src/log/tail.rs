//! The termination message: from its file, or where the policy says so from the end of the log.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::file::rotated;
use super::record::STAMP_LENGTH;

/// The most bytes of a termination message (`pkg/kubelet/container/runtime.go`, `MaxContainerTerminationMessageLength`).
pub const MESSAGE_LIMIT: usize = 4096;

/// The most bytes and lines taken from the log instead (`MaxContainerTerminationMessageLogLength`, `…LogLines`).
const LOG_BYTES: usize = 2048;
const LOG_LINES: usize = 80;

/// What a container said when it ended (`pkg/kubelet/kuberuntime/kuberuntime_container.go`, `getTerminationMessage`).
///
/// `file` is what appeared at its `terminationMessagePath`; `log` is given where the container failed and its policy is
/// `FallbackToLogsOnError`.
pub fn termination_message(file: &Path, log: Option<&Path>) -> String {
    match first_bytes(file) {
        Ok(bytes) if bytes.is_empty() => log.map(end_of_log).unwrap_or_default(),
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => log.map(end_of_log).unwrap_or_default(),
        Err(error) => format!("Error on reading termination log {}: {error}", file.display()),
    }
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MESSAGE_LIMIT as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last 80 lines of the log without their heads, at most 2048 bytes of them.
fn end_of_log(path: &Path) -> String {
    let mut content = read_end(path).unwrap_or_default();
    if content.split(|byte| *byte == b'\n').count() <= LOG_LINES
        && let Some((_, before)) = rotated(path).unwrap_or_default().pop()
    {
        content.splice(0..0, read_end(&before).unwrap_or_default());
    }
    let mut text = Vec::new();
    for record in last_records(&content) {
        let Some((tag, piece)) = contents(record) else { continue };
        text.extend_from_slice(piece);
        if tag == b'F' {
            text.push(b'\n');
        }
    }
    let begin = text.len().saturating_sub(LOG_BYTES);
    String::from_utf8_lossy(&text[begin..]).into_owned()
}

/// Enough of the end of a file for 80 short lines or 2048 bytes of long ones.
fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    const ENOUGH: u64 = 32 * 1024;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
    let mut bytes = Vec::new();
    file.take(ENOUGH).read_to_end(&mut bytes)?;
    if length > ENOUGH
        && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
    {
        bytes.drain(..=end);
    }
    Ok(bytes)
}

fn last_records(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let records: Vec<&[u8]> = content.split(|byte| *byte == b'\n').filter(|record| !record.is_empty()).collect();
    let begin = records.len().saturating_sub(LOG_LINES);
    records.into_iter().skip(begin)
}

/// Tag and content of a record.
fn contents(record: &[u8]) -> Option<(u8, &[u8])> {
    const HEAD: usize = STAMP_LENGTH + " stdout F ".len();
    (record.len() >= HEAD).then(|| (record[HEAD - 2], &record[HEAD..]))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn record(text: &str) -> String {
        format!("2016-10-06T00:17:09.669794202Z stdout F {text}\n")
    }

    #[test]
    fn the_file_comes_first_and_is_cut_at_its_limit() {
        let place = tempfile::tempdir().unwrap();
        let (file, log) = (place.path().join("message"), place.path().join("0.log"));
        fs::write(&log, record("from the log")).unwrap();
        assert_eq!(termination_message(&file, None), "");
        assert_eq!(termination_message(&file, Some(&log)), "from the log\n");
        fs::write(&file, "").unwrap();
        assert_eq!(termination_message(&file, Some(&log)), "from the log\n");
        fs::write(&file, "x".repeat(5000)).unwrap();
        assert_eq!(termination_message(&file, Some(&log)), "x".repeat(MESSAGE_LIMIT));
    }

    #[test]
    fn the_end_of_the_log_is_80_lines_or_2048_bytes() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("0.log");
        let short: String = (0..100).map(|number| record(&number.to_string())).collect();
        fs::write(&log, short).unwrap();
        let expected: Vec<String> = (20..100).map(|number| number.to_string()).collect();
        assert_eq!(end_of_log(&log).lines().collect::<Vec<_>>(), expected);
        let wide: String = (0..100).map(|_| record(&"y".repeat(1000))).collect();
        fs::write(&log, wide).unwrap();
        assert_eq!(end_of_log(&log).len(), LOG_BYTES);
    }

    #[test]
    fn a_log_that_was_just_rotated_still_tells() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("0.log");
        fs::write(place.path().join("0.log.1"), record("before")).unwrap();
        fs::write(&log, "").unwrap();
        assert_eq!(end_of_log(&log), "before\n");
    }
}
