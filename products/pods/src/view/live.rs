//! The live line of each container: state, probes, restarts, CPU, memory, time. Narrow terminals see fewer columns.

use outrigger_terminal::screen::{crop, visible_width};
use outrigger_terminal::table::width;

use super::state::Mood;

/// What a live line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The container, with its pod where there are several.
    pub name: String,
    /// Its state in a word.
    pub state: String,
    /// Whether that is good.
    pub mood: Mood,
    /// `ready`, `starting`, …; empty without probes.
    pub probes: String,
    /// `2 restarts`; empty without any.
    pub restarts: String,
    /// Empty where it is not known.
    pub cpu: String,
    /// Empty where it is not known.
    pub memory: String,
    /// How long it has run.
    pub time: String,
}

/// The fewest columns that a name keeps.
const LEAST_NAME: usize = 8;

/// Lines for a terminal of this width. Columns go from the right, the least needed first; the name is cut last.
pub fn lines(rows: &[Row], columns: usize, colors: bool) -> Vec<String> {
    let cells: Vec<[&str; 7]> = rows
        .iter()
        .map(|row| {
            let Row { name, state, mood: _, probes, restarts, cpu, memory, time } = row;
            [name, state, probes, restarts, cpu, memory, time].map(String::as_str)
        })
        .collect();
    let mut widths = [0; 7];
    for row in &cells {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    // Dropped first: time, CPU, memory, restarts, probes.
    let total =
        |widths: &[usize; 7]| 2 + widths.iter().filter(|width| **width > 0).map(|width| width + 2).sum::<usize>();
    for column in [6, 4, 5, 3, 2] {
        if total(&widths) > columns + 2 {
            widths[column] = 0;
        }
    }
    let over = total(&widths).saturating_sub(columns + 2);
    widths[0] = widths[0].saturating_sub(over).max(LEAST_NAME.min(widths[0]));
    rows.iter().zip(&cells).map(|(row, cells)| line(row, cells, &widths, colors)).collect()
}

fn line(row: &Row, cells: &[&str; 7], widths: &[usize; 7], colors: bool) -> String {
    let (mark, color) = match row.mood {
        Mood::Idle => ("○", 90),
        Mood::Good => ("●", 32),
        Mood::Bad => ("●", 31),
    };
    let mut line = if colors { format!("\x1b[{color}m{mark}\x1b[0m ") } else { format!("{mark} ") };
    for (column, cell) in cells.iter().enumerate().filter(|(column, _)| widths[*column] > 0) {
        let shown = crop(cell, widths[column]);
        let pad = widths[column].saturating_sub(visible_width(&shown));
        // Numbers stand at the right of their columns.
        let (before, after) = if (4..=6).contains(&column) { (pad, 0) } else { (0, pad) };
        line.extend(std::iter::repeat_n(' ', before));
        line.push_str(&shown);
        line.extend(std::iter::repeat_n(' ', after + 2));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |name: &str, state: &str, mood, probes: &str, restarts: &str, cpu: &str, memory: &str| Row {
            name: name.into(),
            state: state.into(),
            mood,
            probes: probes.into(),
            restarts: restarts.into(),
            cpu: cpu.into(),
            memory: memory.into(),
            time: "12s".into(),
        };
        vec![
            row("app", "running", Mood::Good, "ready", "", "120m", "3.4Mi"),
            row("a-long-name", "CrashLoopBackOff", Mood::Bad, "", "2 restarts", "", ""),
        ]
    }

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        assert_eq!(
            lines(&rows(), 100, false),
            [
                "● app          running           ready              120m  3.4Mi  12s",
                "● a-long-name  CrashLoopBackOff         2 restarts               12s",
            ]
        );
    }

    #[test]
    fn a_narrow_terminal_sees_fewer_columns_and_never_a_longer_line() {
        for columns in 1..90 {
            for line in lines(&rows(), columns, true) {
                assert!(visible_width(&line) <= columns.max(30), "{columns}: {line}");
            }
        }
        assert_eq!(lines(&rows(), 34, false), ["● app          running", "● a-long-name  CrashLoopBackOff"]);
    }
}
