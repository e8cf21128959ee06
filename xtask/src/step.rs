//! Steps of a longer run: each is announced, streams its output, and tells its time. And how a run ends.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use thiserror::Error;

/// Something was found wrong, and its output has said what. Ends with exit code 1.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Found(pub String);

/// This machine cannot do what was asked for. Ends with exit code 3.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct CannotRunHere(pub String);

/// The exit code of a program that ran for us.
#[derive(Debug, Error)]
#[error("it ended with exit code {0}")]
struct EndedWith(u8);

/// Announces a step, takes it, and tells its time.
pub fn timed<T>(name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("==> {name}");
    let start = Instant::now();
    let result = step();
    let how = if result.is_ok() { "done" } else { "failed" };
    println!("==> {name}: {how} in {:.1} s", start.elapsed().as_secs_f64());
    result
}

/// Runs a command whose output goes where ours goes. Its failure is something found.
pub fn command(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!(Found(format!("`{shown}` failed: {status}")));
    }
    Ok(())
}

/// Runs a command and answers what it wrote to stdout.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!(Found(format!("`{shown}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ends with the code of a program that ran for us.
pub fn end_like(code: i32) -> Result<()> {
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => bail!(EndedWith(code)),
        Err(_) => bail!(Found(format!("the program ended with {code}"))),
    }
}

/// The exit code, after the failure was told.
pub fn exit_code(result: Result<()>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if let Some(EndedWith(code)) = failure.downcast_ref() {
        return ExitCode::from(*code);
    }
    eprintln!("error: {failure:#}");
    ExitCode::from(if failure.is::<CannotRunHere>() { 3 } else { 1 })
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_its_arguments() {
        let failure = command(Command::new("sh").args(["-c", "exit 7"])).unwrap_err();
        assert_eq!(failure.to_string(), "`sh -c exit 7` failed: exit status: 7");
        assert!(failure.is::<Found>());
    }

    #[test]
    fn a_failing_command_whose_output_is_wanted_shows_its_complaint() {
        let failure = output(Command::new("sh").args(["-c", "echo no >&2; exit 1"])).unwrap_err();
        assert!(failure.to_string().ends_with("exit status: 1\nno\n"), "{failure}");
    }
}
