//! A terminal as a person has one: a program runs at it, keys are typed, what is shown is read, its size changes.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(120);

/// A terminal with a program at it.
#[derive(Debug)]
pub struct Terminal {
    main: File,
    child: Child,
    shown: mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    /// Starts the program at a new terminal of 100 columns and 40 rows, which controls it.
    pub fn start(program: &Command) -> Result<Self> {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&main)?;
        unlockpt(&main)?;
        let name = ptsname(&main, Vec::new())?.into_string().context("a terminal's name is text")?;
        let open = || OpenOptions::new().read(true).write(true).open(&name).context("cannot open the terminal");
        let main = File::from(main);
        set_size(&main, 100, 40)?;
        // Only what `setsid` starts has the terminal as its own, so that it hears of a new size.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program.get_program()).args(program.get_args());
        for (variable, value) in program.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        let child = command.stdin(open()?).stdout(open()?).stderr(open()?).spawn().context("cannot start setsid")?;
        let (sender, shown) = mpsc::channel();
        let mut reader = main.try_clone()?;
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal whose programs have all ended answers with an error.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { main, child, shown, text: String::new() })
    }

    /// Types these keys.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        self.main.write_all(keys.as_bytes()).context("cannot type")
    }

    /// Gives the terminal another size, of which its program hears.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        set_size(&self.main, columns, rows)
    }

    /// Waits until this text is shown, and answers everything up to it that was not answered before.
    pub fn shows(&mut self, wanted: &str) -> Result<String> {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return Ok(std::mem::replace(&mut self.text, rest));
            }
            match self.shown.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => bail!("the terminal does not show {wanted:?}, only {:?}", self.text),
            }
        }
    }

    /// Waits for the program's end; answers it with what was shown since.
    pub fn ended(mut self) -> Result<(ExitStatus, String)> {
        let until = Instant::now() + LIMIT;
        // What holds the terminal open ends with the program, so its last text is the sign.
        while let Ok(bytes) = self.shown.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        if Instant::now() > until {
            self.child.kill()?;
            bail!("the program at the terminal does not end; shown is {:?}", self.text);
        }
        Ok((self.child.wait()?, self.text))
    }
}

fn set_size(main: &File, columns: u16, rows: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(main, size).context("cannot set the terminal's size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_at_a_terminal_reads_keys_and_hears_of_a_new_size() {
        let mut program = Command::new("sh");
        // A signal may end a `read` without a line, which is then tried again.
        let script = "trap 'stty size' WINCH; stty size; read a; echo got $a; until read b; do :; done; echo got $b; read c; exit 7";
        program.args(["-c", script]);
        let mut terminal = Terminal::start(&program).unwrap();
        terminal.shows("40 100").unwrap();
        terminal.type_keys("one\n").unwrap();
        terminal.shows("got one").unwrap();
        terminal.resize(80, 24).unwrap();
        terminal.type_keys("two\n").unwrap();
        assert!(terminal.shows("got two").unwrap().contains("24 80"));
        terminal.type_keys("\u{4}").unwrap();
        assert_eq!(terminal.ended().unwrap().0.code(), Some(7));
    }
}
